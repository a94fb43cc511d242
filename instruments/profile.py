"""The profile of an instrument: its axes with limits, its detectors, its outcomes. Written as YAML, checked on load."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from athanor.instruments.bounds import PACE_S, Limit
from athanor.instruments.expressions import NAME as PLAIN
from athanor.instruments.expressions import Kind
from athanor.instruments.interlocks import InterlockSpec, LiveSpec, faults
from athanor.instruments.laboratory import WIRED
from athanor.instruments.protocols.wiring import (
    ControllerSpec,
    DeviceWiring,
    ManualWiring,
    PrepareWiring,
    disagreements,
)
from athanor.instruments.yaml_tree import line_of, plain

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

PATIENCE_S = 8 * 3600.0
"""Seconds that a person may take for one thing when the profile does not say."""

WATCH_S = 0.2
"""Seconds between two looks at the interlocks while a run goes on."""

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Value = bool | int | Finite | str  # bool first, so that it is seen and refused, not taken for a number


LARGEST = 1_000_000
"""Bytes of a profile that are read."""
SUFFIXES = (".yaml", ".yml")
"""How the files are called in a folder in which profiles are looked for."""


class ProfileProblem(BaseModel):
    """One thing wrong in a profile: where it stands and what would put it right."""

    model_config = ConfigDict(frozen=True)
    source: str
    line: int | None
    field: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line is not None else self.source
        return f"{place}: {self.field or 'profile'}: {self.detail}; {self.remedy}"


class ProfileError(ValueError):
    """A profile that cannot be used; `problems` lists every one found, each with its line."""

    def __init__(self, problems: list[ProfileProblem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def naming(self, source: str) -> ProfileError:
        """The same of a file that is called otherwise, such as for somebody who is not to learn where it lies."""
        return ProfileError([problem.model_copy(update={"source": source}) for problem in self.problems])


def is_profile_file(path: Path) -> bool:
    """Whether a file, links followed, may be looked at as a profile: plain, not too large, and called like one."""
    try:
        found = path.resolve()
        return found.suffix in SUFFIXES and found.is_file() and found.stat().st_size <= LARGEST
    except (OSError, ValueError):  # no file can have such a name
        return False


class Part(BaseModel):
    """Base of the profile's parts: immutable, nothing unknown, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AxisSpec(Part):
    """One knob: its unit and its limits.

    `minimum` and `maximum` are inclusive, `largest_step` is the largest distance from the current read-back, all in
    `unit`; `allowed` lists the only values instead. `largest_rate` (`unit` per second) is the fastest that the device
    may be asked to go; with `walk` what is farther or faster is gone in steps instead of refused. `tolerance` (in
    `unit`) is how near the read-back must come. `settle_s` and `timeout_s` are seconds, the latter for one motion, on a
    walk for each step. An axis with neither range nor list is never moved.
    """

    unit: str | None = None
    minimum: Finite | None = None
    maximum: Finite | None = None
    integer: bool = False
    allowed: tuple[Value, ...] | None = None
    largest_step: Annotated[Finite, Field(gt=0)] | None = None
    # Left out when not given: a profile written down before they existed stays the same profile.
    largest_rate: Annotated[Finite, Field(gt=0)] | None = Field(default=None, exclude_if=lambda rate: rate is None)
    walk: bool = Field(default=False, exclude_if=lambda walk: not walk)
    tolerance: Annotated[Finite, Field(ge=0)] = 0.0
    settle_s: Annotated[Finite, Field(ge=0)] = 0.0
    timeout_s: Annotated[Finite, Field(gt=0)] = 10.0

    @field_validator("allowed")
    @classmethod
    def _one_kind(cls, allowed: tuple[Value, ...] | None) -> tuple[Value, ...] | None:
        if allowed is None:
            return None
        if not allowed:
            raise ValueError("no value is allowed; list at least one")
        if any(isinstance(value, bool) for value in allowed):
            raise ValueError("true and false are not axis values; write them as words in quotes")
        if len({isinstance(value, str) for value in allowed}) > 1:
            raise ValueError("numbers and words are mixed; use one kind")
        if len(set(allowed)) < len(allowed):
            raise ValueError("a value is listed twice")
        return allowed

    @model_validator(mode="after")
    def _range(self) -> AxisSpec:
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError("only one end of the range is given; give both minimum and maximum")
        if self.allowed is not None and self.minimum is not None:
            raise ValueError("both a range and a list of allowed values are given; keep one")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}; swap them")
        if self.allowed and isinstance(self.allowed[0], str) and self.largest_step is not None:
            raise ValueError("words have no distance; remove largest_step")
        if self.allowed and isinstance(self.allowed[0], str) and self.largest_rate is not None:
            raise ValueError("words have no rate; remove largest_rate")
        if self.walk and self.minimum is None:
            raise ValueError("walk needs a range to walk through; give minimum and maximum, or remove walk")
        if self.walk and self.largest_step is None and self.largest_rate is None:
            raise ValueError("walk has no step; give largest_step, largest_rate or both")
        if self.walk and self.integer and self.largest_step is not None and self.largest_step < 1:
            raise ValueError("a walk through whole numbers makes steps of 1 or more; correct largest_step")
        return self

    @property
    def longest_move_s(self) -> float:
        """Seconds that a move from one end to the other may take, step by step when the axis walks."""
        if not self.walk or self.minimum is None or self.maximum is None:
            return self.timeout_s
        rate = self.largest_rate
        step = self.largest_step if self.largest_step is not None else (rate or math.inf) * PACE_S
        span = self.maximum - self.minimum
        steps = math.ceil(span / (max(1.0, math.floor(step)) if self.integer else step)) + 1
        return steps * self.timeout_s + (0.0 if rate is None else 2 * span / rate)

    def limit(self) -> Limit | None:
        """The limit every set on this axis is held to; None when no limit is known."""
        if self.allowed is None and self.minimum is None:
            return None
        return Limit(
            minimum=self.minimum,
            maximum=self.maximum,
            integer=self.integer,
            allowed=self.allowed,
            largest_step=self.largest_step,
            tolerance=self.tolerance,
            unit=self.unit,
            largest_rate=self.largest_rate,
            move_s=self.timeout_s,
            walk=self.walk,
        )


class DetectorSpec(Part):
    """One detector: its signals with their units, and how long a reading may take (seconds)."""

    signals: Annotated[dict[str, str | None], Field(min_length=1)]
    timeout_s: Annotated[Finite, Field(gt=0)] = 10.0


class OutcomeSpec(Part):
    """One outcome of a run: the signal it is reduced from, and its unit."""

    signal: str
    unit: str | None = None


class Profile(Part):
    """An instrument as people describe it.

    `signals` can be read at any moment; `interlocks` say what must hold of them and of the axes' read-backs, judged at
    every set and every `watch_s` seconds while a run goes on. `controllers` and `devices` say how a wired instrument is
    reached; an instrument with a laboratory of its own has neither. `prepare` is what the controllers are told before
    each run, in this order.
    """

    name: str
    laboratory: str
    simulated: bool
    title: str = ""
    axes: Annotated[dict[str, AxisSpec], Field(min_length=1)]
    detectors: Annotated[dict[str, DetectorSpec], Field(min_length=1)]
    outcomes: Annotated[dict[str, OutcomeSpec], Field(min_length=1)]
    reduction: str = "mean"
    controllers: dict[str, ControllerSpec] = Field(default_factory=dict)
    devices: dict[str, DeviceWiring] = Field(default_factory=dict)
    # Left out when there is none: a profile written down before it existed stays the same profile.
    prepare: tuple[PrepareWiring, ...] = Field(default=(), exclude_if=lambda prepare: not prepare)
    signals: dict[str, LiveSpec] = Field(default_factory=dict, exclude_if=lambda signals: not signals)
    interlocks: tuple[InterlockSpec, ...] = Field(default=(), exclude_if=lambda interlocks: not interlocks)
    watch_s: Annotated[Finite, Field(gt=0, le=1, exclude_if=lambda watch_s: watch_s == WATCH_S)] = WATCH_S

    @field_validator("name", "laboratory")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a plain name; use a letter, then letters, digits, dot, dash, underscore")
        return name

    @field_validator("axes", "detectors", "outcomes", "controllers", "devices", "signals")
    @classmethod
    def _plain_keys(cls, parts: dict[str, Any]) -> dict[str, Any]:
        for name in parts:
            cls._plain_name(name)
        return parts

    @model_validator(mode="after")
    def _signals(self) -> Profile:
        signals: dict[str, str] = {}
        for name, detector in self.detectors.items():
            for signal in detector.signals:
                if signal in signals:
                    raise ValueError(f"signal {signal!r} is in detectors {signals[signal]} and {name}; rename one")
                signals[signal] = name
        for name, outcome in self.outcomes.items():
            if outcome.signal not in signals:
                known = ", ".join(sorted(signals))
                raise ValueError(
                    f"outcome {name!r} reads signal {outcome.signal!r}, which no detector has; use one of: {known}"
                )
        return self

    @model_validator(mode="after")
    def _people(self) -> Profile:
        grant_patience(self)
        return self

    @model_validator(mode="after")
    def _wiring(self, info: ValidationInfo) -> Profile:
        units = {name: axis.unit for name, axis in self.axes.items()}
        signals = {name: detector.signals for name, detector in self.detectors.items()}
        used = {signal.controller for signal in self.signals.values() if signal.controller is not None}
        measured = {name for detector in self.detectors.values() for name in detector.signals}
        found: list[tuple[tuple[Any, ...], str, str]] = []
        found.extend(disagreements(self.controllers, self.devices, units, signals, self.prepare, used))
        found.extend(self._unreadable())
        found.extend(self._adrift())
        found.extend(faults(self.interlocks, self.live(), measured))
        if self.laboratory == WIRED and not self.devices:
            found.append((("laboratory",), "nothing says how a wired instrument is reached", "add `devices:`"))
        if found and isinstance(info.context, list):
            info.context.extend(found)  # for who wants each with its line
        elif found:
            raise ValueError(
                "; ".join(f"{'.'.join(map(str, place))}: {detail}; {remedy}" for place, detail, remedy in found)
            )
        return self

    def _unreadable(self) -> Iterator[tuple[tuple[Any, ...], str, str]]:
        """What is wrong with the signals, each as (place in the profile, what is wrong, what puts it right)."""
        for name, signal in self.signals.items():
            if name in self.axes:
                yield ("signals", name), "an axis has that name, whose read-back is live already", "rename it"
            if signal.controller is None and self.laboratory == WIRED:
                yield ("signals", name), "nothing says where it is read", "give `controller:` and `read:`"
            elif signal.controller is not None and signal.controller not in self.controllers:
                known = ", ".join(self.controllers) or "none is given"
                said = f"there is no controller {signal.controller!r}"
                yield ("signals", name, "controller"), said, f"use one of: {known}"

    def _adrift(self) -> Iterator[tuple[tuple[Any, ...], str, str]]:
        """Axes that a person sets, of which nobody knows at first how far they may go; each as `_unreadable`."""
        for name, wiring in self.devices.items():
            limit = self.axes[name].limit() if name in self.axes else None
            if not isinstance(wiring, ManualWiring) or limit is None or not limit.is_relative:
                continue
            if wiring.stands_at is None:
                said = "its largest step or rate counts from where it stands, and nobody has said where that is"
                yield ("devices", name), said, "give `stands_at:`"

    def live(self) -> dict[str, Kind]:
        """What an interlock may speak of, and what each of it is: the axes' read-backs, and the signals."""
        kinds: dict[str, Kind] = {
            name: "word" if axis.allowed and isinstance(axis.allowed[0], str) else "number"
            for name, axis in self.axes.items()
        }
        kinds |= {name: signal.kind for name, signal in self.signals.items()}
        return {name: kind for name, kind in kinds.items() if PLAIN.fullmatch(name)}

    def limits(self) -> dict[str, Limit | None]:
        """The limit of every axis, by name."""
        return {name: axis.limit() for name, axis in self.axes.items()}


def grant_patience(profile: Profile) -> None:
    """Give the devices that a person is hours instead of seconds, where the profile does not say how long."""
    for name, wiring in profile.devices.items():
        if not isinstance(wiring, ManualWiring):
            continue
        if (axis := profile.axes.get(name)) is not None and "timeout_s" not in axis.model_fields_set:
            profile.axes[name] = axis.model_copy(update={"timeout_s": PATIENCE_S})
        if (detector := profile.detectors.get(name)) is not None and "timeout_s" not in detector.model_fields_set:
            profile.detectors[name] = detector.model_copy(update={"timeout_s": PATIENCE_S})


def load_profile(path: Path) -> Profile:
    """Read a profile file; raises `ProfileError` naming file, line, field and remedy."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        said = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        raise ProfileError(
            [ProfileProblem(source=str(path), line=None, field="", detail=said, remedy="give a readable text file")]
        ) from error
    return parse_profile(text, source=str(path))


def parse_profile(text: str, source: str = "<profile>") -> Profile:
    """Check profile text; raises `ProfileError` naming source, line, field and remedy of every problem."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    def broken(detail: str, line: int | None, remedy: str) -> ProfileError:
        return ProfileError([ProfileProblem(source=source, line=line, field="", detail=detail, remedy=remedy)])

    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        raise broken(str(error.problem or error), line, "correct the YAML here") from error
    except Exception as error:  # control characters, a number of 90,000 digits, a date of month 99
        reason = getattr(error, "reason", None) or error
        raise broken(f"it cannot be read: {str(reason)[:200]}", None, "write it in plain values") from error
    if not isinstance(tree, dict):
        raise broken("not a mapping", 1, "start with `name: ...`")

    def problem(location: tuple[int | str, ...], detail: str, remedy: str) -> ProfileProblem:
        field = ".".join(str(part) for part in _named(tree, location))
        return ProfileProblem(source=source, line=line_of(tree, location), field=field, detail=detail, remedy=remedy)

    wiring: list[tuple[tuple[Any, ...], str, str]] = []
    try:
        profile = Profile.model_validate(plain(tree), context=wiring)
    except ValidationError as error:
        problems = [
            problem(_untagged(each["loc"]), each["msg"].removeprefix("Value error, "), _remedy(each))
            for each in error.errors(include_url=False)
        ]
        raise ProfileError(problems) from error
    if wiring:
        raise ProfileError([problem(*each) for each in wiring])
    return profile


def _untagged(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """An error's location without the kind of device, which is not in the file."""
    return location[:2] + location[3:] if location[:1] == ("devices",) else location


def _named(tree: Any, location: tuple[int | str, ...]) -> list[int | str]:
    """The part of an error's location that exists in the file; union tags and the like fall away."""
    parts: list[int | str] = []
    for part in location:
        in_list = isinstance(tree, list) and isinstance(part, int) and part < len(tree)
        if in_list or (isinstance(tree, dict) and part in tree):
            tree = tree[part]
        else:
            if isinstance(tree, dict):
                parts.append(part)
            break
        parts.append(part)
    return parts


def _remedy(problem: Any) -> str:
    kind = problem["type"]
    if kind == "missing":
        return "add this field"
    if kind == "extra_forbidden":
        return "remove it or correct its spelling"
    if kind == "value_error":
        return "correct it"  # the detail already says how
    value = problem.get("input")
    shown = value if not isinstance(value, float) or math.isfinite(value) else str(value)
    try:
        return f"it is {shown!r}; correct it"
    except ValueError:  # a number of more digits than are written
        return "correct it"
