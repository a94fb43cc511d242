"""Interlocks over a real line: what a wired instrument's signals say decides whether it may be set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from athanor.instruments.engine import Engine
from athanor.instruments.profile import Profile
from athanor.instruments.protocols.wired import Faults, connect_profile
from athanor.instruments.words import Refused
from tests.instruments.protocols.http_rig import NodeRig
from tests.instruments.protocols.scpi_rig import ScpiRig


def profile(rig: Any, **changes: Any) -> Profile:
    found = rig.profile().model_dump(mode="json")
    dose = {"unit": "mSv", "controller": "controller", **rig.signals()["measured"].model_dump(exclude_defaults=True)}
    dose.pop("write", None)
    interlock = {"name": "dose", "require": "dose < 1 and stage < 40", "message": "radiation", "stale_s": 0.5}
    return Profile.model_validate({**found, "signals": {"dose": {**dose, **changes}}, "interlocks": [interlock]})


@pytest.fixture(params=[ScpiRig, NodeRig])
def rig(request: pytest.FixtureRequest) -> Iterator[Any]:
    rig = request.param()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def engine(rig: Any) -> Iterator[Engine]:
    engine = Engine(profile(rig), lambda state: None, lambda: None)
    devices = connect_profile(profile(rig))
    try:
        engine.attach(devices)
        yield engine
    finally:
        devices.close()
        engine.RE.loop.call_soon_threadsafe(engine.RE.loop.stop)
        engine.RE._th.join(5)
        engine.RE.loop.close()


def refused(engine: Engine) -> Refused:
    with pytest.raises(Refused) as caught:
        engine.check_steps({"stage": 1.0}, 5.0)
    return caught.value


def allowed(engine: Engine) -> None:
    """As soon as a line that was cut or stalled is there again."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return engine.check_steps({"stage": 1.0}, 5.0)
        except Refused:
            assert time.monotonic() < deadline


def test_the_interlock_follows_the_instrument(rig: Any, engine: Engine) -> None:
    engine.check_steps({"stage": 1.0}, 5.0)
    cases: list[tuple[Callable[[], Any], Callable[[], Any], set[str]]] = [
        (lambda: setattr(rig.plant, "measured", 2.5), lambda: setattr(rig.plant, "measured", 0.5), {"tripped"}),
        (lambda: setattr(rig.plant, "measured", math.nan), lambda: setattr(rig.plant, "measured", 0.5), {"unknown"}),
        (rig.drop, rig.restore, {"unknown", "stale"}),
    ]
    for spoil, repair, codes in cases:
        spoil()
        try:
            error = refused(engine)
            assert error.code.removeprefix("interlock.") in codes, error
        finally:
            repair()
        allowed(engine)
    assert rig.plant.moves == []


def test_a_line_that_does_not_answer_is_no_permission(rig: Any, engine: Engine) -> None:
    engine.check_steps({"stage": 1.0}, 5.0)
    rig.stall()
    try:
        began = time.monotonic()
        assert refused(engine).code == "interlock.stale"
        assert time.monotonic() - began < 3
    finally:
        rig.resume()
    allowed(engine)


def test_a_signal_that_cannot_be_read_is_found_while_connecting(rig: Any) -> None:
    from tests.engines import run_engine

    with run_engine(), pytest.raises(Faults, match=r"signal dose"):
        connect_profile(profile(rig, read=rig.signals()["nowhere"].read))
