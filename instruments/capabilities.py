"""The capability card of an instrument: what it can do, within which limits, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from athanor.instruments.profile import AxisSpec, Profile
from athanor.instruments.protocols.wiring import AxisWiring, ClassWiring, DetectorWiring, ManualWiring

AUTONOMY = ("approve_each", "auto_within_limits")
"""What a campaign may be given on an instrument without faults; on one with a fault, nothing."""


def card(parts: Profile, is_sound: bool) -> dict[str, Any]:
    """What a profile, or the sound parts of one, says of its instrument.

    Args:
        parts: The profile.
        is_sound: Whether nothing is wrong with the instrument. Otherwise no campaign is to run on it.
    """
    return {
        "instrument": parts.name,
        "title": parts.title,
        "laboratory": parts.laboratory,
        "simulated": parts.simulated,
        "controllers": {
            name: {"protocol": controller.protocol, "address": controller.address}
            for name, controller in parts.controllers.items()
        },
        "axes": [_axis(name, axis, parts.devices) for name, axis in parts.axes.items()],
        "detectors": [
            {
                "name": name,
                "signals": dict(detector.signals),
                "timeout_s": detector.timeout_s,
                "triggered": _is_triggered(parts.devices.get(name)),
                "plausible": _plausible(parts.devices.get(name)),
                "reached": reached(parts.devices.get(name)),
            }
            for name, detector in parts.detectors.items()
        ],
        "outcomes": {
            name: {"signal": outcome.signal, "unit": outcome.unit} for name, outcome in parts.outcomes.items()
        },
        "reduction": parts.reduction,
        "signals": {name: {"unit": signal.unit, "type": signal.type} for name, signal in parts.signals.items()},
        "interlocks": [
            {"name": one.name, "require": one.require, "when": one.when, "on_trip": one.on_trip}
            for one in parts.interlocks
        ],
        "actions": _actions(parts),
        "autonomy": list(AUTONOMY) if is_sound else [],
    }


def reached(wiring: Any) -> str | None:
    """How a device is reached: its controller, its class, or `person`; None when its laboratory knows."""
    if wiring is None:
        return None
    if isinstance(wiring, ManualWiring):
        return "person"
    return str(wiring.entry) if isinstance(wiring, ClassWiring) else str(wiring.controller)


def readback_kind(wiring: Any) -> str:
    """How one knows where an axis stands: `readback`, its `setpoint` alone, `person` or `device` when that says it."""
    if isinstance(wiring, ManualWiring):
        return "person"
    if not isinstance(wiring, AxisWiring):
        return "device"
    return "readback" if wiring.readback is not None else "setpoint"


def stop_kind(wiring: Any) -> str | None:
    """How an axis is halted: `signal`, `hold`, `device` when that does it itself, `person`; None when nothing does."""
    if isinstance(wiring, ManualWiring):
        return "person"
    if not isinstance(wiring, AxisWiring):
        return "device"
    return wiring.stop if isinstance(wiring.stop, str) or wiring.stop is None else "signal"


def limits_text(axis: Mapping[str, Any]) -> str:
    """The limits of one of the card's axes in words."""
    if axis["allowed"] is not None:
        return ", ".join(str(value) for value in axis["allowed"])
    if axis["minimum"] is None or axis["maximum"] is None:
        return "none"
    return f"{axis['minimum']:g} … {axis['maximum']:g}" + (" whole" if axis["integer"] else "")


def _axis(name: str, axis: AxisSpec, devices: Mapping[str, Any]) -> dict[str, Any]:
    wiring = devices.get(name)
    return {
        "name": name,
        "unit": axis.unit,
        "minimum": axis.minimum,
        "maximum": axis.maximum,
        "integer": axis.integer,
        "allowed": None if axis.allowed is None else list(axis.allowed),
        "largest_step": axis.largest_step,
        "largest_rate": axis.largest_rate,
        "walk": axis.walk,
        "tolerance": axis.tolerance,
        "settle_s": axis.settle_s,
        "timeout_s": axis.timeout_s,
        "readback": readback_kind(wiring),
        "verify": wiring.verify if isinstance(wiring, AxisWiring) else readback_kind(wiring),
        "stop": stop_kind(wiring),
        "reached": reached(wiring),
    }


def _is_triggered(wiring: Any) -> bool:
    return not isinstance(wiring, DetectorWiring) or wiring.trigger is not None


def _plausible(wiring: Any) -> dict[str, list[float]]:
    """By signal, the range outside which a person's entry is refused."""
    if not isinstance(wiring, ManualWiring):
        return {}
    return {name: [low, high] for name, (low, high) in wiring.plausible.items()}


def _actions(parts: Profile) -> list[str]:
    """What can be done: move only what has limits, stop only what can be stopped; what a person does is asked for."""
    people = {name for name, wiring in parts.devices.items() if isinstance(wiring, ManualWiring)}
    movable = [name for name, axis in parts.axes.items() if axis.limit() is not None]
    stoppable = [name for name in parts.axes if stop_kind(parts.devices.get(name)) not in (None, "person")]
    actions = [f"ask a person to set {name}" if name in people else f"move {name}" for name in movable]
    actions += [f"ask a person for {name}" if name in people else f"measure {name}" for name in parts.detectors]
    actions += [f"stop {name}" for name in stoppable]
    return actions
