"""The planner's process: it answers, is replaced when it dies, and is ended when nobody wants the answer any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.planning import AUTOGROUP, POLITE, PlannerProcess, PlanningCancelled, PlanningFailed, answer
from athanor.planners.problem import Continuous, Objective, Problem

PROBLEM = Problem(parameters=[Continuous("x", 0.0, 1.0)], objectives=[Objective("y", goal="maximize")])


def suggest(number: int = 1, **changes: Any) -> dict[str, Any]:
    request = {
        "op": "suggest",
        "planner": "sobol",
        "problem": PROBLEM.model_dump(mode="json"),
        "seed": 3,
        "number": number,
        "observations": [],
    }
    return {**request, **changes}


@pytest.fixture
def planner() -> Iterator[PlannerProcess]:
    process = PlannerProcess()
    yield process
    process.close()


def pid(planner: PlannerProcess) -> int:
    assert planner._process is not None
    return planner._process.pid


def test_the_process_says_what_the_planner_says(planner: PlannerProcess) -> None:
    for number in (1, 2):
        assert planner.ask(suggest(number)) == answer(suggest(number))


def test_a_fresh_process_gives_the_same_answer(planner: PlannerProcess) -> None:
    first = planner.ask(suggest(2))
    old = pid(planner)
    os.kill(old, signal.SIGKILL)
    assert planner.ask(suggest(2)) == first
    assert pid(planner) != old


def test_death_in_the_midst_of_an_answer_is_made_good_once(planner: PlannerProcess) -> None:
    planner.start()
    old = pid(planner)
    os.kill(old, signal.SIGSTOP)  # so that it cannot answer before it dies
    killed: list[int] = []

    def kill_once() -> bool:
        if not killed:
            killed.append(old)
            os.kill(old, signal.SIGKILL)
        return False

    assert planner.ask(suggest(), kill_once) == answer(suggest())
    assert killed == [old]


def test_a_process_that_dies_twice_is_a_failure(planner: PlannerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.agents.planning.sys.executable", "/bin/true")
    with pytest.raises(PlanningFailed, match="ended twice"):
        planner.ask(suggest())


def test_what_was_prepared_is_not_computed_again(planner: PlannerProcess) -> None:
    planner.prepare(suggest(3))
    assert planner.ask(suggest(1)) == answer(suggest(1)), "something else is asked first"
    old = pid(planner)
    os.kill(old, signal.SIGSTOP)  # it could not answer any more
    assert planner.ask(suggest(3)) == answer(suggest(3))
    assert pid(planner) == old


def test_what_was_prepared_in_vain_changes_no_answer(planner: PlannerProcess) -> None:
    planner.prepare(suggest(3))
    planner.prepare(suggest(4))  # one at a time
    assert planner.ask(suggest(4)) == answer(suggest(4))
    planner.prepare(suggest(op="guess"))
    assert planner.ask(suggest(5)) == answer(suggest(5))
    with pytest.raises(PlanningFailed, match="guess"):
        planner.ask(suggest(op="guess"))


def test_death_while_it_prepares_is_made_good(planner: PlannerProcess) -> None:
    planner.start()
    os.kill(pid(planner), signal.SIGSTOP)
    planner.prepare(suggest(2))
    os.kill(pid(planner), signal.SIGKILL)
    assert planner.ask(suggest(2)) == answer(suggest(2))
    planner.prepare(suggest(3))
    planner.close()
    assert planner.ask(suggest(3)) == answer(suggest(3))


def test_a_dead_process_leaves_nothing_open_when_another_takes_its_place(planner: PlannerProcess) -> None:
    planner.start()
    process = planner._process
    assert process is not None
    process.kill()
    process.wait()
    planner.start()
    assert process.stdin is not None and process.stdin.closed
    assert process.stdout is not None and process.stdout.closed
    assert planner._process is not process


def test_what_the_planner_refuses_is_said_and_the_process_lives_on(planner: PlannerProcess) -> None:
    with pytest.raises(PlanningFailed, match="unknown request 'guess'"):
        planner.ask(suggest(op="guess"))
    old = pid(planner)
    assert planner.ask(suggest()) == answer(suggest())
    assert pid(planner) == old


def test_a_cancelled_request_ends_the_process_though_it_hangs(planner: PlannerProcess) -> None:
    planner.start()
    old = pid(planner)
    os.kill(old, signal.SIGSTOP)
    wanted = threading.Event()
    wanted.set()
    with pytest.raises(PlanningCancelled):
        planner.ask(suggest(), wanted.is_set)
    with pytest.raises(ProcessLookupError):
        os.kill(old, 0)
    assert planner.ask(suggest()) == answer(suggest())


def test_it_ends_without_a_word_when_nobody_wants_its_answer() -> None:
    command = [sys.executable, "-m", "athanor.agents.planning"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.write(json.dumps(suggest()) + "\n")
        process.stdin.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 0)


def test_it_gives_way_to_what_moves_an_instrument(planner: PlannerProcess) -> None:
    planner.ask(suggest())
    assert os.getpriority(os.PRIO_PROCESS, pid(planner)) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + POLITE)


@pytest.mark.skipif(
    not AUTOGROUP.exists() or not AUTOGROUP.read_text().strip(), reason="processes are not shared out by sessions here"
)
def test_it_gives_way_to_other_sessions_too(planner: PlannerProcess) -> None:
    planner.ask(suggest())
    own = Path(f"/proc/{pid(planner)}/autogroup").read_text().split()
    assert own[-1] == str(POLITE) and own[0] != AUTOGROUP.read_text().split()[0]


def test_ctrl_c_in_the_terminal_does_not_reach_it(planner: PlannerProcess) -> None:
    planner.start()
    assert os.getsid(pid(planner)) != os.getsid(0)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not show environments")
def test_the_process_does_not_know_the_model_s_key(planner: PlannerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHANOR_MODEL_API_KEY", "not for planners")
    planner.ask(suggest())
    assert b"not for planners" not in Path(f"/proc/{pid(planner)}/environ").read_bytes()
