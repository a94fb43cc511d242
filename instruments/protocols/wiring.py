"""The profile's sections `controllers:` and `devices:`: which signal of which controller makes up a device."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from athanor.instruments.laboratory import RunContext
from athanor.instruments.protocols.client import Finite, Option, SignalSpec, Value, WrongType, typed

Positive = Annotated[Finite, Field(gt=0)]
CONVERT = "convert with scale and offset, or omit this unit"
ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
FIELD = re.compile(r"\{(\w*)\}")
RUN_FIELDS = {"intent": str, "experiment": str, "ordinal": int, "seed": int, "replicates": int}
"""What a controller may be told of a run: the fields of `RunContext` by their types."""


class Part(BaseModel):
    """Base of the sections' parts: immutable, nothing unknown, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class ControllerSpec(Part):
    """One connection: the protocol's name, the address in its terms, and seconds that connecting may take."""

    protocol: str
    address: str
    connect_s: Positive = 5.0
    options: Mapping[str, Option] = Field(default_factory=dict)


class AxisWiring(Part):
    """The signals of an axis. Range, unit, tolerance and the time a motion may take stand in `axes:`.

    `verify` says when a set is done: `none` when the controller has taken the command; `accepted` when the set point
    read back from the controller is the one sent; `readback` when the read-back stands within the tolerance (for
    `stable_s` seconds) and the `done` signal, if there is one, has the value `done_value`.
    `stop` is written with `stop_value`; the word `hold` sends the axis to where it stands instead.
    `reply_s` is how long one answer may take, `poll_s` the time between two looks at a motion, and `lag_s` how long
    after `done` the read-back may still be elsewhere before the motion counts as failed (seconds).
    """

    controller: str
    setpoint: SignalSpec
    readback: SignalSpec | None = None
    done: SignalSpec | None = None
    done_value: Option = True
    stop: SignalSpec | Literal["hold"] | None = None
    stop_value: Option = 1
    verify: Literal["none", "accepted", "readback"] = "readback"
    stable_s: Annotated[Finite, Field(ge=0)] = 0.0
    lag_s: Annotated[Finite, Field(ge=0)] = 0.5
    reply_s: Positive = 1.0
    poll_s: Positive = 0.05

    @model_validator(mode="after")
    def _addresses(self) -> AxisWiring:
        if self.setpoint.write is None:
            raise ValueError("the set point cannot be written; give setpoint a `write:`")
        for name in ("readback", "done"):
            signal = getattr(self, name)
            if signal is not None and signal.read is None:
                raise ValueError(f"{name} cannot be read; give it a `read:`")
        if isinstance(self.stop, SignalSpec) and self.stop.write is None:
            raise ValueError("stop cannot be written; give it a `write:`")
        if self.verify == "readback" and self.readback is None:
            raise ValueError("verify is readback, but there is none; give `readback:` or another verify")
        if self.verify == "accepted" and self.setpoint.read is None:
            raise ValueError("verify is accepted, but the set point cannot be read; give setpoint a `read:`")
        if self.stop == "hold" and self.readback is None:
            raise ValueError("stop is hold, but nothing says where the axis stands; give `readback:`")
        if self.readback is None and self.setpoint.read is None:
            raise ValueError("nothing says where the axis stands; give `readback:`, or setpoint a `read:`")
        return self

    def signals(self) -> dict[str, SignalSpec]:
        """Its signals by name."""
        every = {"setpoint": self.setpoint, "readback": self.readback, "done": self.done, "stop": self.stop}
        return {name: signal for name, signal in every.items() if isinstance(signal, SignalSpec)}


class DetectorWiring(Part):
    """The signals of a detector, by the names they have in `detectors:`.

    `trigger` is written with `trigger_value` before they are read; then `done` is awaited to have the value
    `done_value`. `probe: false` keeps the signals from being read while connecting, when reading has an effect.
    """

    controller: str
    signals: Annotated[dict[str, SignalSpec], Field(min_length=1)]
    trigger: SignalSpec | None = None
    trigger_value: Option = 1
    done: SignalSpec | None = None
    done_value: Option = True
    probe: bool = True
    reply_s: Positive = 1.0
    poll_s: Positive = 0.05

    @model_validator(mode="after")
    def _addresses(self) -> DetectorWiring:
        for name, signal in self.signals.items():
            if signal.read is None:
                raise ValueError(f"signal {name} cannot be read; give it a `read:`")
        if self.trigger is not None and self.trigger.write is None:
            raise ValueError("trigger cannot be written; give it a `write:`")
        if self.done is not None and self.done.read is None:
            raise ValueError("done cannot be read; give it a `read:`")
        return self


class ClassWiring(Part):
    """A device of any class that meets `bluesky.protocols`, made as `Class(**args, name=...)`."""

    entry: Annotated[str, Field(alias="class")]
    args: Mapping[str, Any] = Field(default_factory=dict)
    connect_s: Positive = 5.0

    @field_validator("entry")
    @classmethod
    def _an_entry(cls, entry: str) -> str:
        if not ENTRY.fullmatch(entry):
            raise ValueError(f"{entry!r} names no class; write package.module:Class")
        return entry


class ManualWiring(Part):
    """A device that is a person: an axis that somebody sets, a detector that somebody reads, at the station.

    `instruct` is what to do, in the words of the laboratory. `plausible` is, by signal, the range outside which an
    entered value is refused. `stands_at` is where an axis stands before anybody has set it. How long a person may take
    is the `timeout_s` of the axis or the detector.
    """

    protocol: Literal["manual"]
    instruct: Annotated[str, Field(max_length=2000)] = ""
    plausible: Mapping[str, tuple[Finite, Finite]] = Field(default_factory=dict)
    stands_at: Annotated[int | Finite | str | None, Field(union_mode="left_to_right")] = None

    @field_validator("plausible")
    @classmethod
    def _a_range(cls, plausible: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
        for name, (low, high) in plausible.items():
            if low >= high:
                raise ValueError(f"{name}: {low:g} is not below {high:g}; write [low, high]")
        return plausible


class PrepareWiring(Part):
    """One thing that a controller is told before each run: a file name, a run number, a seed.

    `value` may name fields of the run, `{experiment}` or `run-{ordinal}`. A signal that carries a number takes a
    number, or one field that is one.
    """

    controller: str
    signal: SignalSpec
    value: Option
    reply_s: Positive = 1.0

    @model_validator(mode="after")
    def _meaningful(self) -> PrepareWiring:
        if self.signal.write is None:
            raise ValueError("the signal cannot be written; give it a `write:`")
        if not isinstance(self.value, str):
            try:
                typed(self.signal, self.signal.raw(self.value))
            except WrongType as error:
                raise ValueError(f"{error.detail}; give one") from error
            return self
        fields = FIELD.findall(self.value)
        if unknown := [field for field in fields if field not in RUN_FIELDS]:
            raise ValueError(f"a run has no {unknown[0]!r}; use one of: {', '.join(RUN_FIELDS)}")
        if set(FIELD.sub("", self.value)) & set("{}"):
            raise ValueError(f"{self.value!r} has a lone brace; write fields like {{ordinal}}")
        is_number = (
            self.signal.type in ("int", "float") and FIELD.fullmatch(self.value) and RUN_FIELDS[fields[0]] is int
        )
        if self.signal.type != "str" and not is_number:
            raise ValueError(f"{self.value!r} is not a {self.signal.type}; give one, or `type: str`")
        return self

    def render(self, run: RunContext) -> Value:
        """What the controller is told of this run."""
        if not isinstance(self.value, str):
            return self.value
        if self.signal.type != "str":
            number: int = getattr(run, self.value[1:-1])
            return number
        return FIELD.sub(lambda field: str(getattr(run, field[1])), self.value)


def _kind(wiring: Any) -> str:
    has = wiring.__contains__ if isinstance(wiring, Mapping) else lambda name: hasattr(wiring, name)
    if has("class") or has("entry"):
        return "class"
    if has("protocol"):
        return "manual"
    return "detector" if has("signals") and not isinstance(wiring, AxisWiring) else "axis"


DeviceWiring = Annotated[
    Annotated[AxisWiring, Tag("axis")]
    | Annotated[DetectorWiring, Tag("detector")]
    | Annotated[ClassWiring, Tag("class")]
    | Annotated[ManualWiring, Tag("manual")],
    Discriminator(_kind),
]


def disagreements(
    controllers: Mapping[str, ControllerSpec],
    devices: Mapping[str, AxisWiring | DetectorWiring | ClassWiring | ManualWiring],
    axes: Mapping[str, str | None],
    detectors: Mapping[str, Mapping[str, str | None]],
    prepare: Sequence[PrepareWiring],
    others: Collection[str] = (),
) -> Iterator[tuple[tuple[int | str, ...], str, str]]:
    """What in the sections does not fit together, each as (place in the profile, what is wrong, what puts it right).

    Args:
        controllers: the section `controllers:`.
        devices: the section `devices:`.
        axes: the unit of every axis.
        detectors: of every detector, the unit of every signal.
        prepare: the section `prepare:`.
        others: controllers that something else uses.
    """
    known = ", ".join(controllers) or "none is given"
    for number, told in enumerate(prepare):
        if told.controller not in controllers:
            said = f"there is no controller {told.controller!r}"
            yield ("prepare", number, "controller"), said, f"use one of: {known}"
    if not devices and not controllers:
        return
    for name in [*axes, *detectors]:
        if name not in devices:
            yield ("devices",), f"{name} is not wired", "add it"
        if name in axes and name in detectors:
            yield ("detectors", name), f"an axis is called {name} too", "rename one"
    for name, wiring in devices.items():
        place = ("devices", name)
        if name not in axes and name not in detectors:
            yield place, f"{name} is neither an axis nor a detector", "correct its name"
            continue
        if isinstance(wiring, ManualWiring):
            yield from _manual(name, wiring, detectors.get(name))
        if isinstance(wiring, ClassWiring | ManualWiring):
            continue
        if wiring.controller not in controllers:
            yield (*place, "controller"), f"there is no controller {wiring.controller!r}", f"use one of: {known}"
        if isinstance(wiring, AxisWiring):
            if name not in axes:
                yield place, f"{name} is a detector", "list what it reads under `signals:`"
                continue
            for part in ("setpoint", "readback"):
                signal = wiring.signals().get(part)
                if signal is not None and _differ(signal.unit, axes[name]):
                    said = f"it gives {signal.unit}, axis {name} is in {axes[name] or 'no unit'}"
                    yield (*place, part, "unit"), said, CONVERT
        else:
            if name not in detectors:
                yield place, f"{name} is an axis", "give its setpoint and readback instead of signals"
                continue
            for signal_name in sorted(detectors[name].keys() ^ wiring.signals.keys()):
                where = "detectors" if signal_name in wiring.signals else "devices"
                yield (*place, "signals"), f"signal {signal_name} is missing in {where}.{name}.signals", "add it there"
            for signal_name, signal in wiring.signals.items():
                unit = detectors[name].get(signal_name)
                if signal_name in detectors[name] and _differ(signal.unit, unit):
                    said = f"it gives {signal.unit}, the detector's signal is in {unit or 'no unit'}"
                    yield (*place, "signals", signal_name, "unit"), said, CONVERT
    used = {wiring.controller for wiring in devices.values() if isinstance(wiring, AxisWiring | DetectorWiring)}
    used |= {told.controller for told in prepare} | set(others)
    for name in controllers:
        if name not in used:
            yield ("controllers", name), f"no device uses controller {name}", "remove it or wire a device to it"


def _manual(
    name: str, wiring: ManualWiring, signals: Mapping[str, str | None] | None
) -> Iterator[tuple[tuple[int | str, ...], str, str]]:
    """What does not fit in the wiring of a manual device; `signals` are a detector's, None for an axis."""
    place = ("devices", name)
    for signal in wiring.plausible:
        if signals is None or signal not in signals:
            known = "an axis has limits instead" if signals is None else f"use one of: {', '.join(signals)}"
            yield (*place, "plausible", signal), f"{name} has no signal {signal!r}", known
    if signals is not None and wiring.stands_at is not None:
        yield (*place, "stands_at"), f"{name} is a detector", "remove it"


def _differ(said: str | None, expected: str | None) -> bool:
    return said is not None and said != expected
