"""Interlocks: what must hold before anything is set, and while a run goes on. Unknown means that it does not hold."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from athanor.instruments.bounds import SetRefused
from athanor.instruments.expressions import NAME, BadExpression, Expression, Kind, Unknown, Value
from athanor.instruments.protocols.client import Finite, Option, SignalSpec

if TYPE_CHECKING:
    from athanor.instruments.live import LiveSignals

TRIPPED = "interlock.tripped"
STALE = "interlock.stale"
UNKNOWN = "interlock.unknown"

Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]


class LiveSpec(BaseModel):
    """A signal that can be read at any moment, beside a run and without disturbing it.

    A wired instrument names the `controller` and the address to `read` there, as in `devices:`; another laboratory
    offers signals of its own by name. `max_age_s` is how old a value may be by its own time stamp (seconds).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: str | None = None
    type: Literal["float", "int", "str", "bool"] = "float"
    controller: str | None = None
    read: str | None = None
    scale: Finite = 1.0
    offset: Finite = 0.0
    options: Mapping[str, Option] = Field(default_factory=dict)
    reply_s: Positive = 1.0
    max_age_s: Positive | None = None

    @model_validator(mode="after")
    def _address(self) -> LiveSpec:
        if (self.controller is None) != (self.read is None):
            raise ValueError("a controller and what to read there belong together; give both or neither")
        if self.read is not None:
            self.wire()
        return self

    @property
    def kind(self) -> Kind:
        """What an interlock sees of it."""
        kinds: Mapping[str, Kind] = {"str": "word", "bool": "truth"}
        return kinds.get(self.type, "number")

    def wire(self) -> SignalSpec:
        """Where it is read."""
        return SignalSpec(
            read=self.read,
            type=self.type,
            unit=self.unit,
            scale=self.scale,
            offset=self.offset,
            options=self.options,
        )


class InterlockSpec(BaseModel):
    """One interlock: `require` must hold before every set, or the set is refused.

    `when` says in which part of a run it is watched besides: `always`, or only while an axis is `moving`. When it
    trips then, `on_trip` says what follows: `stop` ends the run and stops the axes; `refuse` only lets nothing more
    be set. A value that is older than `stale_s` seconds is not believed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    require: str
    message: str = ""
    when: Literal["always", "moving"] = "always"
    on_trip: Literal["stop", "refuse"] = "stop"
    stale_s: Positive = 1.0

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if len(name) > 64 or not NAME.fullmatch(name.replace("-", "_")):
            raise ValueError(f"{name[:64]!r} is not a plain name; use a letter, then letters, digits, dash, underscore")
        return name

    @field_validator("require")
    @classmethod
    def _sensible(cls, require: str) -> str:
        Expression.parse(require)
        return require


LIVE = "give it under `signals:` as well, so that it can be read at any moment"
Fault = tuple[tuple[Any, ...], str, str]


def faults(
    interlocks: Iterable[InterlockSpec], kinds: Mapping[str, Kind], measured: Collection[str] = ()
) -> Iterator[Fault]:
    """What is wrong with a profile's interlocks, each as (place in the profile, what is wrong, what puts it right).

    Args:
        interlocks: The section `interlocks:`.
        kinds: What every signal is that can be read at any moment.
        measured: The signals that are known only when their detector is triggered.
    """
    seen: set[str] = set()
    for number, interlock in enumerate(interlocks):
        place = ("interlocks", number)
        if interlock.name in seen:
            yield (*place, "name"), f"two interlocks are called {interlock.name}", "rename one"
        seen.add(interlock.name)
        try:
            expression = Expression.parse(interlock.require)
            for name in expression.names:
                if name in measured and name not in kinds:
                    raise BadExpression(f"{name} is known only when its detector is triggered", LIVE)
            expression.check(kinds)
        except BadExpression as error:
            yield (*place, "require"), error.detail, error.remedy


@dataclass(frozen=True)
class Broken:
    """An interlock that does not hold: its stable code, and why, with the values that it was judged by."""

    name: str
    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True)
class Present:
    """How an interlock stands at a moment: `holds` is None when nobody can tell, and `detail` why it does not hold."""

    name: str
    holds: bool | None
    detail: str | None


class Interlocks:
    """The interlocks of one instrument, judged by what its live signals say now. Blocks: not for an event loop."""

    def __init__(self, specs: Iterable[InterlockSpec], live: LiveSignals) -> None:
        self._rules = [(spec, Expression.parse(spec.require)) for spec in specs]
        self._live = live

    def verify(self) -> None:
        """Raise `SetRefused` unless every interlock holds by values that were read after this was asked."""
        asked = time.monotonic()
        until = asked + max((spec.stale_s for spec, _ in self._rules), default=0.0)
        names = self._names()
        # A look that is shared may have had its value before this was asked: then it takes another.
        while (left := until - time.monotonic()) > 0:
            wait(self._live.ask(names), left)
            if all((sample := self._live.latest(name)) is not None and sample.ended >= asked for name in names):
                break
        broken = [found for spec, rule in self._rules if (found := self._judge(spec, rule, asked)) is not None]
        if broken:
            raise SetRefused(broken[0].code, "; ".join(one.detail for one in broken))

    def watch(self, patience_s: float, since: float, is_moving: bool) -> Broken | None:
        """The first interlock with `on_trip: stop` that does not hold now; looks for at most `patience_s`.

        `since` is when the watch began (monotonic seconds): until `stale_s` later, what has not been read yet may wait.
        """
        rules = [
            (spec, rule)
            for spec, rule in self._rules
            if spec.on_trip == "stop" and (is_moving or spec.when == "always")
        ]
        wait(self._live.ask(dict.fromkeys(name for _, rule in rules for name in rule.names)), patience_s)
        for spec, rule in rules:
            broken = self._judge(spec, rule)
            if broken is not None and (broken.code != STALE or time.monotonic() - since > spec.stale_s):
                return broken
        return None

    def present(self, patience_s: float) -> list[Present]:
        """Whether each of them holds now; looks for at most `patience_s`, and refuses, ends and counts nothing."""
        wait(self._live.ask(self._names()), patience_s)
        found = []
        for spec, rule in self._rules:
            broken = self._judge(spec, rule)
            holds = broken is None or (False if broken.code == TRIPPED else None)
            found.append(Present(spec.name, holds, None if broken is None else broken.detail))
        return found

    def _names(self) -> dict[str, None]:
        return dict.fromkeys(name for _, rule in self._rules for name in rule.names)

    def _judge(self, spec: InterlockSpec, rule: Expression, asked: float | None = None) -> Broken | None:
        """Why an interlock does not hold; None when it does. Values from before `asked` do not count."""
        said = f"{spec.name}: " + (f"{spec.message}: " if spec.message else "") + spec.require
        values: dict[str, Value] = {}
        for name in rule.names:
            sample = self._live.latest(name)
            now = time.monotonic()
            if sample is None or (asked is not None and sample.ended < asked) or now - sample.began > spec.stale_s:
                age = "no value yet" if sample is None else f"last read {now - sample.began:.1f} s ago"
                return Broken(spec.name, STALE, f"{said}; {name} did not answer in time ({age})")
            if sample.trouble is not None:
                code = STALE if sample.is_stale else UNKNOWN
                return Broken(spec.name, code, f"{said}; {name}: {sample.trouble}")
            assert sample.value is not None
            values[name] = sample.value
        shown = ", ".join(f"{name} = {value}" for name, value in values.items())
        try:
            holds = rule.holds(values)
        except Unknown as error:
            return Broken(spec.name, UNKNOWN, f"{said}; {error} ({shown})")
        return None if holds else Broken(spec.name, TRIPPED, f"{said} ({shown})")
