"""The laboratory of an instrument whose profile says itself how it is reached, and the protocols it may name.

One bad device does not hide the rest: whatever fails while building and connecting is reported together.
Importing this loads neither bluesky nor any protocol's library.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from athanor.instruments.laboratory import Devices, InstrumentUnavailable
from athanor.instruments.profile import Profile, ProfileError, ProfileProblem
from athanor.instruments.protocols.client import ClientClass

if TYPE_CHECKING:
    from athanor.instruments.station import Placed
    from athanor.memory.places import InstrumentPlace

GROUP = "athanor.protocols"
"""Entry points of this group are further protocols: a name, and a class that meets `Client`."""

PROTOCOLS = {
    "channel-access": "channel_access:ChannelAccessClient",
    "http": "http:HttpClient",
    "modbus": "modbus:ModbusClient",
    "mqtt": "mqtt:MqttClient",
    "opcua": "opcua:OpcuaClient",
    "pv-access": "pv_access:PvAccessClient",
    "scpi": "scpi:ScpiClient",
    "sila": "sila:SilaClient",
}


class UnknownProtocol(LookupError):
    """No protocol of that name is known."""


class Faults(InstrumentUnavailable):
    """Everything that failed while an instrument was built and connected, by device or controller."""

    def __init__(self, instrument: str, failures: Mapping[str, BaseException]) -> None:
        self.failures = dict(failures)
        lines = "".join(f"\n  {place}: {error or type(error).__name__}" for place, error in failures.items())
        super().__init__(instrument, f"{len(failures)} fault{'s' * (len(failures) > 1)}{lines}\n", "put each right")


def client_class(protocol: str) -> ClientClass:
    """The client of a protocol; imports its module, and no library. Raises `UnknownProtocol`."""
    if protocol in PROTOCOLS:
        module, name = PROTOCOLS[protocol].split(":")
        return cast(ClientClass, getattr(import_module(f"athanor.instruments.protocols.{module}"), name))
    for entry in entry_points(group=GROUP, name=protocol):
        return cast(ClientClass, entry.load())
    known = sorted({*PROTOCOLS, *(entry.name for entry in entry_points(group=GROUP))})
    raise UnknownProtocol(f"there is no protocol {protocol!r}; use one of: {', '.join(known)}")


def connect_profile(profile: Profile, place: Placed | None = None) -> Devices:
    """Build and connect the devices of a wired instrument. A RunEngine must exist in this process.

    `place` is where people are asked, of an instrument that has manual devices and is to run.

    Raises:
        Faults: With everything that failed; nothing stays open.
    """
    from athanor.instruments.protocols.building import build

    return build(profile, place)


class WiredLaboratory:
    """The laboratory `wired`: every instrument's profile says itself how it is reached."""

    name = "wired"

    def profile(self) -> Profile:
        """Raise `ProfileError`: there is one per instrument, in its own file."""
        raise ProfileError(
            [
                ProfileProblem(
                    source=self.name,
                    line=None,
                    field="laboratory",
                    detail="a wired instrument has no built-in profile",
                    remedy="name its file: `laboratory: {profile: FILE}`",
                )
            ]
        )

    def start(self, place: InstrumentPlace, options: Mapping[str, Any]) -> None:
        """Nothing: the controllers are there."""

    def shutdown(self, place: InstrumentPlace) -> None:
        """Nothing: the controllers stay."""

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` when there is any: everything stands in the profile."""
        if options:
            raise ValueError(f"a wired instrument has no option {next(iter(options))!r}; write it into the profile")

    def connect(self, place: InstrumentPlace, options: Mapping[str, Any]) -> Devices:
        """Connect the instrument whose configuration lies at `place`. Raises `Faults`."""
        from athanor.instruments.config import Config

        return connect_profile(Config.read(place).profile, place)


WIRED = WiredLaboratory()
