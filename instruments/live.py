"""Live signals: what an instrument says at any moment, read beside a run without disturbing it.

One question at a time per signal: a line that does not answer collects neither threads nor requests.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from athanor.instruments.deadlines import spawn
from athanor.instruments.expressions import Kind, Value

if TYPE_CHECKING:
    from athanor.instruments.limits import LimitedAxis
    from athanor.instruments.profile import Profile

GIVE_UP_S = 10.0
"""Seconds after which a question that nobody has answered is asked again."""


@dataclass(frozen=True)
class Sample:
    """One look at a signal, from `began` to `ended` (monotonic seconds): its value, or what the trouble was.

    `is_stale`: the trouble is that the value is older, by its own time, than the signal may be.
    """

    value: Value | None
    began: float
    ended: float
    trouble: str | None = None
    is_stale: bool = False


class Probe:
    """One live signal.

    Args:
        read: Gives its reading as a mapping with `value`, and `timestamp` in Unix seconds if it has one, or the bare
            value; or an awaitable of it.
        kind: What the value must be.
        loop: Where awaitables are run.
        max_age_s: How old a value may be by its own time stamp; None for any age.
    """

    def __init__(
        self,
        read: Callable[[], Any],
        kind: Kind,
        loop: asyncio.AbstractEventLoop,
        max_age_s: float | None = None,
    ) -> None:
        self._read = read
        self._kind = kind
        self._loop = loop
        self._max_age_s = max_age_s
        self._guard = threading.Lock()
        self._asking: Future[Sample] | None = None
        self._asked_at = 0.0
        self.latest: Sample | None = None

    def ask(self) -> Future[Sample]:
        """Look at it now, or share the look that is under way; the future never fails."""
        with self._guard:
            asking = self._asking
            if asking is None or asking.done() or time.monotonic() - self._asked_at > GIVE_UP_S:
                self._asked_at = time.monotonic()
                if inspect.iscoroutinefunction(self._read):
                    if asking is not None:
                        asking.cancel()
                    asking = asyncio.run_coroutine_threadsafe(self._look(self._read, self._asked_at), self._loop)
                else:
                    asking = spawn(lambda began=self._asked_at: self._look_here(began), "live-signal")  # type: ignore[misc]
                self._asking = asking
            return asking

    async def _look(self, read: Callable[[], Coroutine[Any, Any, Any]], began: float) -> Sample:
        try:
            return self._took(await read(), began)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the value is not known
            return self._missed(error, began)

    def _look_here(self, began: float) -> Sample:
        try:
            answer = self._read()
            if inspect.isawaitable(answer):

                async def finish() -> Any:
                    return await answer

                answer = asyncio.run_coroutine_threadsafe(finish(), self._loop).result(GIVE_UP_S)
            return self._took(answer, began)
        except Exception as error:  # noqa: BLE001
            return self._missed(error, began)

    def _took(self, answer: Any, began: float) -> Sample:
        stamp = None
        if isinstance(answer, Mapping):
            stamp, answer = answer.get("timestamp"), answer["value"]
        value = _typed(answer, self._kind)
        ended = time.monotonic()
        age = None if self._max_age_s is None or stamp is None else time.time() - float(stamp)
        if self._max_age_s is not None and (age is None or not -self._max_age_s <= age <= self._max_age_s):
            said = "has no time" if age is None else f"is {age:.1f} s old by its own time"
            return self._keep(Sample(None, began, ended, f"the value {said}", is_stale=True))
        if value is None:
            return self._keep(Sample(None, began, ended, f"{str(answer)[:80]!r} is not a {self._kind}"))
        return self._keep(Sample(value, began, ended))

    def _missed(self, error: Exception, began: float) -> Sample:
        return self._keep(Sample(None, began, time.monotonic(), f"{type(error).__name__}: {error}"))

    def _keep(self, sample: Sample) -> Sample:
        with self._guard:
            if self.latest is None or sample.began >= self.latest.began:
                self.latest = sample
        return sample


class LiveSignals:
    """All signals of an instrument that can be read at any moment, by name."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = dict(probes)

    def ask(self, names: Iterable[str]) -> list[Future[Sample]]:
        """Look at these now."""
        return [self._probes[name].ask() for name in names]

    def look(self, names: Iterable[str], patience_s: float) -> dict[str, dict[str, Any]]:
        """What these say now, each as `{value, trouble}`: what did not answer in time has no value."""
        known = [name for name in names if name in self._probes]
        looks = dict(zip(known, self.ask(known), strict=True))
        wait(looks.values(), patience_s)
        return {name: _told(look) for name, look in looks.items()}

    def latest(self, name: str) -> Sample | None:
        """The last look at a signal that has ended; None before the first."""
        return self._probes[name].latest


def _told(look: Future[Sample]) -> dict[str, Any]:
    if not look.done() or look.cancelled():
        return {"value": None, "trouble": "it did not answer in time"}
    sample = look.result()
    return {"value": sample.value, "trouble": sample.trouble}


def _typed(value: Any, kind: Kind) -> Value | None:
    """The value as Python's own, None when it is not of the kind or not a number at all."""
    if hasattr(value, "item") and getattr(value, "shape", None) in ((), (1,)):
        value = value.item()
    if kind == "word":
        return str(value) if isinstance(value, str) else None
    if kind == "truth":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def connect(
    profile: Profile, axes: Mapping[str, LimitedAxis], signals: Mapping[str, Any], loop: asyncio.AbstractEventLoop
) -> LiveSignals:
    """The live signals of an instrument: its axes' read-backs and what its laboratory offers beside them.

    Args:
        profile: Says what each of them is.
        axes: The axes by name.
        signals: What has a `read()`, by name.
        loop: Where the devices live.
    """
    probes = {}
    for name, kind in profile.live().items():
        if name in axes:
            probes[name] = Probe(axes[name].reader, kind, loop)
        else:
            probes[name] = Probe(signals[name].read, kind, loop, profile.signals[name].max_age_s)
    return LiveSignals(probes)
