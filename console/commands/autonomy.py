"""How far a campaign may go by itself: the grants that are in force, giving one and ending one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from athanor.console import wording
from athanor.console.commands.decisions import OVER, Commands
from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Decision


@dataclass(frozen=True)
class Grant:
    """A signed grant. `standing`: `in force`, `ended`, `expired`, `used up` or `void` (Stop All was used since)."""

    id: str
    by: str
    reason: str
    given: datetime
    expires: datetime | None
    envelope: Mapping[str, Any]
    most: int
    used: int
    standing: str
    ended_by: str | None


@dataclass(frozen=True)
class Standing:
    """How a campaign's experiments are let start. `asked`: what its file asks for; `now`: what holds."""

    asked: str
    now: str
    asks_for_two: bool
    default_envelope: Mapping[str, Any]
    default_experiments: int
    default_expires_s: float
    units: Mapping[str, str | None]
    grants: list[Grant]


def look(ledger: Ledger, campaign: Campaign) -> Standing:
    """How a campaign's experiments are let start, and every grant it was given, the newest first."""
    from athanor.agents.campaign import envelope, instrument_place
    from athanor.agents.spec import Spec
    from athanor.governance.gate import asks_for_two
    from athanor.instruments.latch import Latch
    from athanor.memory.decisions import GRANT_ENDED, body_of

    spec = Spec.model_validate(campaign.spec)
    latch = Latch(instrument_place(campaign, ledger)).read().count
    ended = {e.body["nonce"]: str(e.body["by"]) for e in ledger.events(campaign.id, kinds=(GRANT_ENDED,))}
    used = Counter(e.decision_id for e in ledger.experiments(campaign.id) if e.state not in ("proposed", "approved"))
    grants = []
    for decision in reversed(ledger.decisions(campaign.id)):
        if decision.kind != "grant":
            continue
        body = body_of(decision)
        limits = body["envelope"]
        standing = "in force"
        if decision.nonce in ended:
            standing = "ended"
        elif body["latch"] != latch:
            standing = "void"
        elif decision.expires_at is not None and decision.expires_at <= ledger.now():
            standing = "expired"
        elif used[decision.id] >= limits["max_experiments"]:
            standing = "used up"
        grants.append(
            Grant(
                id=decision.id,
                by=decision.decided_by,
                reason=decision.reason,
                given=decision.created_at,
                expires=decision.expires_at,
                envelope=limits["parameters"],
                most=limits["max_experiments"],
                used=used[decision.id],
                standing=standing,
                ended_by=ended.get(decision.nonce),
            )
        )
    is_free = campaign.state not in OVER and any(grant.standing == "in force" for grant in grants)
    return Standing(
        asked=campaign.autonomy,
        now="auto_within_limits" if is_free else "approve_each",
        asks_for_two=asks_for_two(campaign),
        default_envelope=envelope(spec),
        default_experiments=spec.budget.experiments,
        default_expires_s=spec.policy.expires,
        units={name: parameter.unit for name, parameter in spec.parameters.items()},
        grants=grants,
    )


class Autonomy(Commands):
    """What one person grants."""

    def grant(
        self, campaign: Campaign, envelope: Mapping[str, Any], max_experiments: int, ttl: timedelta, reason: str
    ) -> Decision:
        """Let a campaign approve its own experiments inside an envelope, so many of them, for so long.

        Args:
            campaign: the campaign.
            envelope: for every parameter `{"low", "high"}` (inclusive) or `{"allowed": [...]}`, in its unit, inside the
                campaign's own ranges.
            max_experiments: how many at most.
            ttl: for how long.
            reason: why.

        Raises:
            Refused: it is over, Stop All is latched, or the envelope is not one of this campaign.
            GateError: what the gate raises.
        """
        from athanor.agents.campaign import envelope as widest
        from athanor.agents.spec import Spec

        with self._telling("grant autonomy", campaign.id):
            if campaign.state in OVER:
                raise Refused(f"{campaign.id} is over ({campaign.state})")
            spec = Spec.model_validate(campaign.spec)
            own = widest(spec)
            if missing := [name for name in own if name not in envelope]:
                raise Refused(f"the envelope says nothing of {', '.join(missing)}", "Give every parameter a range.")
            for name, bound in envelope.items():
                if name not in own:
                    raise Refused(f"{campaign.id} has no parameter {name}", f"It has {', '.join(own)}.")
                _check_inside(name, bound, own[name], spec.parameters[name].unit)
            count = self.unlatched_count(campaign)
            return self.gate().grant(
                campaign.id, campaign.instrument, count, envelope, max_experiments, ttl, reason.strip()
            )

    def renew(self, campaign: Campaign) -> Decision | None:
        """Grant what a campaign's file asks for, unless a grant is in force or it asks for none; the grant, or None.

        Raises:
            Refused: Stop All is latched.
        """
        from athanor.agents import campaign as campaigns
        from athanor.agents.spec import Spec

        if campaign.autonomy != "auto_within_limits":
            return None
        count = self.unlatched_count(campaign)
        if campaigns.grant_in_force(self.ledger, campaign.id, count) is not None:
            return None
        spec = Spec.model_validate(campaign.spec)
        most, ttl = spec.budget.experiments, timedelta(seconds=spec.policy.expires)
        return self.gate().grant(campaign.id, campaign.instrument, count, campaigns.envelope(spec), most, ttl)

    def end(self, campaign: Campaign, reason: str) -> int:
        """End every grant in force: from now on each experiment waits for a person. Returns how many were ended.

        What it approved and has not begun will not begin; a run that has begun is finished.

        Raises:
            Refused: none is in force.
        """
        from athanor.memory.decisions import GRANT_ENDED

        found = [grant for grant in look(self.ledger, campaign).grants if grant.standing == "in force"]
        if not found:
            raise Refused(f"{campaign.id} has no grant in force", "Each experiment waits for a person already.")
        for grant in found:
            nonce = self.ledger.decision(grant.id).nonce
            body = {"grant": grant.id, "nonce": nonce, "by": self.person, "reason": reason}
            self.ledger.add_event(campaign.id, GRANT_ENDED, body)
        return len(found)


def _check_inside(name: str, bound: Any, own: Mapping[str, Any], unit: str | None) -> None:
    """Raise `Refused` where a range leaves the campaign's own."""
    from athanor.memory.decisions import described, is_inside

    bound = bound if isinstance(bound, Mapping) else {}
    ends = bound.get("allowed") if "allowed" in bound else [bound.get("low"), bound.get("high")]
    is_range_of_values = "allowed" in own and "allowed" not in bound
    if not isinstance(ends, list) or is_range_of_values or not all(is_inside(end, own) for end in ends):
        tail = f" {wording.pretty_unit(unit)}" if unit else ""
        raise Refused(
            f"the range of {name} ({described(bound)}) is not inside the campaign's own ({described(own)}{tail})",
            "A grant may be narrower than the campaign, not wider.",
        )
