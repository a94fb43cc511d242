"""What the hardware says of a run: read-back against target, and the controller's own log."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from rig import POINT, Rig, slow, start

from athanor.instruments.laboratory import Witnessing, load
from athanor.instruments.testimony import hear


def test_without_a_connection_nothing_is_claimed(rig: Rig) -> None:
    profile = load("snar-flow").profile()
    said = hear(rig.place, profile, POINT, "intent-1")
    assert not said.is_connected and said.is_moving is None and said.is_at_target is None
    assert "nothing is connected" in str(said.trouble)
    assert said.account is None, "there is no log yet"
    assert {axis.unit for axis in said.axes} == {"min", None, "mol/L", "degC"}


def test_the_device_and_its_log_are_asked(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    profile = load("snar-flow").profile()
    values = rig.ledger.experiment(intent.experiment_id).values
    said = hear(rig.place, profile, values, intent.id)
    assert said.is_connected and said.is_moving is True and said.is_at_target is False
    executor.wait(intent.experiment_id, rig.ledger)
    said = hear(rig.place, profile, values, intent.id)
    assert said.is_moving is False and said.is_at_target is True and said.trouble is None
    assert said.account is not None and said.account.is_known
    assert said.account.counts["trigger"] == 1 and said.account.counts["run"] == 1
    unheard = hear(rig.place, profile, values, "another-intent").account
    assert unheard is not None and not unheard.is_known
    bare = hear(rig.place, None, values, intent.id)
    assert bare.account is None and bare.is_connected and bare.is_at_target is not None


@pytest.mark.parametrize("log", ["not JSON\n", '{"kind": 1}\n', ""])
def test_a_log_that_cannot_be_read_is_no_witness(rig: Rig, log: str) -> None:
    (rig.place.directory / "controller.jsonl").write_text(log)
    account = hear(rig.place, load("snar-flow").profile(), POINT, "intent-1").account
    assert account is None or not account.is_known


def test_only_the_lines_of_the_run_are_its_own(rig: Rig) -> None:
    laboratory = load("snar-flow")
    assert isinstance(laboratory, Witnessing)
    lines = [{"t": 1.0, "kind": "start"}]
    for intent in ("a", "b"):
        lines += [{"t": 2.0, "kind": "run", "intent": intent}, {"t": 3.0, "kind": "set"}]
    (rig.place.directory / "controller.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert laboratory.witness(rig.place, "b") == lines[3:]
    assert laboratory.witness(rig.place, "c") == []
