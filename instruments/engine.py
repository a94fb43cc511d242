"""The RunEngine and the one thread that calls it. Every other thread only leaves requests here and never waits.

What the RunEngine does, and why it is held like this, is not obvious: abort works from any thread while it runs, but
from a pause it would run the rest of the plan in the calling thread, and after the plan has ended it would cancel the
RunEngine's own cleaning up, which then never becomes idle again; `RE()` ends with the same exception after a pause
and after an abort; a run that was stopped early calls itself a success; a pause from outside cancels whatever message
is being worked on, and what came since the last checkpoint, readings included, is repeated on resume. So the plan
alone pauses.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from bluesky.run_engine import RunEngine, RunEngineInterrupted, TransitionError
from bluesky.utils import DuringTask

from athanor.instruments import by_hand, live
from athanor.instruments.by_hand import HandMove
from athanor.instruments.deadlines import spawn
from athanor.instruments.interlocks import Interlocks
from athanor.instruments.jobs import Job, plan_of
from athanor.instruments.laboratory import Devices, InstrumentLost
from athanor.instruments.limits import LimitedAxis, LimitViolation, SetRefused
from athanor.instruments.plans import Plan, RunStopped, describe
from athanor.instruments.profile import Profile
from athanor.instruments.safeguards import Safeguards
from athanor.instruments.sentry import Sentry
from athanor.instruments.spool import Ending, SpoolFailed, outcome_of
from athanor.instruments.words import LOST, Refused, Seen

log = logging.getLogger(__name__)

ENDING = frozenset({"aborting", "halting", "stopping", "panicked"})


class Engine:
    """Runs jobs one after the other. `on_state` is told `idle`, `running` or `paused` at each change."""

    def __init__(
        self,
        profile: Profile,
        on_state: Callable[[str], None],
        is_latched: Callable[[], str | None],
        safeguards: Safeguards | None = None,
    ) -> None:
        self._profile = profile
        self._safeguards = safeguards or Safeguards()
        self._signals: live.LiveSignals | None = None
        self._interlocks: Interlocks | None = None
        self._on_state = on_state
        self._is_latched = is_latched
        self._devices = Devices({}, [])
        self._axes: dict[str, LimitedAxis] = {}
        self._job: Job | None = None
        self._hand: HandMove | None = None
        self._guard = threading.Lock()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._aborts = 0
        self.state = "idle"
        self.RE = self._make()
        self.RE.subscribe(self._take)
        threading.Thread(target=self._work, name="run-engine", daemon=True).start()

    def _make(self) -> RunEngine:
        return RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)

    def attach(self, devices: Devices) -> None:
        """Use these devices; every set goes through the axis's limits, interlocks and the gate. Raises `Refused`."""
        missing = [name for name in self._profile.axes if name not in devices.axes]
        missing += [name for name in self._profile.detectors if name not in {item.name for item in devices.detectors}]
        missing += [name for name in self._profile.signals if name not in devices.signals]
        if missing:
            raise Refused("instrument.incomplete", f"the laboratory connected no {', '.join(missing)}")
        limits = self._profile.limits()
        self._devices = devices
        has_interlocks = bool(self._profile.interlocks)
        self._axes = {
            name: LimitedAxis(
                devices.axes[name],
                limits[name],
                self._gate,
                interlocks=self._await_interlocks if has_interlocks else None,
                on_refused=self._safeguards.tally.add,
            )
            for name in self._profile.axes
        }
        self._signals = live.connect(self._profile, self._axes, devices.signals, self.RE.loop)
        if has_interlocks:
            self._interlocks = Interlocks(self._profile.interlocks, self._signals)
            Sentry(
                self._interlocks,
                self._profile.watch_s,
                job=lambda: self.in_hand,
                is_moving=lambda: any(axis.is_moving for axis in self._axes.values()),
                abort=self.abort,
                escalate=self._safeguards.call_stop_all,
                tally=self._safeguards.tally,
            ).start()

    async def _await_interlocks(self) -> None:
        """Raises `SetRefused` unless every interlock holds now; looks from a thread, as a driver's read may block."""
        assert self._interlocks is not None
        await asyncio.shield(asyncio.wrap_future(spawn(self._interlocks.verify, "interlocks")))

    def look(self, patience_s: float) -> dict[str, Any]:
        """What the signals say now that can be read beside a run, and how the interlocks stand; moves nothing.

        Signals and interlocks get `patience_s` each. Waits: not for a control thread. Raises `Refused` before the
        devices are there.
        """
        if self._signals is None:
            raise Refused("instrument.starting", "the instrument is being connected")
        present = self._interlocks.present(patience_s) if self._interlocks is not None else []
        return {
            "signals": self._signals.look(self._profile.signals, patience_s),
            "interlocks": [{"name": one.name, "holds": one.holds, "detail": one.detail} for one in present],
        }

    # -- requests, from any thread, never waiting ----------------------------------------------------------------------

    @property
    def job(self) -> Job | None:
        """The experiment in hand."""
        return self._job

    @property
    def in_hand(self) -> Job | HandMove | None:
        """The experiment in hand, or the axis that a person moves."""
        return self._job or self._hand

    def count_aborts(self) -> int:
        """How often an abort was asked for; given to `start`, it lets an abort end what was still being prepared."""
        return self._aborts

    def start(self, job: Job, aborts: int) -> None:
        """Run a job. Raises `Refused` while there is another, or when an abort came since `aborts` was counted."""
        with self._guard:
            self._check_free(aborts)
            self._job = job
            self._jobs.put(job)

    def move(self, hand: HandMove, aborts: int) -> None:
        """Begin to move one axis by hand; `hand.over` is set when it stands. Raises `Refused` as `start` does."""
        with self._guard:
            self._check_free(aborts)
            self._hand = hand
        self._set_state("moving")
        asyncio.run_coroutine_threadsafe(self._move(hand), self.RE.loop)

    def _check_free(self, aborts: int) -> None:
        if self._job is not None:
            raise Refused("instrument.busy", f"{self._job.context.experiment} is being run")
        if self._hand is not None:
            raise Refused("instrument.busy", f"{self._hand.axis} is being moved by hand")
        if self._aborts != aborts:
            raise Refused("aborted", "an abort came while it was being prepared: nothing was moved")

    async def _move(self, hand: HandMove) -> None:
        try:
            await hand.carry_out(self._axes[hand.axis], self._profile.axes[hand.axis])
        finally:
            with self._guard:
                self._set_state("idle")  # before anything else can begin
                self._hand = None
            hand.over.set()

    def check_seen(self, seen: Seen | None) -> None:
        """Raises `Refused` when something else is in hand than somebody has seen; None is whatever there is."""
        if seen is not None:
            with self._guard:
                self._check_seen(seen)

    def _check_seen(self, seen: Seen | None) -> None:
        job, hand = self._job, self._hand
        if seen is None:
            return
        if job is not None and job.context.experiment != seen.experiment:
            raise Refused("run.changed", f"since you looked this has changed: {job.context.experiment} is being run")
        if hand is not None and seen.experiment is not None:
            raise Refused("run.changed", f"since you looked this has changed: {hand.axis} is being moved by hand")

    def abort(self, reason: str, seen: Seen | None = None) -> bool:
        """End the run or the motion in hand, and what is being prepared; whether there was one.

        `seen`: only what somebody has seen in hand; raises `Refused` when it is something else.
        """
        with self._guard:
            self._check_seen(seen)
            job, hand = self._job, self._hand
            if seen is not None and seen.experiment is not None and job is None:
                return False  # it is over: what is being prepared is another one
            self._aborts += 1
            if hand is not None:
                hand.ends = hand.ends or reason
                asyncio.run_coroutine_threadsafe(by_hand.stop(self._axes[hand.axis]), self.RE.loop)
                return True
            if job is None:
                return False
            job.ends = job.ends or reason
        self._commands.put("abort")
        threading.Thread(target=self._abort, args=(job,), name="abort", daemon=True).start()
        return True

    def lose(self, cause: str) -> Job | None:
        """The hardware is gone: end the run in hand, whose outcome is unknown; that run."""
        with self._guard:
            job = self._job
            if job is not None and job.lost is None:
                job.lost = cause
            if self._hand is not None:
                self._hand.lost = self._hand.lost or cause
        if self.in_hand is not None:
            self.abort(f"{LOST}{cause}")
        return job

    def pause(self, seen: Seen | None = None) -> None:
        """Pause the run in hand: a motion is halted, a reading finished first.

        Raises `Refused` when there is none, or when it is another than somebody has `seen`.
        """
        with self._guard:
            self._check_seen(seen)
            job = self._job
            if job is None or job.ends is not None:
                raise Refused("run.none", "nothing is running that could be paused")
            job.wants_pause = True

    def resume(self) -> None:
        """Go on with a paused run. Raises `Refused` when none is paused."""
        if self.state != "paused":
            raise Refused("run.none", "nothing is paused")
        self._commands.put("resume")

    async def _check_steps(self, values: Mapping[str, float | int | str]) -> None:
        for name, value in values.items():
            await self._axes[name].check_step(value)

    def check_steps(self, values: Mapping[str, float | int | str], timeout_s: float) -> None:
        """Raises `Refused` when writes are off, an axis stands too far from where it is to go, or an interlock is open.

        Waits: not for a control thread.
        """
        if (found := self._safeguards.refusal()) is not None:
            raise Refused(*found)
        future = asyncio.run_coroutine_threadsafe(self._check_steps(values), self.RE.loop)
        try:
            future.result(timeout_s)
            if self._interlocks is not None:
                self._interlocks.verify()
        except LimitViolation as error:
            raise Refused(error.code, str(error)) from error
        except SetRefused as error:
            raise Refused(error.code, error.detail) from error
        except TimeoutError as error:
            future.cancel()
            raise Refused("instrument.lost", f"an axis did not say within {timeout_s} s where it stands") from error
        except (InstrumentLost, ConnectionError, EOFError) as error:
            raise Refused("instrument.lost", describe(error)) from error

    # -- threads of the requests ---------------------------------------------------------------------------------------

    def _abort(self, job: Job) -> None:
        # Until the RunEngine has taken the job there is nothing to abort yet; the gate refuses every move meanwhile.
        while self._job is job and not self._abort_now(job, "running"):
            if job.over.wait(0.005):
                return

    def _abort_now(self, job: Job, *states: str) -> bool:
        """Have the RunEngine abort if it is in one of these states and can; whether it is ending."""
        with self._guard:
            can_abort = self.RE.state in states and not (job.is_pausing or job.is_leaving or job.is_aborting)
            job.is_aborting |= can_abort
        if can_abort:
            try:
                self.RE.abort(job.ends or "")
                return True
            except (TransitionError, RuntimeError) as error:
                log.debug("abort: %s", error)
                job.is_aborting = False
        return str(self.RE.state) in ENDING

    def _may_leave(self, job: Job) -> bool:
        """Asked by the plan at its end: not before an abort that is on its way has struck; none is begun afterwards."""
        with self._guard:
            job.is_leaving = not job.is_aborting or self.RE.state != "running"
            return job.is_leaving

    # -- the RunEngine's own thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            self._set_state("running")
            try:
                ending = self._run(job)
            except Exception as error:
                log.exception("a run ended in an unforeseen way")
                ending = Ending("in_doubt", describe(error))
            try:
                job.spool.end(ending)
            except SpoolFailed as error:
                log.error("%s", error)
            job.spool.close()
            job.on_end(job, ending)
            with self._guard:
                self._job = None
            job.over.set()
            self._set_state("idle")

    def _set_state(self, state: str) -> None:
        self.state = state
        self._on_state(state)

    def _run(self, job: Job) -> Ending:
        self._forget_commands()  # meant for the run before
        failure: Exception | None = None
        try:
            self._gate()
            if self._devices.prepare_run is not None:
                self._devices.prepare_run(job.context)
            self._call(job)
        except Exception as error:  # noqa: BLE001 - whatever a plan or a driver raises becomes the run's reason
            failure = error
        if job.lost is None and (isinstance(failure, InstrumentLost) or not self._is_connected()):
            job.lost = describe(failure).removeprefix(LOST) if failure is not None else "the connection dropped"
        return self._ending(job, failure)

    def _forget_commands(self) -> None:
        while not self._commands.empty():
            self._commands.get_nowait()

    def _is_connected(self) -> bool:
        try:
            return self._devices.is_connected()
        except Exception as error:  # noqa: BLE001 - a driver that cannot even say so is not connected
            log.warning("is_connected: %s", error)
            return False

    def _ending(self, job: Job, failure: Exception | None) -> Ending:
        known = outcome_of(job.bounds)
        if known is not None and known.state == "completed":
            return known  # everything was measured; what happened afterwards does not undo it
        if job.lost is not None:
            return Ending("in_doubt", f"{LOST}{job.lost}")
        if known is not None:
            return known
        if not job.bounds:
            # Before the start document is spooled nothing is set.
            why = job.ends or (describe(failure) if failure is not None else "no run was opened")
            return Ending("refused", f"nothing was moved: {why}")
        if failure is None and job.ends is not None:
            return Ending("aborted", job.ends)
        return Ending("failed", describe(failure) if failure is not None else "the run has no stop document")

    def _plan(self, job: Job) -> Plan:
        return plan_of(
            job,
            self._profile,
            self._axes,
            self._devices.detectors,
            begins_pause=lambda: self._begin_pause(job),
            stopped=lambda: self._stopped(job),
            may_leave=lambda: self._may_leave(job),
        )

    def _stopped(self, job: Job) -> str | None:
        latched = self._is_latched()
        return job.ends or (None if latched is None else f"Stop All: {latched}")

    def _call(self, job: Job) -> None:
        plan = self._plan(job)
        step: Callable[[], Any] = lambda: self.RE(plan)  # noqa: E731 - the next thing to do with the RunEngine
        while True:
            try:
                step()
            except RunEngineInterrupted:
                pass
            if self.RE.state != "paused":
                return
            self._forget_commands()  # a second "resume" must not undo this pause; an abort has set `ends` first
            self._set_state("paused")
            command = self._commands.get() if job.ends is None else "abort"
            job.wants_pause = job.is_pausing = False
            self._set_state("running")
            step = self.RE.resume if command == "resume" else lambda: self.RE.abort(job.ends or "aborted")

    def _begin_pause(self, job: Job) -> bool:
        """Asked by the plan just before it pauses, so that an abort never meets a RunEngine on its way into a pause."""
        with self._guard:
            job.is_pausing = job.wants_pause and job.ends is None
            return job.is_pausing

    def _gate(self) -> None:
        """Called immediately before each set reaches a device; raises when nothing may move."""
        job = self.in_hand
        if job is None:
            raise RunStopped("no experiment is being run")
        if job.lost is not None:
            raise InstrumentLost(job.lost)
        if job.ends is not None:
            raise RunStopped(job.ends)
        latched = self._is_latched()
        if latched is not None:
            raise SetRefused("latch.engaged", f"Stop All is latched: {latched}")
        if (found := self._safeguards.refusal()) is not None:
            raise SetRefused(*found)

    def _take(self, name: str, document: Mapping[str, Any]) -> None:
        """Every document, in the RunEngine's event loop: onto the disk, then on its way. Raising fails the run."""
        job = self._job
        if job is None:
            return
        body, size = job.spool.append(name, document)
        if name in ("start", "stop"):
            job.bounds.append((name, body))
        job.on_document(job, name, body, size)
