"""Motions that somebody watches: what ends them, and what is remembered. Real motions are in the API's tests."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from athanor.console.commands import moving
from athanor.console.commands.moving import Motions, MoveCommands, Plan, check
from athanor.console.commands.refused import Refused
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.profile import AxisSpec
from athanor.memory.canonical import canonical
from athanor.memory.orders import Order
from athanor.memory.places import InstrumentPlace


class Line:
    """The worker's line, as far as a motion is concerned."""

    def __init__(self) -> None:
        self.is_closed = threading.Event()

    def close(self) -> None:
        self.is_closed.set()


class Person:
    """Whose order is carried out as the test says."""

    person = "ada"

    def __init__(self, become: Any = None) -> None:
        self._become = become

    def carry_out(self, client: Line, plan: Plan, order: Order) -> dict[str, Any]:
        if isinstance(self._become, Exception):
            raise self._become
        if self._become is not None:
            assert self._become(client)
            raise Refused("it was halted", None)
        return {"from": 1.0, "to": 2.0}


@pytest.fixture
def plan(home: Path) -> Plan:
    spec = AxisSpec(unit="mm", minimum=0, maximum=10, largest_step=2, tolerance=0.1)
    place = InstrumentPlace.of("snar-flow", home)
    return Plan(place, Config(load("snar-flow").profile(), {}), spec, "x", 2.0, "0" * 32)


def order(number: int = 0) -> Order:
    terms = {
        "kind": "move",
        "instrument": "snar-flow",
        "by": "ada",
        "at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-01T00:01:00Z",
        "nonce": f"{number:032x}",
        "tenure": "0" * 32,
        "reason": "",
        "axis": "x",
        "value": 2.0,
        "latch": 0,
    }
    return Order(canonical(terms), "unsigned")


def begin(motions: Motions, plan: Plan, person: Person, line: Line, number: int = 0) -> moving.Motion:
    return motions.begin(cast(MoveCommands, person), plan, cast(Any, line), order(number))


def test_what_became_of_it_is_remembered(plan: Plan) -> None:
    motions, line = Motions(), Line()
    motion = begin(motions, plan, Person(), line)
    assert motion.over.wait(60) and line.is_closed.is_set()
    assert (motion.state, motion.before, motion.after) == ("arrived", 1.0, 2.0)
    assert motions.find(motion.id) is motion and motions.find("other") is None
    failed = begin(motions, plan, Person(ZeroDivisionError("a driver")), Line(), 1)
    assert failed.over.wait(60) and failed.state == "failed" and isinstance(failed.problem, ZeroDivisionError)


def test_without_a_worker_to_ask_its_line_is_closed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the worker, should there be one after all, halts the axis by itself."""
    monkeypatch.setattr(moving, "MARGIN_S", 0.01)
    now = [0.0]
    motions, line = Motions(lambda: now[0]), Line()
    motion = begin(motions, plan, Person(lambda line: line.is_closed.wait(60)), line)
    now[0] = moving.ATTEND_S / 2
    motions.attend(motion)
    now[0] = moving.ATTEND_S * 1.4
    assert not motion.over.wait(moving.LOOK_S * 2), "somebody watched it half a span ago"
    now[0] = moving.ATTEND_S * 2
    assert motion.over.wait(60) and motion.state == "failed"


def test_it_forgets_old_ones_that_are_over(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "KEPT", 3)
    motions, go = Motions(), threading.Event()
    under_way = begin(motions, plan, Person(lambda _: go.wait(60)), Line(), 99)
    for number in range(8):
        assert begin(motions, plan, Person(), Line(), number).over.wait(60)
    assert len(motions._known) <= 4 and motions.find(under_way.id) is under_way
    go.set()
    assert under_way.over.wait(60)


def test_what_the_limits_say_before_anything_is_asked(plan: Plan) -> None:
    assert check(plan, 1.0) is None
    assert "limit.step" in str(check(plan, 9.0))
    assert check(plan, None) is None, "where it stands is not known: the worker judges it"
    beyond = Plan(plan.place, plan.config, plan.spec, "x", 11.0, plan.tenure)
    assert "limit.above" in str(check(beyond, 10.0))
    unknown = Plan(plan.place, plan.config, AxisSpec(), "x", 1.0, plan.tenure)
    assert "limit.unknown" in str(check(unknown, 1.0))
