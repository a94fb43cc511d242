"""What both device families share: the link to the controller, matched with the profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from athanor.instruments.laboratory import Devices, InstrumentUnavailable, RunContext
from athanor.instruments.profile import Profile
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.link import Link, NoController
from athanor.sandbox.options import Options
from athanor.sandbox.physics import AxisModel, Physics, SignalModel
from athanor.sandbox.process import SOCKET


class ProfileMismatch(ValueError):
    """A profile names an axis or a signal that the simulated laboratory does not have."""


@dataclass(frozen=True)
class Connection:
    """A link to the controller of one place, with the axes and signals that the profile names.

    Attributes:
        link: The connection.
        profile: Its profile.
        options: Options of the laboratory.
        axes: Axis models by name, in the profile's order.
        detectors: Signal models by name, by detector.
    """

    link: Link
    profile: Profile
    options: Options
    axes: Mapping[str, AxisModel]
    detectors: Mapping[str, Mapping[str, SignalModel]]

    @classmethod
    def open(cls, place: InstrumentPlace, physics: Physics, profile: Profile, options: Options) -> Connection:
        """Connect.

        Raises:
            ProfileMismatch: The profile names what the laboratory does not have.
            InstrumentUnavailable: Nothing answers on the controller's socket.
        """
        axes = {model.name: model for model in physics.axes}
        signals = {model.name: model for model in physics.signals}
        for name in profile.axes:
            if name not in axes:
                raise ProfileMismatch(f"{physics.name} has no axis {name!r}; it has {', '.join(axes)}")
        for detector, spec in profile.detectors.items():
            for name in spec.signals:
                if name not in signals:
                    raise ProfileMismatch(f"{detector}: no signal {name!r}; {physics.name} has {', '.join(signals)}")
        try:
            link = Link(place.sockets / SOCKET, client=f"devices-{os.getpid()}")
        except NoController as error:
            raise InstrumentUnavailable(place.name, str(error), "start the laboratory first") from error
        return cls(
            link=link,
            profile=profile,
            options=options,
            axes={name: axes[name] for name in profile.axes},
            detectors={d: {name: signals[name] for name in spec.signals} for d, spec in profile.detectors.items()},
        )

    def axis_timeout(self, name: str) -> float:
        """Seconds that a motion of this axis may take."""
        return self.options.timeout_s or self.profile.axes[name].timeout_s

    def detector_timeout(self, name: str) -> float:
        """Seconds that a measurement of this detector may take."""
        return self.options.timeout_s or self.profile.detectors[name].timeout_s

    def devices(self, axes: dict[str, Any], detectors: list[Any]) -> Devices:
        """The connected devices as the worker takes them."""

        def prepare(run: RunContext) -> None:
            self.link.call("prepare", **asdict(run))

        def is_moving() -> bool:
            return bool(self.link.call("status")["moving"])

        return Devices(
            axes=axes,
            detectors=detectors,
            prepare_run=prepare,
            is_moving=is_moving,
            close=self.link.close,
            is_connected=self.link.is_open,
        )
