"""What a worker is started for, and the lock that makes it the only one of its instrument."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.instruments.profile import Profile
from athanor.instruments.protocols.wiring import ClassWiring
from athanor.memory.canonical import digest

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace


@dataclass(frozen=True)
class Config:
    """An instrument's profile and its laboratory's options, as kept in `config.json` in the instrument's folder."""

    profile: Profile
    options: Mapping[str, Any]

    @classmethod
    def read(cls, place: InstrumentPlace) -> Config:
        """Read it. Raises `OSError` or `ValueError`."""
        content = json.loads((place.directory / "config.json").read_text(encoding="utf-8"))
        return cls(Profile.model_validate(content["profile"]), content["options"])

    def write(self, place: InstrumentPlace) -> None:
        """Write it, whole or not at all."""
        content = {
            "profile": self.profile.model_dump(mode="json"),
            "laboratory": self.profile.laboratory,
            "options": dict(self.options),
        }
        fresh = place.directory / "config.json.new"
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(place.directory / "config.json")

    def digest(self, ledger: str, gate_key: Path) -> str:
        """What two workers must have in common to be the same: profile, options, ledger and the key they trust."""
        key = gate_key.read_text(encoding="ascii") if gate_key.exists() else ""
        return digest({"profile": self.profile, "options": self.options, "ledger": ledger, "key": key})


def settle_control_layer(profile: Profile) -> None:
    """Keep classic ophyd, which the RunEngine imports, from opening a control protocol for a simulated instrument.

    It looks for one as it is imported, and sends datagrams where it finds one installed. A profile that names classes
    may need it: somebody's soft IOC is simulated, too.
    """
    if profile.simulated and not any(isinstance(wiring, ClassWiring) for wiring in profile.devices.values()):
        os.environ.setdefault("OPHYD_CONTROL_LAYER", "dummy")


def take_lock(place: InstrumentPlace) -> int | None:
    """Take the instrument's lock; its descriptor, to be kept open, or None when a living worker has it."""
    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(place.directory / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
