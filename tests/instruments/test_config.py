from __future__ import annotations

import os
from pathlib import Path

import pytest

from athanor.instruments.config import Config, take_lock
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
