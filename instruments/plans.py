"""The measuring plan: one experiment, one Bluesky run. No planner, model or ledger is ever asked inside a plan."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import FailedStatus, Msg, RunEngineControlException

from athanor.instruments.bounds import LimitViolation, SetRefused
from athanor.instruments.laboratory import InstrumentLost, ProcessFailed
from athanor.instruments.words import ABORTED, LOST

log = logging.getLogger(__name__)

Plan = Generator[Msg, Any, Any]

LOOK_S = 0.05
"""Seconds between two looks, while the axes move or settle, whether somebody wants a pause."""

REASON_S = 0.5
"""Seconds that the reason for a stop may come later than the stop itself, which goes straight to the axes.

After that long the recovery process ends a worker that has not come to rest (`ladder.StopLine.GRACE_S`).
"""


class MoveFailed(RuntimeError):
    """An axis did not arrive; names the axis, where it was sent and where it stands."""


class ReadingFailed(RuntimeError):
    """A detector gave no reading in time."""


class RunStopped(RuntimeError):
    """The run is to end and may not move any more."""


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what is behind it."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def describe(error: BaseException) -> str:
    """What went wrong, in one line: the cause behind the statuses and wrappers, a lost instrument before all else."""
    chain = _chain(error)
    for cause in chain:
        if isinstance(cause, InstrumentLost):
            return f"{LOST}{cause}"
    for cause in chain:
        if isinstance(cause, (RunStopped, SetRefused)):  # it says nothing of the point that was to be measured
            return f"{ABORTED}{cause}"
        if isinstance(cause, ProcessFailed):
            return f"process failed: {cause.reason}"
        if isinstance(cause, LimitViolation):
            return str(cause)
    for cause in chain:
        if not isinstance(cause, FailedStatus):
            return f"{type(cause).__name__}: {cause}"
    return f"{type(error).__name__}: {error}"


def _explains_itself(error: BaseException) -> bool:
    """Whether it cannot be what a halt from outside looks like to who was moving or reading."""
    known = (InstrumentLost, RunStopped, SetRefused, ProcessFailed, LimitViolation)
    return any(isinstance(cause, known) for cause in _chain(error))


def _await_reason(axes: Iterable[Any], stopped: Callable[[], str | None]) -> Plan:
    """Halt the axes; then, why the run is being ended from outside. None when nothing is heard of that in time.

    What else fails meanwhile, such as the next axis that a stop has halted, says nothing new.
    """
    for axis in axes:
        yield from _whatever_fails(Msg("stop", axis))
    end = time.monotonic() + REASON_S
    while (why := stopped()) is None and time.monotonic() < end:
        yield from _whatever_fails(Msg("sleep", None, LOOK_S / 5))
    return why


def _whatever_fails(message: Msg) -> Plan:
    try:
        yield message
    except RunEngineControlException:
        raise
    except Exception:
        log.debug("while a run ends", exc_info=True)


def measure(
    axes: Mapping[str, Any],
    detectors: Sequence[Any],
    values: Mapping[str, float | int | str],
    replicates: int,
    settle: float,
    md: Mapping[str, Any],
    *,
    tolerances: Mapping[str, float] | None = None,
    move_timeout: float | None = None,
    read_timeout: float | None = None,
    wants_pause: Callable[[], bool] = lambda: False,
    begins_pause: Callable[[], bool] = lambda: False,
    stopped: Callable[[], str | None] = lambda: None,
) -> Plan:
    """Stage, set all axes together, settle, then trigger and read `replicates` times; one run.

    The plan pauses only where it asks itself, directly after a checkpoint, so that the RunEngine never repeats a
    message of its own accord: a reading in hand is finished and kept, a motion is halted, and before the next reading
    every axis is set again, verified and left to settle. No detector is triggered twice for one reading.

    Args:
        axes: limited axes by name; only those named in `values` move, all are read.
        detectors: what is triggered and read.
        values: where each axis goes, in its unit.
        replicates: number of readings, at least 1; each begins with a checkpoint.
        settle: seconds between arrival and the first reading.
        md: metadata of the start document.
        tolerances: how near each read-back must come, in the axis's unit.
        move_timeout: seconds that the common move may take.
        read_timeout: seconds that one reading may take.
        wants_pause: whether somebody wants a pause.
        begins_pause: asked once when it can be had, just before it is; whether it is still to be.
        stopped: why the run is being ended from outside, if it is: a halted motion is then no fault of an axis.

    Raises (through the RunEngine, and as reason of the stop document): `MoveFailed`, `ReadingFailed`, and whatever the
    devices raise.
    """
    devices = [*detectors, *axes.values()]

    def pause() -> Plan:
        yield from bps.checkpoint()
        if not wants_pause() or not begins_pause():
            return False
        yield from bps.pause()
        return True

    def body() -> Plan:
        attempts = taken = 0
        is_there = False
        while taken < replicates:
            if (yield from pause()):
                is_there = False  # whoever paused it may have moved it
            elif not is_there:
                attempts += 1
                is_there = yield from _go(
                    axes, values, tolerances or {}, move_timeout, settle, f"move {attempts}", wants_pause
                )
            else:
                yield from _read(detectors, devices, read_timeout)
                taken += 1
        yield from pause()

    def run() -> Plan:
        yield from bps.open_run(md={**md, "plan_name": "measure", "replicates": replicates})
        try:
            yield from body()
        except RunEngineControlException:
            raise  # an abort or stop from outside: the RunEngine closes the run with its reason
        except Exception as error:
            reason = describe(error)
            moved = [axes[name] for name in values]
            why = stopped() if _explains_itself(error) else (yield from _await_reason(moved, stopped))
            if why is not None and not reason.startswith(LOST):
                reason = why if why.startswith(LOST) else f"{ABORTED}{why}"
            status = "abort" if reason.startswith(ABORTED) else "fail"
            yield from bps.close_run(exit_status=status, reason=reason)
            raise
        yield from bps.close_run()

    def staged() -> Plan:
        yield from bps.stage_all(*devices)
        yield from run()

    return (yield from bpp.finalize_wrapper(staged(), bps.unstage_all(*reversed(devices))))


def _go(
    axes: Mapping[str, Any],
    values: Mapping[str, float | int | str],
    tolerances: Mapping[str, float],
    timeout: float | None,
    settle: float,
    group: str,
    wants_pause: Callable[[], bool],
) -> Plan:
    """Set the axes, see that they arrive, and let them settle; False as soon as a pause is wanted meanwhile.

    `group` is one of its own for each attempt: what a pause halted is waited for no more.
    """
    motions = {}
    for name, value in values.items():
        if wants_pause():
            return False
        motions[name] = yield Msg("set", axes[name], value, group=group)
    allowed = math.inf if timeout is None else timeout
    end = time.monotonic() + allowed
    while not (yield from bps.wait(group, timeout=LOOK_S, error_on_timeout=False)):
        if wants_pause():
            return False
        late = [name for name, motion in motions.items() if not motion.done]
        if late and time.monotonic() >= end:
            where = []
            for name in late:
                location = yield Msg("locate", axes[name])
                where.append(f"{name} was sent to {values[name]} and stands at {location['readback']}")
            raise MoveFailed(f"not there within {allowed:g} s: {'; '.join(where)}")
    for name, value in values.items():
        location = yield Msg("locate", axes[name])
        here = location["readback"]
        if not is_at(here, value, tolerances.get(name, 0.0)):
            raise MoveFailed(f"{name} was sent to {value} and stands at {here}: is it stuck?")
    settled = time.monotonic() + settle
    while (left := settled - time.monotonic()) > 0:
        yield from bps.sleep(min(left, LOOK_S))
        if wants_pause():
            return False
    return True


def is_at(here: Any, value: float | int | str, tolerance: float) -> bool:
    """Whether a read-back is where the axis was sent, within its tolerance."""
    if isinstance(value, str):
        return bool(here == value)
    # A read-back may differ from its set point by the rounding of one conversion of units.
    return isinstance(here, (int, float)) and abs(here - value) <= tolerance + 4 * math.ulp(max(abs(value), 1.0))


def _read(detectors: Sequence[Any], devices: Sequence[Any], timeout: float | None) -> Plan:
    for detector in detectors:
        yield Msg("trigger", detector, group="trigger")
    try:
        yield from bps.wait("trigger", timeout=timeout)
    except TimeoutError as error:
        names = ", ".join(detector.name for detector in detectors)
        raise ReadingFailed(f"no reading from {names} within {timeout} s") from error
    yield from bps.create("primary")
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()
