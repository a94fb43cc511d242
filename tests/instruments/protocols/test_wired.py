from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask
from ophyd.sim import SynAxis
from ophyd_async.core import SignalR, SoftSignalBackend, StandardReadable

from athanor.instruments.config import Config
from athanor.instruments.laboratory import Devices, InstrumentUnavailable, Laboratory, load, names
from athanor.instruments.profile import Profile, ProfileError
from athanor.instruments.protocols.client import NotConnected, Option, TimedOut
from athanor.instruments.protocols.scpi import ScpiClient
from athanor.instruments.protocols.wired import PROTOCOLS, Faults, UnknownProtocol, client_class, connect_profile
from athanor.memory.places import InstrumentPlace
from tests.instruments.protocols.scpi_rig import ScpiRig
from tests.sandbox.conftest import eventually


@pytest.fixture
def rig() -> Iterator[ScpiRig]:
    rig = ScpiRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture(autouse=True)
def engine() -> RunEngine:
    return RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)


class Counter(StandardReadable):
    """A detector of somebody's own."""

    def __init__(self, start: float, name: str) -> None:
        self.counts = SignalR(SoftSignalBackend(float, start))
        super().__init__(name=name)

    async def connect(self, *args: Any, **kwargs: Any) -> None:
        pass

    def trigger(self) -> None:
        pass


class Pigeon:
    """Somebody's client."""


class Unplugged(Counter):
    async def connect(self, *args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no USB device 04d8:00df")


class Hanging(Counter):
    async def connect(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()


def changed(rig: ScpiRig, **changes: Any) -> Profile:
    content = rig.profile().model_dump(mode="json")
    for place, value in changes.items():
        node = content
        *path, last = place.split("__")
        for step in path:
            node = node[step]
        node[last] = value
    return Profile.model_validate(content)


def test_every_protocol_that_is_registered_exists_and_makes_its_client_offline() -> None:
    addresses = {"http": "http://127.0.0.1:9", "mqtt": "mqtt://127.0.0.1:9", "opcua": "opc.tcp://127.0.0.1:9"}
    for name in PROTOCOLS:
        options: dict[str, Option] = {"probe": "IOC:ALIVE"} if name in ("channel-access", "pv-access") else {}
        client = client_class(name)(addresses.get(name, "127.0.0.1:9"), options, "controller")
        assert not client.is_connected
    with pytest.raises(UnknownProtocol, match=r"'scpy'.*use one of: .*scpi"):
        client_class("scpy")


def test_a_package_can_bring_a_protocol_but_not_take_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "pigeons-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    entries = "[athanor.protocols]\npigeon = tests.instruments.protocols.test_wired:Pigeon\nscpi = builtins:dict\n"
    (metadata / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert client_class("pigeon").__name__ == "Pigeon"  # type: ignore[attr-defined]
    assert client_class("scpi") is ScpiClient
    with pytest.raises(UnknownProtocol, match="pigeon"):
        client_class("dove")


def test_everything_that_fails_is_told_at_once(rig: ScpiRig) -> None:
    content = rig.profile().model_dump(mode="json")
    axis, camera = content["devices"]["stage"], content["devices"]["camera"]
    content["axes"]["twin"] = content["axes"]["far"] = content["axes"]["own"] = content["axes"]["stage"]
    content["detectors"] = {
        "camera": {"signals": {"counts": None, "nothing": None}},
        "usb": {"signals": {"volts": None}},
    }
    content["controllers"]["gone"] = {"protocol": "scpi", "address": "127.0.0.1:1", "connect_s": 1}
    content["controllers"]["strange"] = {"protocol": "carrier-pigeon", "address": "loft"}
    content["controllers"]["odd"] = {"protocol": "scpi", "address": "127.0.0.1:1", "options": {"colour": "red"}}
    content["devices"]["twin"] = {**axis, "controller": "gone"}
    content["devices"]["far"] = {**axis, "controller": "strange"}
    content["devices"]["own"] = {"class": "no_such_package.motors:Motor"}
    content["devices"]["camera"] = {
        **camera,
        "reply_s": 0.3,
        "signals": {**camera["signals"], "nothing": {"read": "NOWH?"}},
    }
    content["devices"]["usb"] = {"class": f"{__name__}:Unplugged", "args": {"start": 1.0}}
    content["controllers"]["controller"]["connect_s"] = 5
    content["axes"]["fifth"] = content["axes"]["stage"]
    content["devices"]["fifth"] = {**axis, "controller": "odd"}
    with pytest.raises(Faults) as caught:
        connect_profile(Profile.model_validate(content))
    failures = caught.value.failures
    assert {place: type(error) for place, error in failures.items()} == {
        "controller strange": UnknownProtocol,
        "controller odd": ValueError,
        "controller gone": NotConnected,
        "device own": ModuleNotFoundError,
        "device camera": TimedOut,
        "device usb": ConnectionError,
    }
    for place in failures:
        assert place in str(caught.value)
    assert isinstance(caught.value, InstrumentUnavailable)
    assert "camera.nothing" in str(caught.value)
    assert rig.plant.moves == []


def test_any_class_that_meets_the_protocols_can_be_named(rig: ScpiRig) -> None:
    content = rig.profile().model_dump(mode="json")
    content["axes"]["motor"] = content["axes"]["stage"]
    content["devices"]["motor"] = {"class": "ophyd.sim:SynAxis", "args": {"labels": ["motors"]}}
    content["devices"]["camera"] = {"class": f"{__name__}:Counter", "args": {"start": 3.0}}
    devices = connect_profile(Profile.model_validate(content))
    try:
        assert isinstance(devices.axes["motor"], SynAxis)
        assert isinstance(devices.detectors[0], Counter)
        assert devices.detectors[0].name == "camera"
        assert devices.is_connected()
        eventually(lambda: not devices.is_moving(), "it stands")
        devices.axes["motor"].set(3.0)
        eventually(devices.is_moving, "a motion is seen, whoever began it")
        eventually(lambda: not devices.is_moving(), "and its end")
    finally:
        devices.close()


class Deaf(SynAxis):  # type: ignore[misc]
    """An axis whose line breaks."""

    is_broken = False

    def read(self) -> Any:
        if self.is_broken:
            raise OSError("no answer")
        return super().read()


class Honest(SynAxis):  # type: ignore[misc]
    """An axis that says whether it moves."""

    moves = True

    def is_moving(self) -> bool:
        return self.moves


def test_an_axis_of_another_class_that_no_longer_answers_is_lost(rig: ScpiRig) -> None:
    content = rig.profile().model_dump(mode="json")
    content["axes"]["motor"] = content["axes"]["stage"]
    content["devices"]["motor"] = {"class": f"{__name__}:Deaf"}
    devices = connect_profile(Profile.model_validate(content))
    try:
        eventually(lambda: not devices.is_moving(), "it stands")
        devices.axes["motor"].is_broken = True
        eventually(lambda: not devices.is_connected(), "its silence is seen")
        eventually(lambda: says_nothing(devices), "nobody says that it stands")
    finally:
        devices.close()


def says_nothing(devices: Devices) -> bool:
    try:
        devices.is_moving()
    except TimeoutError:
        return True
    return False


def test_a_class_that_says_whether_it_moves_is_believed(rig: ScpiRig) -> None:
    content = rig.profile().model_dump(mode="json")
    content["axes"]["motor"] = content["axes"]["stage"]
    content["devices"]["motor"] = {"class": f"{__name__}:Honest"}
    devices = connect_profile(Profile.model_validate(content))
    try:
        assert devices.is_moving()
        devices.axes["motor"].moves = False
        assert not devices.is_moving()
    finally:
        devices.close()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("ophyd.sim:SynSignal", "is not Stoppable"),
        ("collections:OrderedDict", "not Movable and not Readable and not Stoppable"),
        ("ophyd.sim:NoSuchThing", "NoSuchThing"),
    ],
)
def test_a_class_that_is_no_axis_is_refused(rig: ScpiRig, entry: str, said: str) -> None:
    with pytest.raises(Faults, match=said) as caught:
        connect_profile(changed(rig, devices__stage={"class": entry}, devices__camera__controller="controller"))
    assert list(caught.value.failures) == ["device stage"]


def test_a_class_that_hangs_costs_no_more_than_its_deadline(rig: ScpiRig) -> None:
    hanging = {"class": f"{__name__}:Hanging", "args": {"start": 1.0}, "connect_s": 0.1}
    with pytest.raises(Faults, match=r"device camera: .*:Hanging did not connect within 0\.1 s"):
        connect_profile(changed(rig, devices__camera=hanging))


def test_the_devices_say_when_they_move_and_when_the_line_is_gone(rig: ScpiRig) -> None:
    devices = connect_profile(rig.profile())
    try:
        rig.plant.move(1000.0)
        assert devices.is_moving()
        rig.plant.stop()
        assert not devices.is_moving()
        assert devices.is_connected()
    finally:
        devices.close()
    assert not devices.is_connected()
    devices.close()


def test_the_laboratory_connects_what_the_instrument_s_folder_says(rig: ScpiRig, tmp_path: Path) -> None:
    wired = load("wired")
    assert isinstance(wired, Laboratory)
    assert "wired" not in names(), "it has no profile of its own to show"
    place = InstrumentPlace.of("bench", tmp_path)
    place.directory.mkdir(parents=True)
    Config(rig.profile(), {}).write(place)
    assert json.loads((place.directory / "config.json").read_text())["laboratory"] == "wired"
    wired.start(place, {})
    devices = wired.connect(place, {})
    assert list(devices.axes) == ["stage"]
    devices.close()
    wired.shutdown(place)


def test_the_laboratory_asks_for_a_profile_and_knows_no_options() -> None:
    wired: Any = load("wired")
    with pytest.raises(ProfileError, match=r"laboratory: \{profile: FILE\}"):
        wired.profile()
    wired.check_options({})
    with pytest.raises(ValueError, match="noise"):
        wired.check_options({"noise": 0})
