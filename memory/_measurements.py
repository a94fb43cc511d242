"""The ledger's part on what instruments and models returned: runs, documents, observations, model calls, events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update

from athanor.memory._store import Store, Writer, campaign_of, find, refuse
from athanor.memory.canonical import digest_text, time_text
from athanor.memory.errors import InvalidRecord, NotFound, Overtaken
from athanor.memory.journal import chain_of
from athanor.memory.records import (
    Document,
    Event,
    Experiment,
    ModelCall,
    Observation,
    Run,
    SpooledDocument,
    new_id,
)
from athanor.memory.rows import row_from, table_of

_RUN = table_of(Run)
_DOCUMENT = table_of(Document)
_EXPERIMENT = table_of(Experiment)
_OBSERVATION = table_of(Observation)
_CALL = table_of(ModelCall)
_EVENT = table_of(Event)


class Measurements(Store):
    """Runs, documents, observations, model calls, events."""

    def start_run(self, run: Run) -> None:
        """Add a run as it starts. The same again, as after a crash, is not an error.

        Raises:
            InvalidRecord: the uid is another run's.
            NotFound: there is no such experiment or intent.
        """
        with self._writing() as writer:
            there = find(writer.connection, Run, _RUN.c.uid == run.uid)
            if there is not None:
                refuse(
                    (there.experiment_id, there.intent_id) != (run.experiment_id, run.intent_id),
                    f"run {run.uid} belongs to {there.experiment_id}, not to {run.experiment_id}",
                )
                return
            writer.insert(run, campaign_of(writer.connection, run.experiment_id), "run")

    def stop_run(
        self, uid: str, stopped_at: datetime, exit_status: str, reason: str | None, num_events: int | None
    ) -> None:
        """Note how a run ended. The same again is not an error; another end is.

        Raises:
            NotFound: there is no such run.
            InvalidRecord: it ended otherwise.
        """
        with self._writing() as writer:
            run = find(writer.connection, Run, _RUN.c.uid == uid)
            if run is None:
                raise NotFound("run", uid)
            if run.stopped_at is not None:
                refuse(
                    (run.exit_status, run.num_events) != (exit_status, num_events),
                    f"run {uid} ended as {run.exit_status} with {run.num_events} events, "
                    f"not as {exit_status} with {num_events}",
                )
                return
            end = {
                "stopped_at": time_text(stopped_at),
                "exit_status": exit_status,
                "reason": reason,
                "num_events": num_events,
            }
            # Validates what comes from outside before it is a row.
            Run.model_validate({**run.model_dump(), **end})
            writer.connection.execute(update(_RUN).where(_RUN.c.uid == uid).values(**end))
            chain = chain_of(campaign_of(writer.connection, run.experiment_id))
            writer.journal.append(chain, "run_stop", {"run": uid, **end})

    def run(self, uid: str) -> Run:
        """Return a run.

        Raises:
            NotFound: there is none.
        """
        found = self._find(Run, _RUN.c.uid == uid)
        if found is None:
            raise NotFound("run", uid)
        return found

    def runs(self, campaign_id: str) -> list[Run]:
        """Return a campaign's runs in order."""
        query = select(_RUN).join(_EXPERIMENT, _EXPERIMENT.c.id == _RUN.c.experiment_id)
        return self._list(Run, query.where(_EXPERIMENT.c.campaign_id == campaign_id).order_by(_RUN.c.position))

    def run_for(self, experiment_id: str) -> Run | None:
        """Return the run that measured an experiment, the last one if there are several."""
        query = select(_RUN).where(_RUN.c.experiment_id == experiment_id).order_by(_RUN.c.position.desc()).limit(1)
        found = self._list(Run, query)
        return found[0] if found else None

    def ingest_documents(self, batch: Sequence[SpooledDocument]) -> int:
        """Add documents of started runs, in order within each run; return how many were new.

        Those that are there already are passed over, so a spool may be sent again from its beginning.

        Raises:
            NotFound: a run has not been started.
            InvalidRecord: a document is missing before one of these, or is there with other contents.
        """
        fresh = 0
        with self._writing() as writer:
            state: dict[str, tuple[str, int]] = {}
            for spooled in batch:
                if spooled.run_uid not in state:
                    state[spooled.run_uid] = _run_state(writer, spooled.run_uid)
                chain, expected = state[spooled.run_uid]
                if spooled.position < expected:
                    _check_same(writer, spooled)
                    continue
                refuse(
                    spooled.position > expected,
                    f"run {spooled.run_uid}: document {expected} is missing before document {spooled.position}",
                )
                document = spooled.stored()
                # The journal holds the document by its hash: its text is stored once.
                line = writer.journal.append(chain, "document", document.model_dump(exclude={"body"}))
                writer.connection.execute(insert(_DOCUMENT), row_from(document, line.position))
                state[spooled.run_uid] = (chain, expected + 1)
                fresh += 1
        return fresh

    def documents(self, run_uid: str) -> list[Document]:
        """Return a run's documents in order."""
        return self._list(Document, select(_DOCUMENT).where(_DOCUMENT.c.run_uid == run_uid).order_by(_DOCUMENT.c.place))

    def add_observation(self, observation: Observation) -> Observation:
        """Add an observation.

        Raises:
            Duplicate: the experiment has an observation with this revision number.
            NotFound: there is no such campaign or experiment.
        """
        with self._writing() as writer:
            writer.insert(observation, observation.campaign_id, "observation")
        return observation

    def observations(self, campaign_id: str, skip: int = 0, since: str | None = None) -> list[Observation]:
        """Return a campaign's observations in order, every revision of them, without the first `skip`.

        `since`: only those beyond the one with this id. Nothing is ever removed, so what was read may be skipped.
        """
        if since is not None:
            place = select(_OBSERVATION.c.position).where(_OBSERVATION.c.id == since).scalar_subquery()
            # By position, of which there is little new, and not by campaign.
            query = select(_OBSERVATION).where(
                _OBSERVATION.c.position > place, _OBSERVATION.c.campaign_id + "" == campaign_id
            )
            return self._list(Observation, query.order_by(_OBSERVATION.c.position))
        query = select(_OBSERVATION).where(_OBSERVATION.c.campaign_id == campaign_id).order_by(_OBSERVATION.c.position)
        return self._list(Observation, query.offset(skip) if skip else query)

    def newest_observations(self, experiments: Collection[str]) -> dict[str, Observation]:
        """Return the newest revision of the observation of each of these experiments, by experiment."""
        query = select(_OBSERVATION).where(_OBSERVATION.c.experiment_id.in_(list(experiments)))
        found = self._list(Observation, query.order_by(_OBSERVATION.c.revision_number))
        return {str(item.experiment_id): item for item in found}

    def add_model_call(self, call: ModelCall) -> ModelCall:
        """Add a question to a language model and what came back.

        Raises:
            NotFound: there is no such campaign.
        """
        with self._writing() as writer:
            writer.insert(call, call.campaign_id, "model_call", model_call_line(call))
        return call

    def model_calls(self, campaign_id: str) -> list[ModelCall]:
        """Return a campaign's model calls in order."""
        return self._list(ModelCall, select(_CALL).where(_CALL.c.campaign_id == campaign_id).order_by(_CALL.c.position))

    def add_event(self, campaign_id: str | None, kind: str, body: dict[str, Any]) -> Event:
        """Add an event of a campaign, or of the site.

        Raises:
            NotFound: there is no such campaign.
        """
        with self._writing() as writer:
            event = Event(id=new_id("event"), campaign_id=campaign_id, kind=kind, body=body, created_at=writer.moment)
            writer.insert(event, campaign_id, "event")
        return event

    def add_event_after(self, kind: str, body: dict[str, Any], after: str | None) -> Event:
        """Add an event of the site, if the newest of its kind still has the id `after` (None: there is none).

        So a history that is kept as events of one kind can be continued by several processes, each of which decides
        what comes next by what it has read.

        Raises:
            Overtaken: another one was added.
        """
        newest = select(_EVENT.c.id).where(_EVENT.c.kind == kind).order_by(_EVENT.c.position.desc()).limit(1)
        with self._writing() as writer:
            found = writer.connection.execute(newest).scalar()
            if found != after:
                raise Overtaken(f"another {kind} was written after {after}; try again")
            event = Event(id=new_id("event"), kind=kind, body=body, created_at=writer.moment)
            writer.insert(event, None, "event")
        return event

    def events(
        self,
        campaign: str | None = None,
        after: str | None = None,
        kinds: Iterable[str] | None = None,
        *,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Event]:
        """Return events in order: of one campaign or all, those after the event with the id `after`, of these kinds.

        Args:
            campaign: the campaign, or None for all of the ledger.
            after: the id of the event to go on after.
            kinds: only these.
            limit: the most to return.
            newest_first: from the last to the first.

        Raises:
            NoSuchPlace: there is no event `after`, or not in this campaign.
        """
        within = [] if campaign is None else [_EVENT.c.campaign_id == campaign]
        only = [] if kinds is None else [_EVENT.c.kind.in_(list(kinds))]
        order = _EVENT.c.position.desc() if newest_first else _EVENT.c.position
        return self._part(Event, within, order, only=only, after=after, limit=limit)


def model_call_line(call: ModelCall) -> dict[str, Any]:
    """Return what the journal holds of a model call: prompt and reply by their hash, for they are stored once."""
    line = call.model_dump()
    line["request"] = digest_text(call.request)
    line["response"] = None if call.response is None else digest_text(call.response)
    return line


def _run_state(writer: Writer, uid: str) -> tuple[str, int]:
    """Return a run's chain and the position of its next document."""
    query = (
        select(_EXPERIMENT.c.campaign_id).join(_RUN, _RUN.c.experiment_id == _EXPERIMENT.c.id).where(_RUN.c.uid == uid)
    )
    campaign = writer.connection.execute(query).scalar()
    if campaign is None:
        raise NotFound("run", uid)
    last = writer.connection.execute(select(func.max(_DOCUMENT.c.place)).where(_DOCUMENT.c.run_uid == uid)).scalar()
    return chain_of(str(campaign)), 0 if last is None else int(last) + 1


def _check_same(writer: Writer, spooled: SpooledDocument) -> None:
    there = writer.connection.execute(
        select(_DOCUMENT.c.sha256).where(_DOCUMENT.c.run_uid == spooled.run_uid, _DOCUMENT.c.place == spooled.position)
    ).scalar()
    if there != digest_text(spooled.body):
        raise InvalidRecord(f"run {spooled.run_uid}: document {spooled.position} is in the ledger with other contents")
