"""The options of a simulated laboratory, as written under `laboratory: options:` in a campaign file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from athanor.sandbox.faults import FaultSchedule, OptionError, finite, unknown
from athanor.sandbox.physics import Physics

__all__ = ["OptionError", "Options"]

_NAMES = ("noise", "time_scale", "faults", "timeout_s")


@dataclass(frozen=True)
class Options:
    """How a simulated laboratory behaves.

    Attributes:
        noise: Relative standard deviation of the readings (0.02 = 2 %).
        time_scale: Seconds of wall time per simulated second: 0 moves and measures at once, 1 is realistic.
        faults: What goes wrong, and when.
        timeout_s: Seconds that devices wait for a motion or a measurement instead of the profile's own timeouts, or
            None for those. Faults that never answer are seen after this time.
    """

    noise: float = 0.02
    time_scale: float = 0.0
    faults: FaultSchedule = field(default_factory=FaultSchedule)
    timeout_s: float | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any], physics: Physics) -> Options:
        """Check the options of one laboratory.

        Raises:
            OptionError: An unknown option, fault kind, axis or signal, or a number that makes no sense.
        """
        for name in options:
            if name not in _NAMES:
                raise unknown(f"options of {physics.name}", str(name), _NAMES)
        timeout = options.get("timeout_s")
        return cls(
            noise=finite("noise", options.get("noise", 0.02), minimum=0.0),
            time_scale=finite("time_scale", options.get("time_scale", 0.0), minimum=0.0),
            faults=FaultSchedule.parse(options.get("faults") or [], physics.axes, physics.signals),
            timeout_s=None if timeout is None else finite("timeout_s", timeout, minimum=0.001),
        )

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON; `parse` gives the same object back."""
        return {
            "noise": self.noise,
            "time_scale": self.time_scale,
            "faults": [fault.to_dict() for fault in self.faults.faults],
            "timeout_s": self.timeout_s,
        }
