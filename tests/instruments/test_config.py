from __future__ import annotations

import os
from pathlib import Path

import pytest

from athanor.instruments.config import Config, settle_control_layer, take_lock
from athanor.instruments.laboratory import load
from athanor.memory.places import InstrumentPlace


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True)
    return place


def test_a_configuration_survives_the_disk(place: InstrumentPlace, tmp_path: Path) -> None:
    config = Config(load("snar-flow").profile(), {"noise": 0.1, "faults": [{"kind": "nan", "at": 3}]})
    config.write(place)
    assert Config.read(place) == config
    key = tmp_path / "gate.pub"
    key.write_text("key")
    digest = config.digest("sqlite:///x", key)
    assert Config.read(place).digest("sqlite:///x", key) == digest
    assert config.digest("sqlite:///y", key) != digest
    assert Config(config.profile, {}).digest("sqlite:///x", key) != digest
    key.write_text("other key")
    assert config.digest("sqlite:///x", key) != digest


def test_the_lock_is_held_by_one(place: InstrumentPlace) -> None:
    held = take_lock(place)
    assert held is not None
    assert take_lock(place) is None
    os.close(held)
    again = take_lock(place)
    assert again is not None
    os.close(again)


def test_only_a_simulated_instrument_keeps_ophyd_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = load("snar-flow").profile()
    monkeypatch.setenv("OPHYD_CONTROL_LAYER", "x")  # put back afterwards, whatever is set here
    monkeypatch.delenv("OPHYD_CONTROL_LAYER")
    settle_control_layer(simulated.model_copy(update={"simulated": False}))
    assert "OPHYD_CONTROL_LAYER" not in os.environ
    settle_control_layer(simulated)
    assert os.environ["OPHYD_CONTROL_LAYER"] == "dummy"
    monkeypatch.setenv("OPHYD_CONTROL_LAYER", "caproto")
    settle_control_layer(simulated)
    assert os.environ["OPHYD_CONTROL_LAYER"] == "caproto"
