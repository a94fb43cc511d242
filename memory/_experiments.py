"""The ledger's part on experiments, the decisions about them, and the intents to run them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from athanor.memory import transitions
from athanor.memory._reservations import conclude, reserve
from athanor.memory._store import Store, Writer, find, need, refuse
from athanor.memory.canonical import CanonicalError, parse
from athanor.memory.errors import (
    DecisionRequired,
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LeaseLost,
    StaleRevision,
)
from athanor.memory.records import Campaign, Decision, Experiment, ExperimentState, Intent, Lease, new_id
from athanor.memory.resources import Needs
from athanor.memory.rows import table_of

_CAMPAIGN = table_of(Campaign)
_EXPERIMENT = table_of(Experiment)
_DECISION = table_of(Decision)
_INTENT = table_of(Intent)
_LEASE = table_of(Lease)

# A state that only a decision of one of these kinds brings about.
_NEEDS: dict[str, tuple[str, ...]] = {
    "approved": ("approve", "grant"),
    "rejected": ("reject",),
    "superseded": ("edit",),
}


class Experiments(Store):
    """Experiments, decisions, intents."""

    def add_experiment(self, experiment: Experiment) -> Experiment:
        """Add an experiment and return the stored one: the same again is not an error.

        Raises:
            Duplicate: the id or the ordinal is taken by another revision.
            InvalidRecord: it is not `proposed`, or its revision is not that of its contents.
        """
        with self._writing() as writer:
            there = find(
                writer.connection,
                Experiment,
                _EXPERIMENT.c.campaign_id == experiment.campaign_id,
                _EXPERIMENT.c.ordinal == experiment.ordinal,
            )
            if there is not None:
                if there.id == experiment.id and there.revision == experiment.revision:
                    return there
                raise Duplicate(
                    f"experiment {experiment.ordinal} of campaign {experiment.campaign_id} is {there.id}, revision "
                    f"{there.revision[:12]}, not {experiment.revision[:12]}; take the next ordinal"
                )
            _add(writer, experiment)
        return experiment

    def experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Experiment, experiment_id)

    def experiments(
        self,
        campaign_id: str,
        states: Iterable[str] | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Experiment]:
        """Return a campaign's experiments by ordinal, all or those in one of `states`, `limit` at most after one.

        Raises:
            NoSuchPlace: the campaign has no experiment `after`.
        """
        only = [] if states is None else [_EXPERIMENT.c.state.in_(list(states))]
        within = [_EXPERIMENT.c.campaign_id == campaign_id]
        return self._part(Experiment, within, _EXPERIMENT.c.ordinal, only=only, after=after, limit=limit)

    def these_experiments(self, ids: Collection[str]) -> list[Experiment]:
        """Return the experiments with these ids, by campaign and ordinal; those that there are not are left out."""
        query = select(_EXPERIMENT).where(_EXPERIMENT.c.id.in_(list(ids)))
        return self._list(Experiment, query.order_by(_EXPERIMENT.c.campaign_id, _EXPERIMENT.c.ordinal))

    def next_ordinal(self, campaign_id: str) -> int:
        """Return the ordinal that the campaign's next experiment takes, from 1."""
        query = select(func.max(_EXPERIMENT.c.ordinal)).where(_EXPERIMENT.c.campaign_id == campaign_id)
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0) + 1

    def set_experiment_state(
        self,
        experiment_id: str,
        new: ExperimentState,
        reason: str | None = None,
        decision_id: str | None = None,
        expect: set[str] | None = None,
    ) -> None:
        """Change an experiment's state, if it is one of `expect` (default: any from which the rules lead to `new`).

        `approved`, `rejected` and `superseded` need a decision that says so (a campaign's grant counts as approval),
        and `in_doubt` is left only by one of kind `settle`. `dispatched` is reached by `commit_intent` alone.

        Raises:
            NotFound, IllegalTransition, DecisionRequired, InvalidRecord
        """
        with self._writing() as writer:
            experiment = need(writer.connection, Experiment, experiment_id)
            if new == "dispatched":
                raise IllegalTransition(
                    "experiment", experiment_id, experiment.state, new, "only commit_intent dispatches"
                )
            _change(writer, experiment, new, reason, decision_id, expect)

    def add_decision(self, decision: Decision) -> Decision:
        """Add a decision that changes no experiment by itself, such as a grant.

        Raises:
            Duplicate: its id or its nonce has been used.
        """
        with self._writing() as writer:
            writer.insert(decision, decision.campaign_id, "decision")
        return decision

    def decision(self, decision_id: str) -> Decision:
        """Return a decision.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Decision, decision_id)

    def decisions(
        self, campaign_id: str, *, after: str | None = None, limit: int | None = None, newest_first: bool = False
    ) -> list[Decision]:
        """Return a campaign's decisions in order, `limit` at most after one; or from the last to the first.

        Raises:
            NoSuchPlace: the campaign has no decision `after`.
        """
        within = [_DECISION.c.campaign_id == campaign_id]
        order = _DECISION.c.position.desc() if newest_first else _DECISION.c.position
        return self._part(Decision, within, order, after=after, limit=limit)

    def decide(
        self, experiment_id: str, revision: str, decision: Decision, replacement: Experiment | None = None
    ) -> None:
        """Store a decision on one revision of an experiment and what follows from it, or nothing at all.

        An approval, rejection or edit needs the experiment `proposed`; an edit also stores `replacement`, the new
        experiment with this one as parent. A settlement needs it `in_doubt`.

        Raises:
            StaleRevision: the revision is another one, or has been decided before; the message says by whom.
            Duplicate: the decision's id or nonce has been used, or the replacement's ordinal is taken.
            InvalidRecord: decision, experiment and replacement do not belong together, or the decision has expired.
        """
        with self._writing() as writer:
            _decide(writer, experiment_id, revision, decision, replacement)

    def decide_all(self, decisions: Sequence[Decision]) -> None:
        """Store several decisions and what follows from each, all of them or none; see `decide`. None is an edit.

        Raises:
            StaleRevision, Duplicate, InvalidRecord: as `decide`, for the first that cannot be stored.
        """
        with self._writing() as writer:
            for decision in decisions:
                refuse(
                    decision.experiment_id is None or decision.revision is None,
                    f"decision {decision.id} is about no revision of an experiment",
                )
                _decide(writer, str(decision.experiment_id), str(decision.revision), decision, None)

    def commit_intent(
        self,
        experiment_id: str,
        decision_id: str,
        instrument: str,
        lease_holder: str,
        epoch: int,
        needs: Needs | None = None,
    ) -> Intent:
        """Commit the intent to run an approved experiment: `approved → dispatched`. The same again returns it.

        What it `needs` to itself is reserved in the same transaction, all or nothing.

        `epoch` is that of the instrument's lease, which `lease_holder` must hold, as well as the campaign's lease, if
        there is one. A lease past its time that nobody has taken still counts: its epoch fences all the same.

        Raises:
            LeaseLost: somebody else holds the instrument or the campaign.
            IllegalTransition: the experiment is not `approved`.
            DecisionRequired: the decision does not cover this revision, or has expired.
            InvalidRecord: the instrument is not the campaign's.
            NotFound, ResourceShort, ResourceTaken: something that it needs is not to be had.
        """
        with self._writing() as writer:
            experiment = need(writer.connection, Experiment, experiment_id)
            campaign = experiment.campaign_id
            _check_lease(writer, f"instrument:{instrument}", lease_holder, epoch)
            _check_lease(writer, f"campaign:{campaign}", lease_holder, None)
            there = find(writer.connection, Intent, _INTENT.c.experiment_id == experiment_id)
            if there is not None:
                return there
            own = writer.connection.execute(select(_CAMPAIGN.c.instrument).where(_CAMPAIGN.c.id == campaign)).scalar()
            refuse(own != instrument, f"campaign {campaign} runs on instrument {own}, not on {instrument}")
            _check_cover(writer, experiment, need(writer.connection, Decision, decision_id), "approved")
            intent = Intent(
                id=new_id("intent"),
                key=f"{experiment_id}@{experiment.revision}",
                campaign_id=campaign,
                experiment_id=experiment_id,
                decision_id=decision_id,
                instrument=instrument,
                epoch=epoch,
                created_at=writer.moment,
            )
            writer.insert(intent, campaign, "intent")
            if needs:
                reserve(writer, experiment_id, campaign, needs, lease_holder)
            writer.change_state(
                Experiment,
                experiment_id,
                "dispatched",
                campaign_id=campaign,
                body={"reason": None, "decision": None},
                columns={},
            )
        return intent

    def intent(self, intent_id: str) -> Intent:
        """Return an intent.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Intent, intent_id)

    def intent_for(self, experiment_id: str) -> Intent | None:
        """Return the intent to run an experiment, if there is one."""
        return self._find(Intent, _INTENT.c.experiment_id == experiment_id)

    def intents(self, campaign_id: str) -> list[Intent]:
        """Return a campaign's intents in order."""
        query = select(_INTENT).where(_INTENT.c.campaign_id == campaign_id)
        return self._list(Intent, query.order_by(_INTENT.c.position))

    def experiments_in(self, states: Iterable[str]) -> list[Experiment]:
        """Return the experiments of all campaigns that are in one of `states`, in the order in which they came."""
        query = select(_EXPERIMENT).where(_EXPERIMENT.c.state.in_(list(states)))
        return self._list(Experiment, query.order_by(_EXPERIMENT.c.position))


def settlement(decision: Decision) -> str:
    """Return the state that a decision of kind `settle` gives its experiment.

    Raises:
        InvalidRecord: its body does not say.
    """
    state = _body(decision).get("as")
    if not isinstance(state, str):
        raise InvalidRecord(f"decision {decision.id}: its body does not say as what the experiment is settled")
    return state


def _body(decision: Decision) -> dict[str, Any]:
    try:
        body = parse(decision.body)
    except CanonicalError as error:
        raise InvalidRecord(f"decision {decision.id}: its body is not canonical text: {error}") from error
    if not isinstance(body, dict):
        raise InvalidRecord(f"decision {decision.id}: its body is not an object")
    return body


def _add(writer: Writer, experiment: Experiment) -> None:
    refuse(
        experiment.state != "proposed",
        f"experiment {experiment.id}: a new experiment is proposed, not {experiment.state}",
    )
    table = select(_CAMPAIGN.c.problem_hash).where(_CAMPAIGN.c.id == experiment.campaign_id)
    problem = writer.connection.execute(table).scalar()
    if problem is not None:
        expected = experiment.expected_revision(str(problem))
        refuse(
            experiment.revision != expected,
            f"experiment {experiment.id}: its revision is {experiment.revision[:12]}, that of its contents is "
            f"{expected[:12]}; make it with records.revision_of",
        )
    writer.insert(experiment, experiment.campaign_id, "experiment")


def _change(
    writer: Writer,
    experiment: Experiment,
    new: str,
    reason: str | None,
    decision_id: str | None,
    expect: set[str] | None,
) -> None:
    transitions.check("experiment", experiment.id, experiment.state, new)
    needed = ("settle",) if experiment.state == "in_doubt" else _NEEDS.get(new)
    if decision_id is not None:
        decision = need(writer.connection, Decision, decision_id)
        if needed is not None and decision.kind not in needed:
            raise DecisionRequired(
                f"experiment {experiment.id}: a decision of kind {decision.kind} does not make it {new}; "
                f"that takes {' or '.join(needed)}"
            )
        _check_cover(writer, experiment, decision, new)
    elif needed is not None:
        raise DecisionRequired(
            f"experiment {experiment.id} goes from {experiment.state} to {new} only by a signed decision "
            f"({' or '.join(needed)})"
        )
    columns: dict[str, Any] = {"reason": reason}
    # The approval stays the experiment's decision when a person settles what came of it.
    if decision_id is not None and experiment.state != "in_doubt":
        columns["decision_id"] = decision_id
    writer.change_state(
        Experiment,
        experiment.id,
        new,
        campaign_id=experiment.campaign_id,
        body={"reason": reason, "decision": decision_id},
        columns=columns,
        expect=expect,
    )
    conclude(writer, experiment.id, new)


def _check_cover(writer: Writer, experiment: Experiment, decision: Decision, new: str) -> None:
    """Refuse a decision that is not about this revision of this experiment, or that has expired."""
    if decision.campaign_id != experiment.campaign_id:
        raise DecisionRequired(f"decision {decision.id} is about campaign {decision.campaign_id}")
    if decision.kind != "grant" and (
        decision.experiment_id != experiment.id or decision.revision != experiment.revision
    ):
        raise DecisionRequired(
            f"decision {decision.id} is about {decision.experiment_id}@{(decision.revision or '')[:12]}, "
            f"not about {experiment.id}@{experiment.revision[:12]}"
        )
    if decision.kind == "settle" and settlement(decision) != new:
        raise DecisionRequired(f"decision {decision.id} settles the experiment as {settlement(decision)}, not as {new}")
    if new == "approved":
        if decision.kind not in _NEEDS["approved"]:
            raise DecisionRequired(f"decision {decision.id} is of kind {decision.kind}, which approves nothing")
        if decision.expires_at is not None and decision.expires_at <= writer.moment:
            raise DecisionRequired(
                f"decision {decision.id} expired at {decision.expires_at.isoformat(timespec='seconds')}; approve again"
            )


def _decide(
    writer: Writer, experiment_id: str, revision: str, decision: Decision, replacement: Experiment | None
) -> None:
    experiment = need(writer.connection, Experiment, experiment_id)
    _check_decision(writer, experiment, revision, decision, replacement)
    writer.insert(decision, decision.campaign_id, "decision")
    new = settlement(decision) if decision.kind == "settle" else transitions.DECIDES[decision.kind]
    _change(writer, experiment, new, decision.reason or None, decision.id, None)
    if replacement is not None:
        _add(writer, replacement)


def _check_decision(
    writer: Writer, experiment: Experiment, revision: str, decision: Decision, replacement: Experiment | None
) -> None:
    refuse(decision.kind == "grant", f"decision {decision.id}: a grant is about a campaign; use add_decision")
    refuse(
        decision.experiment_id != experiment.id
        or decision.campaign_id != experiment.campaign_id
        or decision.revision != revision,
        f"decision {decision.id} is about {decision.experiment_id}@{(decision.revision or '')[:12]}, "
        f"not about {experiment.id}@{revision[:12]}",
    )
    if revision != experiment.revision:
        raise StaleRevision(experiment.id, revision, experiment.revision, "the revision is not the one proposed")
    wanted = "in_doubt" if decision.kind == "settle" else "proposed"
    if experiment.state != wanted:
        raise StaleRevision(experiment.id, revision, *_why_late(writer.connection, experiment, wanted))
    refuse(
        decision.expires_at is not None and decision.expires_at <= writer.moment,
        f"decision {decision.id} has expired; decide again",
    )
    is_edit = decision.kind == "edit"
    refuse(is_edit != (replacement is not None), f"decision {decision.id}: an edit, and only that, has a replacement")
    refuse(
        replacement is not None and replacement.parent_id != experiment.id,
        f"decision {decision.id}: the replacement's parent is not {experiment.id}",
    )


def _why_late(connection: Connection, experiment: Experiment, wanted: str) -> tuple[str, str]:
    """Return the revision that now stands, and what became of this one."""
    child = find(connection, Experiment, _EXPERIMENT.c.parent_id == experiment.id)
    if child is not None:
        return child.revision, f"it was superseded by {child.id}@{child.revision[:12]}; look at that one"
    why = f"it is {experiment.state}, not {wanted}"
    if experiment.decision_id is not None:
        by = find(connection, Decision, _DECISION.c.id == experiment.decision_id)
        if by is not None:
            why += f": {by.kind} by {by.decided_by} at {by.created_at.isoformat(timespec='seconds')}"
    return experiment.revision, why


def _check_lease(writer: Writer, resource: str, holder: str, epoch: int | None) -> None:
    lease = find(writer.connection, Lease, _LEASE.c.resource == resource)
    if lease is None and epoch is None:
        return
    if lease is None or lease.holder != holder or (epoch is not None and lease.epoch != epoch):
        now = f"{lease.holder or 'nobody'} (epoch {lease.epoch})" if lease else "nobody"
        raise LeaseLost(f"{resource} is held by {now}, not by {holder} (epoch {epoch}); stop driving it")
