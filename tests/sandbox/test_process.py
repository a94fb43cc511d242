"""Starting and ending controllers: never two for one place, whoever starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.link import Link
from athanor.sandbox.options import Options
from athanor.sandbox.process import end_controller, ensure_controller

from .conftest import Bench, eventually

Make = Callable[[str], Bench]
SCRIPT = """
import sys
from athanor.instruments.laboratory import load
from athanor.memory.places import InstrumentPlace
load("snar-flow").start(InstrumentPlace.of("snar-flow"), {})
"""


def test_never_two_for_one_place(bench: Make) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", SCRIPT]) for _ in range(4)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0, 0]
    lab = bench("snar-flow")
    assert len(lab.witness("start")) == 1
    assert lab.link().pid == lab.pid() == lab.witness("start")[0]["pid"]


def test_starting_twice_keeps_the_process_and_its_positions(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    link.move("temperature", 99.0).result(5)
    lab.start()
    assert lab.link().pid == link.pid
    assert link.call("read")["positions"]["temperature"] == 99.0


def test_it_outlives_whoever_started_it(bench: Make) -> None:
    assert subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60).returncode == 0
    assert bench("snar-flow").link().call("status")["moving"] == []


def test_another_laboratory_at_the_same_place_is_refused(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    with pytest.raises(InstrumentUnavailable, match="runs laboratory snar-flow, not ald-window"):
        ensure_controller(lab.place, "ald-window", Options())


def test_what_prevents_the_start_is_said(bench: Make) -> None:
    place = InstrumentPlace.of("nothing")
    bench("snar-flow")
    with pytest.raises(InstrumentUnavailable, match="unknown laboratory 'nothing'"):
        ensure_controller(place, "nothing", Options())


def test_ending_what_does_not_run_does_nothing(bench: Make) -> None:
    lab = bench("snar-flow")
    end_controller(lab.place)
    lab.start()
    lab.laboratory.shutdown(lab.place)
    lab.laboratory.shutdown(lab.place)
    eventually(lambda: lab.witness("exit"), "it ends")
    lab.start()
    assert len(lab.witness("start")) == 2


def test_a_frozen_controller_is_not_taken_for_one_that_ended(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = bench("snar-flow")
    lab.start()
    monkeypatch.setattr(Link.call, "__defaults__", (0.3,))  # seconds that it may take to answer
    pid = lab.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(InstrumentUnavailable, match="does not end"):
            end_controller(lab.place, timeout_s=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
