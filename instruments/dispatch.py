"""From an intent to a job for the RunEngine: read, check, mark, start; or refuse, with nothing moved."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.instruments.checks import Fence, Rows, check, read_rows
from athanor.instruments.deadlines import spawn
from athanor.instruments.engine import Engine
from athanor.instruments.jobs import Job
from athanor.instruments.laboratory import RunContext
from athanor.instruments.spool import (
    AlreadyStarted,
    Backlog,
    Ending,
    Header,
    RunSpool,
    SpoolFailed,
    StartedLog,
    spool_folder,
)
from athanor.instruments.words import Refused
from athanor.memory.canonical import digest

if TYPE_CHECKING:
    from athanor.instruments.latch import Latch
    from athanor.instruments.profile import Profile
    from athanor.instruments.writer import Writer
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.signing import PublicKey

log = logging.getLogger(__name__)

LEDGER_S = 4.0
"""Seconds that the ledger may take to answer before a dispatch is refused."""
STEP_S = 5.0
"""Seconds that the axes may take to say where they stand."""


class Dispatcher:
    """Starts experiments, one at a time. Waits for the ledger and for devices: never call it from a control thread."""

    def __init__(
        self,
        place: InstrumentPlace,
        profile: Profile,
        latch: Latch,
        public: PublicKey,
        engine: Engine,
        writer: Writer,
        backlog: Backlog,
        ledger: Callable[[], Ledger],
    ) -> None:
        self._place = place
        self._profile = profile
        self._latch = latch
        self._public = public
        self._engine = engine
        self._writer = writer
        self._backlog = backlog
        self._ledger = ledger
        self._started = StartedLog(place)
        self._fence = Fence(place)
        self._turn = threading.Lock()

    def dispatch(self, intent: str, epoch: int, aborts: int, hold: Callable[[str], None]) -> str:
        """Check everything and start the run; the experiment's id.

        Args:
            intent: the intent's id; all else is read from the ledger.
            epoch: of the instrument's lease, as the caller holds it.
            aborts: what `Engine.count_aborts` said when the request came.
            hold: takes the instrument for a campaign, or raises `Refused`.

        Raises:
            Refused: nothing was moved; when it is final, the ledger will say so of the experiment.
        """
        if not self._turn.acquire(timeout=LEDGER_S):
            raise Refused("instrument.busy", "another dispatch is being checked")
        try:
            job = self._engine.job
            if job is not None and job.context.intent == intent:
                raise Refused("already_started", f"{job.context.experiment} is being run")
            rows = self._read(intent)
            hold(rows.campaign.id)
            try:
                self._start(rows, epoch, aborts)
            except Refused as error:
                if error.final and rows.experiment.state == "dispatched":
                    self._writer.end(header_of(rows), Ending("refused", str(error)), None)
                raise
            return rows.experiment.id
        finally:
            self._turn.release()

    def _read(self, intent: str) -> Rows:
        try:
            return spawn(lambda: read_rows(self._ledger(), intent), "read-rows").result(LEDGER_S)
        except Refused:
            raise
        except TimeoutError as error:
            raise Refused("ledger.unavailable", f"the ledger did not answer within {LEDGER_S:g} s") from error
        except Exception as error:
            log.exception("the ledger cannot be read")
            raise Refused("ledger.unavailable", f"{type(error).__name__}: {error}") from error

    def _start(self, rows: Rows, epoch: int, aborts: int) -> None:
        self._fence.check(rows, epoch)
        check(
            rows,
            profile=self._profile,
            public=self._public,
            latch=self._latch.read(),
            started=self._started,
            now=datetime.now(UTC),
        )
        if self._engine.job is not None:
            raise Refused("instrument.busy", f"{self._profile.name} runs {self._engine.job.context.experiment}")
        self._engine.check_steps(rows.experiment.values, STEP_S)
        spool: RunSpool | None = None
        try:
            self._fence.raise_to(rows, epoch)
            path = spool_folder(self._place) / f"{rows.intent.id}.jsonl"
            spool = RunSpool(path, header_of(rows), self._backlog)
            job = self._job(rows, spool)
            # From here on the intent is used up, whatever happens. Marked before anything moves.
            self._started.mark(spool.header)
            self._engine.start(job, aborts)
        except AlreadyStarted as error:
            _drop(spool)
            raise Refused("already_started", str(error)) from error
        except (SpoolFailed, OSError) as error:
            _drop(spool)
            # A mark that the disk took only in part has used the intent up: it would never be started again.
            code = "mark.failed" if self._started.has_intent(rows.intent.id) else "spool.failed"
            raise Refused(code, f"nothing was moved: {error}") from error
        except Refused:
            _drop(spool)
            raise

    def _job(self, rows: Rows, spool: RunSpool) -> Job:
        experiment, campaign = rows.experiment, rows.campaign
        context = RunContext(
            intent=rows.intent.id,
            experiment=experiment.id,
            ordinal=experiment.ordinal,
            seed=campaign.seed,
            replicates=experiment.replicates,
        )
        metadata: dict[str, Any] = {
            "intent": rows.intent.id,
            "experiment": experiment.id,
            "campaign": campaign.id,
            "revision": experiment.revision,
            "instrument": self._profile.name,
            "profile": digest(self._profile),
            "simulated": self._profile.simulated,
            "values": dict(experiment.values),
            "ordinal": experiment.ordinal,
            "seed": campaign.seed,
        }
        if rows.sample is not None:
            metadata["sample"] = {"id": rows.sample.id, "label": rows.sample.label}
        return Job(context, experiment.values, metadata, spool, self._on_document, self._on_end)

    def _on_document(self, job: Job, name: str, body: str, size: int) -> None:
        self._writer.document(job.spool.header, name, body, size)

    def _on_end(self, job: Job, ending: Ending) -> None:
        self._writer.end(job.spool.header, ending, job.spool.path)


def header_of(rows: Rows) -> Header:
    """What the run of an intent belongs to."""
    return Header(
        intent=rows.intent.id,
        experiment=rows.experiment.id,
        campaign=rows.campaign.id,
        decision=rows.decision.nonce,
        instrument=rows.intent.instrument,
        simulated=rows.campaign.simulated,
    )


def _drop(spool: RunSpool | None) -> None:
    """Remove the spool file of a run that was not started."""
    if spool is not None:
        spool.close()
        with contextlib.suppress(OSError):
            spool.path.unlink()
