"""The gate: the one place where decisions are made and signed. No model, no campaign and no script goes round it.

A decision is bound to the exact revision that the person saw, to the state of the instrument's latch, to an expiry and
to a nonce. The worker checks all of that again before anything moves; the gate's key is what it trusts, not this code.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from athanor.memory.canonical import canonical, time_text
from athanor.memory.decisions import outside
from athanor.memory.errors import Duplicate, InvalidRecord, NotFound, StaleRevision
from athanor.memory.ledger import Ledger
from athanor.memory.records import (
    Campaign,
    Decision,
    DecisionKind,
    Experiment,
    Outcome,
    Value,
    new_id,
    revision_of,
    storable,
)
from athanor.memory.signing import GateKey
from athanor.memory.transitions import EXPERIMENT

DAY = timedelta(hours=24)
_PREFIX = re.compile(r"[0-9a-f]{6,64}")
_ORDINAL_ATTEMPTS = 20

SettledState = Literal["completed", "failed", "aborted", "not_started"]


class GateError(Exception):
    """A decision that cannot be made as asked; the message names the offender and the remedy."""


class SameHands(GateError):
    """Who proposed an experiment, or edited it last, wanted to approve it where the campaign asks for somebody else."""


class BatchRefused(GateError):
    """Several revisions of which some cannot be approved together: none was. `refused` says why, by experiment."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        self.refused = dict(refused)
        said = "; ".join(f"{name}: {why}" for name, why in self.refused.items())
        super().__init__(f"nothing was approved: {said}")


class Gate:
    """Makes decisions for one person.

    Args:
        ledger: where decisions are kept.
        key: the gate's private key.
        person: who decides; a name that colleagues know.
    """

    def __init__(self, ledger: Ledger, key: GateKey, person: str) -> None:
        if not person.strip():
            raise GateError("a decision needs a person's name")
        self._ledger = ledger
        self._key = key
        self.person = storable(person.strip())

    def approve(
        self, experiment_id: str, revision_prefix: str, latch: int, ttl: timedelta = DAY, reason: str = ""
    ) -> Decision:
        """Approve one revision of a proposed experiment, once, until `ttl` has passed.

        Args:
            experiment_id: the experiment.
            revision_prefix: the first 6 or more hex digits of the revision that was looked at.
            latch: the count of the instrument's stop latch now; a later Stop All voids the approval.
            ttl: for how long it holds.
            reason: why, if there is something to say.

        Raises:
            StaleRevision: another revision stands, or this one has been decided.
            SameHands: the campaign asks for somebody else.
            GateError: the prefix is none, or the time makes no sense.
        """
        experiment = self._seen(experiment_id, revision_prefix)
        self.check_hands(experiment)
        decision = self._about("approve", experiment, reason, latch=latch, ttl=ttl)
        self._ledger.decide(experiment.id, experiment.revision, decision)
        return decision

    def approve_batch(
        self,
        campaign_id: str,
        revisions: Mapping[str, str],
        latch: int,
        envelope: Mapping[str, Any],
        max_experiments: int,
        ttl: timedelta = DAY,
        reason: str = "",
    ) -> list[Decision]:
        """Approve several revisions of one campaign if all lie inside an envelope: all of them or none.

        Each gets a decision of its own, which names the batch and its envelope.

        Args:
            campaign_id: the campaign.
            revisions: by experiment the first 6 or more hex digits of the revision that was looked at.
            latch: the count of the instrument's stop latch now; a later Stop All voids the approvals.
            envelope: for each parameter `{"low": a, "high": b}` (inclusive) or `{"allowed": [...]}`.
            max_experiments: how many may be approved at once.
            ttl: for how long the approvals hold.
            reason: why, if there is something to say.

        Raises:
            BatchRefused: some cannot be approved; each is named with why.
            GateError: an envelope, a number or a time that makes no sense.
        """
        ranges = _envelope(envelope)
        if isinstance(max_experiments, bool) or max_experiments < 1:
            raise GateError(f"an envelope for {max_experiments} experiments: give 1 or more")
        if not revisions:
            raise GateError("there is nothing to approve: name experiments with their revisions")
        if refused := self.refusals(campaign_id, revisions, ranges, max_experiments):
            raise BatchRefused(refused)
        batch = {"id": secrets.token_hex(8), "parameters": ranges, "max_experiments": max_experiments}
        experiments = [self._seen(name, prefix) for name, prefix in revisions.items()]
        decisions = [
            self._about("approve", experiment, reason, latch=latch, ttl=ttl, batch=batch) for experiment in experiments
        ]
        try:
            self._ledger.decide_all(decisions)
        except StaleRevision as late:  # somebody decided on one of them in between
            raise BatchRefused({late.experiment_id: str(late)}) from late
        return decisions

    def refusals(
        self, campaign_id: str, revisions: Mapping[str, str], envelope: Mapping[str, Any], max_experiments: int
    ) -> dict[str, str]:
        """Say which revisions `approve_batch` would refuse now, by experiment, and why; empty when none.

        Raises:
            GateError: the envelope makes no sense.
        """
        ranges, refused = _envelope(envelope), {}
        for index, (name, prefix) in enumerate(revisions.items()):
            try:
                experiment = self._seen(name, prefix)
                if experiment.campaign_id != campaign_id:
                    raise GateError(f"it is of campaign {experiment.campaign_id}, not of {campaign_id}")
                if experiment.state != "proposed":
                    raise GateError(f"it is {experiment.state}, not proposed")
                self.check_hands(experiment)
                if said := outside(experiment.values, ranges):
                    raise GateError("; ".join(said))
                if index >= max_experiments:
                    raise GateError(f"the envelope is for {max_experiments} experiments, and this is one more")
            except (GateError, StaleRevision, NotFound) as error:
                refused[name] = str(error)
        return refused

    def check_hands(self, experiment: Experiment) -> None:
        """Raise `SameHands` when the campaign asks that somebody else than this person approves the experiment."""
        if not asks_for_two(self._ledger.campaign(experiment.campaign_id)):
            return
        if self.person.casefold() in {author.casefold() for author in authors(self._ledger, experiment)}:
            raise SameHands(
                f"{experiment.id} was proposed or last edited by {self.person}, and this campaign asks that somebody "
                "else approves it; ask a colleague"
            )

    def reject(self, experiment_id: str, revision_prefix: str, reason: str) -> Decision:
        """Reject one revision of a proposed experiment.

        Raises:
            StaleRevision: another revision stands, or this one has been decided.
            GateError: there is no reason.
        """
        experiment = self._seen(experiment_id, revision_prefix)
        decision = self._about("reject", experiment, _needed(reason, "a rejection"))
        self._ledger.decide(experiment.id, experiment.revision, decision)
        return decision

    def edit(
        self, experiment_id: str, revision_prefix: str, values: Mapping[str, Value], reason: str, latch: int
    ) -> Experiment:
        """Supersede a proposed experiment by one with other values, which is then proposed in its turn.

        The new experiment is the operator's: it counts for no registered test.

        Args:
            experiment_id: the experiment.
            revision_prefix: the first 6 or more hex digits of its revision.
            values: the values to change, in the units of the problem; the others stay.
            reason: why.
            latch: the count of the instrument's stop latch now.

        Raises:
            StaleRevision: another revision stands, or this one has been decided.
            GateError: an unknown parameter, a value of the wrong kind, nothing changed, or no reason.
        """
        text = _needed(reason, "an edit")
        old = self._seen(experiment_id, revision_prefix)
        changed = {**old.values, **typed(old, values)}
        if changed == old.values:
            raise GateError(f"{experiment_id}: these are its values already; approve or reject it")
        problem = self._ledger.campaign(old.campaign_id).problem_hash
        for _ in range(_ORDINAL_ATTEMPTS):
            new = _edited(old, changed, self._ledger.next_ordinal(old.campaign_id), problem)
            replacement = {"experiment": new.id, "revision": new.revision, "values": new.values}
            decision = self._about("edit", old, text, latch=latch, replacement=replacement)
            try:
                self._ledger.decide(old.id, old.revision, decision, replacement=new)
            except Duplicate:
                # The campaign proposed another experiment in between and took the ordinal.
                continue
            return new
        raise GateError(f"{experiment_id}: the campaign proposes faster than this can be edited; pause it first")

    def grant(
        self,
        campaign_id: str,
        instrument: str,
        latch: int,
        envelope: Mapping[str, Any],
        max_experiments: int,
        ttl: timedelta = DAY,
        reason: str = "",
    ) -> Decision:
        """Let a campaign approve its own experiments within an envelope (autonomy `auto_within_limits`).

        Each may take as many readings as the campaign's own `replicates`, and no more.

        Args:
            campaign_id: the campaign.
            instrument: the one instrument it may use.
            latch: the count of that instrument's stop latch now; a later Stop All voids the grant.
            envelope: for each parameter `{"low": a, "high": b}` (inclusive) or `{"allowed": [...]}`.
            max_experiments: how many experiments it may start under this grant.
            ttl: for how long it holds.
            reason: why, if there is something to say.

        Raises:
            GateError: an envelope, a number or a time that makes no sense.
            InvalidRecord: the campaign runs on another instrument.
        """
        campaign = self._ledger.campaign(campaign_id)
        if campaign.instrument != instrument:
            raise InvalidRecord(f"campaign {campaign_id} runs on instrument {campaign.instrument}, not on {instrument}")
        if isinstance(max_experiments, bool) or max_experiments < 1:
            raise GateError(f"a grant for {max_experiments} experiments: give 1 or more")
        body = {
            "envelope": {
                "parameters": _envelope(envelope),
                "max_experiments": max_experiments,
                "replicates": int(campaign.spec.get("replicates", 1)),
                "autonomy": "auto_within_limits",
            }
        }
        decision = self._decision("grant", campaign_id, None, instrument, reason, latch=latch, ttl=ttl, **body)
        return self._ledger.add_decision(decision)

    def settle(
        self,
        experiment_id: str,
        as_state: SettledState,
        reason: str,
        outcomes: Mapping[str, Outcome] | None = None,
    ) -> Decision:
        """Say what became of an experiment that is `in_doubt`, after looking at the instrument.

        Args:
            experiment_id: the experiment.
            as_state: what happened.
            reason: how the person knows.
            outcomes: what was measured, read off by the person: by outcome its mean and standard error (None:
                unknown), in the outcome's unit. Only for `completed`; without them the documents of the run count.

        Raises:
            StaleRevision: the experiment is not in doubt.
            GateError: not a state in which it can end, no reason, or outcomes that make no sense.
        """
        if as_state not in EXPERIMENT["in_doubt"]:
            raise GateError(
                f"{experiment_id}: cannot be settled as {as_state!r}; use {', '.join(sorted(EXPERIMENT['in_doubt']))}"
            )
        if outcomes is not None and as_state != "completed":
            raise GateError(f"{experiment_id}: an experiment that is {as_state} has no outcomes; leave them out")
        experiment = self._ledger.experiment(experiment_id)
        more: dict[str, Any] = {"as": as_state}
        if outcomes is not None:
            more["outcomes"] = _measured(experiment_id, outcomes)
        decision = self._about("settle", experiment, _needed(reason, "a settlement"), **more)
        self._ledger.decide(experiment.id, experiment.revision, decision)
        return decision

    def _seen(self, experiment_id: str, revision_prefix: str) -> Experiment:
        prefix = revision_prefix.strip().lower()
        if not _PREFIX.fullmatch(prefix):
            raise GateError(f"{revision_prefix!r} is no revision: give its first 6 or more hex digits")
        experiment = self._ledger.experiment(experiment_id)
        if not experiment.revision.startswith(prefix):
            raise StaleRevision(experiment.id, prefix, experiment.revision, "that is not its revision")
        return experiment

    def _about(self, kind: DecisionKind, experiment: Experiment, reason: str, **more: Any) -> Decision:
        instrument = self._ledger.campaign(experiment.campaign_id).instrument
        return self._decision(kind, experiment.campaign_id, experiment, instrument, reason, **more)

    def _decision(
        self,
        kind: DecisionKind,
        campaign_id: str,
        experiment: Experiment | None,
        instrument: str,
        reason: str,
        *,
        latch: int | None = None,
        ttl: timedelta | None = None,
        **more: Any,
    ) -> Decision:
        if latch is not None and (isinstance(latch, bool) or latch < 0):
            raise GateError(f"a latch count of {latch}: it is read from the instrument's latch and is 0 or more")
        if ttl is not None and not timedelta(0) < ttl <= timedelta(days=366):
            raise GateError(f"a decision that holds for {ttl}: give a time up to a year")
        moment = self._ledger.now()
        expires = None if ttl is None else moment + ttl
        nonce = secrets.token_hex(16)
        reason = storable(reason)
        body: dict[str, Any] = {
            "kind": kind,
            "campaign": campaign_id,
            "instrument": instrument,
            "latch": latch,
            "expires_at": None if expires is None else time_text(expires),
            "nonce": nonce,
            "by": self.person,
            "at": time_text(moment),
            "reason": reason,
            **more,
        }
        if experiment is not None:
            body |= {"experiment": experiment.id, "revision": experiment.revision}
        text = canonical(body)
        return Decision(
            id=new_id("decision"),
            campaign_id=campaign_id,
            experiment_id=None if experiment is None else experiment.id,
            kind=kind,
            revision=None if experiment is None else experiment.revision,
            body=text,
            signature=self._key.sign(text),
            decided_by=self.person,
            reason=reason,
            expires_at=expires,
            nonce=nonce,
            created_at=moment,
        )


def asks_for_two(campaign: Campaign) -> bool:
    """Whether a campaign's policy asks that nobody approves what they proposed or edited last."""
    policy = campaign.spec.get("policy")
    return isinstance(policy, Mapping) and bool(policy.get("proposer_may_not_approve"))


def authors(ledger: Ledger, experiment: Experiment) -> list[str]:
    """Return the people whose own an experiment is: who proposed it first, and who edited it last.

    A campaign's own proposals have no author until somebody edits them.
    """
    found = []
    if experiment.parent_id is not None:
        edited = ledger.experiment(experiment.parent_id).decision_id
        if edited is not None:
            found.append(ledger.decision(edited).decided_by)
    root = experiment
    while root.parent_id is not None:
        root = ledger.experiment(root.parent_id)
    if root.source == "operator":
        why = root.candidate.get("why")
        # Before it was kept by itself, the name stood in the sentence alone.
        said = str(why.get("detail", "")) if isinstance(why, Mapping) else ""
        found.append(str(root.candidate.get("by") or said.removeprefix("proposed by ")))
    return [name for name in dict.fromkeys(found) if name]


def _needed(reason: str, what: str) -> str:
    if not reason.strip():
        raise GateError(f"{what} needs a reason")
    return reason.strip()


def _measured(experiment_id: str, outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, float | None]]:
    """Return outcomes as a settlement's body holds them, or refuse what is no measurement."""
    if not outcomes:
        raise GateError(f"{experiment_id}: give at least one outcome, or none at all to let its documents count")
    checked: dict[str, dict[str, float | None]] = {}
    for name, outcome in outcomes.items():
        mean, sem = outcome["mean"], outcome["sem"]
        if not _is_number(mean):
            raise GateError(f"{experiment_id}: {name} cannot be {mean!r}; give a finite number")
        if sem is not None and not (_is_number(sem) and sem >= 0):
            raise GateError(f"{experiment_id}: the standard error of {name} cannot be {sem!r}")
        checked[storable(name)] = {"mean": float(mean), "sem": None if sem is None else float(sem)}
    return checked


def _edited(old: Experiment, values: dict[str, Value], ordinal: int, problem_hash: str) -> Experiment:
    revision = revision_of(
        campaign=old.campaign_id,
        ordinal=ordinal,
        values=values,
        purpose="operator",
        registration_id=None,
        block=None,
        arm=None,
        replicates=old.replicates,
        problem_hash=problem_hash,
    )
    return Experiment(
        id=f"{old.campaign_id}.{ordinal}",
        campaign_id=old.campaign_id,
        ordinal=ordinal,
        revision=revision,
        values=values,
        purpose="operator",
        source="operator",
        replicates=old.replicates,
        parent_id=old.id,
    )


def typed(old: Experiment, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values with the types that the experiment has, or refuse them."""
    typed: dict[str, Value] = {}
    for name, value in values.items():
        if name not in old.values:
            raise GateError(f"{old.id} has no parameter {name!r}; it has {', '.join(sorted(old.values))}")
        before = old.values[name]
        if isinstance(value, bool) or isinstance(value, str) != isinstance(before, str):
            raise GateError(f"{old.id}: {name} is {before!r}, so {value!r} is a value of the wrong kind")
        if not isinstance(value, str) and not isinstance(before, str):
            if not math.isfinite(value):
                raise GateError(f"{old.id}: {name} cannot be {value!r}")
            # Ordinals may mix integers and floats, so only what can be said without loss is made the same type.
            if isinstance(before, float):
                value = float(value)
            elif float(value).is_integer():
                value = int(value)
        typed[name] = value
    return typed


def _envelope(envelope: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if not envelope:
        raise GateError("a grant needs an envelope: for each parameter low and high, or the values allowed")
    checked: dict[str, dict[str, Any]] = {}
    for name, range_ in envelope.items():
        entry = dict(range_) if isinstance(range_, Mapping) else {}
        if set(entry) == {"low", "high"}:
            low, high = entry["low"], entry["high"]
            if not (_is_number(low) and _is_number(high) and low <= high):
                raise GateError(f"the envelope of {name}: low {low!r} and high {high!r} are no range")
        elif set(entry) == {"allowed"}:
            entry["allowed"] = list(entry["allowed"])
            if not entry["allowed"] or not all(_is_number(item) or isinstance(item, str) for item in entry["allowed"]):
                raise GateError(f"the envelope of {name}: give the values allowed, numbers or text")
        else:
            raise GateError(f"the envelope of {name} is {range_!r}; give low and high, or the values allowed")
        checked[name] = entry
    return checked


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
