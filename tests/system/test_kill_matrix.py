"""Random SIGKILLs of every process on both front ends, and a judge that can find fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill_judge import STAGES, Kill, Story, faults, place, stories
from benchmarks.kill_matrix import FRONTS, plan, processes_of

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("front", FRONTS)
def test_random_kills_lose_repeat_and_make_up_nothing(front: str) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "kill_matrix",
        "--kills",
        str(len(processes_of(front))),
        "--seed",
        "5",
        "--jobs",
        "1",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--front", front],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {key: found[key] for key in ("lost", "repeated", "silent", "stuck")} == {
        "lost": [], "repeated": [], "silent": [], "stuck": []
    }  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(kill["process"] for kill in found["each"]) == sorted(processes_of(front))
    assert all(kill["stage"] in STAGES and kill["seen_s"] is not None for kill in found["each"]), found["each"]
    assert found["experiments"] >= 4


def test_the_plan_is_the_seeds_and_strikes_every_process_on_every_front_end() -> None:
    lanes = plan(200, 1)
    assert lanes == plan(200, 1) != plan(200, 2)
    struck = [(lane["front"], kill["process"]) for lane in lanes for kill in lane["kills"]]
    counts = {pair: struck.count(pair) for pair in struck}
    assert sum(counts.values()) == 200 and set(counts) == {(f, p) for f in FRONTS for p in processes_of(f)}
    for front in FRONTS:
        own = [count for (f, _), count in counts.items() if f == front]
        assert max(own) - min(own) <= 1 and sum(own) in (66, 67)


def line(kind: str, t: float, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "t": t, "intent": "i1", **more}


LOG = [
    line("run", 11.0),
    line("trigger", 12.0, detector="d", replicate=0, values={"x": 1.0}),
    line("reading", 13.0, detector="d", replicate=0),
]


def story(log: list[dict[str, Any]] = LOG, **changes: Any) -> Story:
    made = Story("c.1", "i1", 10.0, "completed", None)
    made.stopped_at, made.closed_at, made.is_observed = 14.0, 15.0, True
    made.outcomes = made.expected = {"y": 1.0}
    for name, value in changes.items():
        setattr(made, name, value)
    return stories(log, [made])[0]


@pytest.mark.parametrize(
    ("at", "stage"),
    [
        (9.0, "before intent"),
        (10.5, "between intent and start"),
        (11.5, "in motion"),
        (12.5, "measuring"),
        (13.5, "before stop document"),
        (14.5, "after stop document"),
        (15.5, "before intent"),
    ],
)
def test_a_kill_is_placed_by_the_log(at: float, stage: str) -> None:
    kill = Kill("worker", "socket", at, is_resuming=False)
    place(kill, [story()])
    assert (kill.stage, kill.experiment) == (stage, None if stage == "before intent" else "c.1")


def test_nothing_is_wrong_with_a_run_that_was_measured_once() -> None:
    assert faults(LOG, [story()]) == {"lost": [], "repeated": [], "silent": []}
    settled = story(state="aborted", reason="seen", answer="aborted", outcomes={})
    assert faults(LOG, [settled]) == {"lost": [], "repeated": [], "silent": []}


@pytest.mark.parametrize(
    ("kind", "log", "changes"),
    [
        ("lost", LOG, {"is_observed": False}),
        ("lost", LOG, {"state": "running"}),
        ("lost", LOG, {"state": "in_doubt"}),
        ("lost", LOG, {"state": "aborted", "reason": "for no good one"}),
        ("repeated", [*LOG, line("run", 16.0)], {}),
        ("repeated", [*LOG, line("trigger", 16.0, detector="d", replicate=0)], {}),
        ("silent", LOG[:2], {}),
        ("silent", LOG, {"outcomes": {"y": 1.1}}),
        ("silent", LOG, {"outcomes": {}}),
        ("silent", LOG, {"is_elsewhere": True}),
        ("silent", LOG[:1], {"state": "aborted"}),
        ("silent", LOG[:1], {"state": "not_started", "answer": "not_started", "is_observed": False}),
        ("silent", [*LOG, {"kind": "run", "t": 20.0, "intent": "stranger"}], {}),
    ],
)
def test_the_judge_finds_fault(kind: str, log: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    assert faults(log, [story(log, **changes)])[kind]
