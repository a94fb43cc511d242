"""What the hardware itself has to say about a run whose end nobody saw. It is asked, never moved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from athanor.instruments.laboratory import UnknownLaboratory, Witnessing, load
from athanor.instruments.standing import positions

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.memory.places import InstrumentPlace

READ_S = 3.0


@dataclass(frozen=True)
class Axis:
    """One axis: where the run was to take it, and where it is now (None: it did not say)."""

    name: str
    unit: str | None
    target: float | int | str
    position: float | int | str | None
    is_there: bool | None


@dataclass(frozen=True)
class Account:
    """What the controller's own log says of a run."""

    began_at: datetime | None
    counts: Mapping[str, int]
    last: datetime | None

    @property
    def is_known(self) -> bool:
        """Whether the controller ever heard of the run."""
        return self.began_at is not None


@dataclass(frozen=True)
class Testimony:
    """The device's word about a run: its axes now, whether it moves, and the controller's log where there is one."""

    is_connected: bool
    is_moving: bool | None
    axes: Sequence[Axis]
    trouble: str | None = None
    account: Account | None = field(default=None)

    @property
    def is_at_target(self) -> bool | None:
        """Whether every axis stands where the run was to take it; None when one did not say."""
        if not self.axes or any(axis.is_there is None for axis in self.axes):
            return None
        return all(axis.is_there for axis in self.axes)


def hear(
    place: InstrumentPlace, profile: Profile | None, values: Mapping[str, float | int | str], intent: str | None
) -> Testimony:
    """Ask the recovery process of an instrument where its axes are, and the controller's log about the run.

    Without a profile, units and tolerances are unknown, and so is whether there is a log.
    """
    account = _account(profile.laboratory, place, intent) if intent is not None and profile is not None else None
    try:
        answer = positions(place, READ_S)
    except (OSError, ValueError) as error:
        return Testimony(False, None, _axes(profile, values, {}), _words(error), account)
    failures = answer.get("failures") or {}
    trouble = "; ".join(f"{name}: {why}" for name, why in failures.items()) or None
    return Testimony(
        is_connected=bool(answer.get("connected")),
        is_moving=answer.get("moving"),
        axes=_axes(profile, values, answer.get("positions") or {}),
        trouble=trouble,
        account=account,
    )


def _words(error: Exception) -> str:
    return f"nothing is connected to it now ({error})"


def _axes(
    profile: Profile | None, values: Mapping[str, float | int | str], found: Mapping[str, float | int | str | None]
) -> list[Axis]:
    axes = []
    for name, target in values.items():
        spec = profile.axes.get(name) if profile is not None else None
        position = found.get(name)
        axes.append(
            Axis(
                name,
                spec.unit if spec is not None else None,
                target,
                position,
                _is_there(target, position, (spec.tolerance if spec is not None else None) or 0.0),
            )
        )
    return axes


def _is_there(target: float | int | str, position: float | int | str | None, tolerance: float) -> bool | None:
    if position is None:
        return None
    if isinstance(target, str) or isinstance(position, str):
        return str(target) == str(position)
    return math.isclose(target, position, rel_tol=1e-9, abs_tol=max(tolerance, 1e-12))


def _account(laboratory: str, place: InstrumentPlace, intent: str) -> Account | None:
    """Sum up the controller's log about an intent; None where the laboratory keeps none, or it cannot be read."""
    try:
        found = load(laboratory)
        lines = found.witness(place, intent) if isinstance(found, Witnessing) else None
    except (UnknownLaboratory, OSError, ValueError, KeyError, TypeError):
        return None
    if lines is None:
        return None
    if not lines:
        return Account(None, {}, None)
    moments = [datetime.fromtimestamp(float(line["t"]), UTC) for line in lines]
    return Account(moments[0], dict(Counter(str(line["kind"]) for line in lines)), moments[-1])
