"""The ledger's part on campaigns and their hypotheses."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from sqlalchemy import Connection, select, update

from athanor.memory import transitions
from athanor.memory._store import Store, build, need, problem_body, refuse
from athanor.memory.canonical import canonical, digest, time_text
from athanor.memory.errors import InvalidRecord, NoSuchPlace, NotFound
from athanor.memory.journal import chain_of
from athanor.memory.records import (
    Campaign,
    CampaignState,
    Evidence,
    Hypothesis,
    HypothesisState,
    Problem,
    Registration,
    Request,
)
from athanor.memory.rows import table_of

_CAMPAIGN = table_of(Campaign)
_PROBLEM = table_of(Problem)
_HYPOTHESIS = table_of(Hypothesis)
_REGISTRATION = table_of(Registration)
_EVIDENCE = table_of(Evidence)


class Campaigns(Store):
    """Campaigns, hypotheses, registrations, evidence."""

    def add_campaign(self, campaign: Campaign) -> Campaign:
        """Add a campaign and, unless it is there already, its problem.

        Raises:
            Duplicate: the id is taken.
            InvalidRecord: another problem has the same hash.
        """
        with self._writing() as writer:
            known = writer.connection.execute(select(_PROBLEM.c.body).where(_PROBLEM.c.hash == campaign.problem_hash))
            body = known.scalar()
            if body is None:
                writer.put(Problem(hash=campaign.problem_hash, body=campaign.problem), None)
            else:
                refuse(
                    body != canonical(campaign.problem),
                    f"campaign {campaign.id}: another problem has the hash {campaign.problem_hash}",
                )
            writer.insert(campaign, campaign.id, "campaign")
        return campaign

    def campaign(self, campaign_id: str) -> Campaign:
        """Return a campaign.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return load_campaign(connection, campaign_id)

    def campaigns(
        self,
        states: Iterable[str] | None = None,
        *,
        newest_first: bool = False,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Campaign]:
        """Return campaigns, oldest first unless told otherwise: all or those in `states`, `limit` at most after one.

        Raises:
            NoSuchPlace: there is no campaign `after`.
        """
        position = _CAMPAIGN.c.position
        query = select(_CAMPAIGN).order_by(position.desc() if newest_first else position)
        if states is not None:
            query = query.where(_CAMPAIGN.c.state.in_(list(states)))
        with self._reading() as connection:
            if after is not None:
                place = connection.execute(select(position).where(_CAMPAIGN.c.id == after)).scalar()
                if place is None:
                    raise NoSuchPlace(after)
                query = query.where(position < place if newest_first else position > place)
            rows = list(connection.execute(query if limit is None else query.limit(limit)).mappings())
            # Many campaigns have one problem.
            problems = {digest: problem_body(connection, digest) for digest in {row["problem_hash"] for row in rows}}
            return [build(Campaign, row, problem=deepcopy(problems[row["problem_hash"]])) for row in rows]

    def problem(self, problem_hash: str) -> dict[str, Any]:
        """Return the problem with this hash.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return problem_body(connection, problem_hash)

    def set_campaign_state(
        self, campaign_id: str, new: CampaignState, reason: str | None = None, expect: set[str] | None = None
    ) -> None:
        """Change a campaign's state; a final one also sets `finished_at`.

        Raises:
            NotFound, IllegalTransition
        """
        with self._writing() as writer:
            is_final = transitions.is_terminal("campaign", new)
            finished = time_text(writer.moment) if is_final else None
            writer.change_state(
                Campaign,
                campaign_id,
                new,
                campaign_id=campaign_id,
                body={"reason": reason, "finished_at": finished},
                columns={"reason": reason, "finished_at": finished},
                expect=expect,
            )

    def request(self, campaign_id: str, verb: Request, by: str) -> None:
        """Ask a campaign to pause, to stop after this step, or to cancel; the last request stands.

        Raises:
            NotFound: there is no such campaign.
            InvalidRecord: it has ended.
        """
        self._set_request(campaign_id, verb, by)

    def clear_request(self, campaign_id: str, by: str = "campaign") -> None:
        """Take note that a request has been met."""
        self._set_request(campaign_id, "none", by)

    def _set_request(self, campaign_id: str, verb: Request, by: str) -> None:
        with self._writing() as writer:
            found = writer.connection.execute(
                select(_CAMPAIGN.c.state, _CAMPAIGN.c.requested).where(_CAMPAIGN.c.id == campaign_id)
            ).one_or_none()
            if found is None:
                raise NotFound("campaign", campaign_id)
            if verb != "none" and transitions.is_terminal("campaign", found.state):
                raise InvalidRecord(f"campaign {campaign_id} has ended ({found.state}): there is nothing to {verb}")
            if found.requested == verb:
                return
            writer.connection.execute(update(_CAMPAIGN).where(_CAMPAIGN.c.id == campaign_id).values(requested=verb))
            writer.journal.append(chain_of(campaign_id), "request", {"campaign": campaign_id, "verb": verb, "by": by})

    def add_hypothesis(self, hypothesis: Hypothesis) -> Hypothesis:
        """Add a hypothesis.

        Raises:
            Duplicate: its id or its ordinal in the campaign is taken.
            NotFound: there is no such campaign.
        """
        with self._writing() as writer:
            writer.insert(hypothesis, hypothesis.campaign_id, "hypothesis")
        return hypothesis

    def hypothesis(self, hypothesis_id: str) -> Hypothesis:
        """Return a hypothesis.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Hypothesis, hypothesis_id)

    def hypotheses(self, campaign_id: str, *, after: str | None = None, limit: int | None = None) -> list[Hypothesis]:
        """Return a campaign's hypotheses by ordinal, `limit` at most after one.

        Raises:
            NoSuchPlace: the campaign has no hypothesis `after`.
        """
        within = [_HYPOTHESIS.c.campaign_id == campaign_id]
        return self._part(Hypothesis, within, _HYPOTHESIS.c.ordinal, after=after, limit=limit)

    def set_hypothesis_state(
        self,
        hypothesis_id: str,
        new: HypothesisState,
        reason: str | None = None,
        body: dict[str, Any] | None = None,
        expect: set[str] | None = None,
    ) -> None:
        """Change a hypothesis' state; `body` is its verdict in figures, kept as `verdict`.

        Raises:
            NotFound, IllegalTransition
        """
        with self._writing() as writer:
            hypothesis = need(writer.connection, Hypothesis, hypothesis_id)
            columns: dict[str, Any] = {"reason": reason}
            if body is not None:
                columns["verdict"] = canonical(body)
            writer.change_state(
                Hypothesis,
                hypothesis_id,
                new,
                campaign_id=hypothesis.campaign_id,
                body={"reason": reason, "verdict": body},
                columns=columns,
                expect=expect,
            )

    def add_registration(self, registration: Registration) -> Registration:
        """Add a registration; it can never be changed.

        Raises:
            Duplicate: the hypothesis is registered already.
            InvalidRecord: `body_hash` is not the digest of `body`, or the hypothesis is another campaign's.
        """
        expected = digest(registration.body)
        refuse(
            registration.body_hash != expected,
            f"registration {registration.id}: body_hash is {registration.body_hash}, the body's digest is {expected}",
        )
        with self._writing() as writer:
            hypothesis = need(writer.connection, Hypothesis, registration.hypothesis_id)
            refuse(
                hypothesis.campaign_id != registration.campaign_id,
                f"registration {registration.id}: {hypothesis.id} belongs to campaign {hypothesis.campaign_id}",
            )
            writer.insert(registration, registration.campaign_id, "registration")
        return registration

    def registration(self, registration_id: str) -> Registration:
        """Return a registration.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Registration, registration_id)

    def registrations(self, campaign_id: str) -> list[Registration]:
        """Return a campaign's registrations in order."""
        query = select(_REGISTRATION).where(_REGISTRATION.c.campaign_id == campaign_id)
        return self._list(Registration, query.order_by(_REGISTRATION.c.position))

    def add_evidence(self, evidence: Evidence) -> Evidence:
        """Add the evidence of one more block.

        Raises:
            Duplicate: the block is there already.
            NotFound: there is no such registration.
        """
        with self._writing() as writer:
            registration = need(writer.connection, Registration, evidence.registration_id)
            writer.insert(evidence, registration.campaign_id, "evidence")
        return evidence

    def evidence(self, registration_id: str | None = None, campaign: str | None = None) -> list[Evidence]:
        """Return the evidence of a registration, of a campaign, or all, in order."""
        query = select(_EVIDENCE)
        if registration_id is not None:
            query = query.where(_EVIDENCE.c.registration_id == registration_id)
        if campaign is not None:
            query = query.join(_REGISTRATION, _REGISTRATION.c.id == _EVIDENCE.c.registration_id)
            query = query.where(_REGISTRATION.c.campaign_id == campaign)
        return self._list(Evidence, query.order_by(_EVIDENCE.c.position))


def load_campaign(connection: Connection, campaign_id: str) -> Campaign:
    """Return a campaign with its problem.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(_CAMPAIGN).where(_CAMPAIGN.c.id == campaign_id)).mappings().first()
    if row is None:
        raise NotFound("campaign", campaign_id)
    return build(Campaign, row, problem=problem_body(connection, row["problem_hash"]))
