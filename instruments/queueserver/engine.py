"""The engine of a worker whose RunEngine is called by the manager's worker process, one queue item at a time.

The thread that in a worker of our own calls the RunEngine only waits here until the call of the item is over. What
comes after that, spool and ending, is the same.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bluesky.plan_stubs import wait_for
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask, RunEngineControlException

from athanor.instruments.deadlines import spawn
from athanor.instruments.engine import Engine
from athanor.instruments.jobs import Job
from athanor.instruments.plans import Plan
from athanor.instruments.words import Refused

LOOK_S = 0.01
FOREIGN_PAUSE = "paused by the queue's manager, which repeats what the plan has done: use `athanor pause` instead"


@dataclass(eq=False)
class Turn:
    """One call of our plan by the manager's worker process."""

    is_taken: bool = False
    """The job's plan is being run."""
    job: Job | None = None
    is_foreign_pause: bool = False
    failure: Exception | None = None
    plans: queue.SimpleQueue[Plan] = field(default_factory=queue.SimpleQueue)
    over: threading.Event = field(default_factory=threading.Event)


class QueuedEngine(Engine):
    """Runs a job in the turn in which it was handed over. `resume_queue` has the manager go on with a paused item."""

    def __init__(self, *args: Any, resume_queue: Callable[[], None]) -> None:
        self._turn = Turn()
        self._mine = threading.local()
        self._resume_queue = resume_queue
        super().__init__(*args)

    def _make(self) -> RunEngine:
        # Results go through a pipe of the manager, which cannot take them.
        engine = RunEngine({}, context_managers=[], during_task=DuringTask())
        engine.state_hook = self._see
        return engine

    # -- in the RunEngine's event loop ---------------------------------------------------------------------------------

    def measure(self, begin: Callable[[], Any]) -> Plan:
        """What the RunEngine is called with: hand over, then run what was approved. `begin` may wait and refuse."""
        turn = self._turn = Turn()
        refusals: list[Exception] = []
        plans: list[Plan] = []

        def take() -> None:
            self._mine.turn = turn
            try:
                begin()
                plans.append(self._await_plan(turn))
            except Exception as error:  # noqa: BLE001 - raised where the queue sees it
                refusals.append(error)

        async def prepare() -> None:
            # In a thread: it asks the ledger, and the devices by way of this very loop.
            await asyncio.shield(asyncio.wrap_future(spawn(take, "dispatch")))

        try:
            yield from wait_for([prepare])
            if refusals or not plans:
                raise refusals[0] if refusals else Refused("aborted", "the queue went on: nothing was moved")
            turn.is_taken = True
            yield from plans[0]
        except RunEngineControlException:
            raise
        except Exception as error:
            turn.failure = error
            raise
        finally:
            if not turn.is_taken:
                turn.over.set()

    def _await_plan(self, turn: Turn) -> Plan:
        while not turn.over.is_set():
            try:
                return turn.plans.get(timeout=LOOK_S)
            except queue.Empty:
                if turn.job is not None and turn.job.over.is_set():
                    raise Refused("run.not_begun", f"{turn.job.context.experiment} ended before it began") from None
        raise Refused("aborted", "the queue's item ended while it was being prepared")

    def _see(self, state: str, before: str) -> None:
        """The RunEngine changes its state."""
        turn = self._turn
        job = turn.job
        if state == "idle":
            turn.over.set()
        elif state == "paused" and job is not None:
            turn.is_foreign_pause = not job.is_pausing
            job.wants_pause = job.is_pausing = False
            self._set_state("paused")
        elif state == "running" and before == "paused" and job is not None:
            self._set_state("running")
            if turn.is_foreign_pause:
                self.abort(FOREIGN_PAUSE)

    # -- from any thread -----------------------------------------------------------------------------------------------

    def start(self, job: Job, aborts: int) -> None:
        """Run a job in the turn of this thread. Raises `Refused`, as in a worker of our own, or when it is over."""
        turn: Turn | None = getattr(self._mine, "turn", None)
        if turn is None or turn.over.is_set():
            raise Refused("aborted", "the queue's item ended while it was being prepared: nothing was moved")
        job.turn = turn
        super().start(job, aborts)
        turn.job = job

    def resume(self) -> None:
        """Have the manager go on with a paused run. Raises `Refused` when none is paused."""
        if self.state != "paused":
            raise Refused("run.none", "nothing is paused")
        spawn(self._resume_queue, "resume")

    def _abort(self, job: Job) -> None:
        turn: Turn = job.turn
        while self._job is job and not turn.over.is_set():
            # From a pause the rest of the plan is run in this thread, and the manager is left thinking that it is still
            # paused: its environment is then opened anew before the next experiment.
            if turn.is_taken and self._abort_now(job, "running", "paused"):
                return
            if job.over.wait(0.005):
                return

    # -- in the engine's own thread ------------------------------------------------------------------------------------

    def _call(self, job: Job) -> None:
        turn: Turn = job.turn
        turn.plans.put(self._plan(job))
        turn.over.wait()
        if turn.failure is not None:
            raise turn.failure

    def _take(self, name: str, document: Mapping[str, Any]) -> None:
        job = self._job
        if job is not None and job.turn.is_taken:
            super()._take(name, document)
