"""What a reasoner is shown: question, effects, observations, claims, memory, and what is left of the budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from athanor.agents.reasoners.protocol import Known, Recalled, Remaining, Said, Seen, Situation
from athanor.memory.remarks import REMARK, remarks

if TYPE_CHECKING:
    from athanor.agents.context import Context
    from athanor.memory.records import Hypothesis

NEWEST_REMARKS = 20
"""So many of what people said about experiments a reasoner is shown, the newest."""


def recalled(context: Context) -> list[Recalled]:
    """What earlier campaigns in this ledger left that concerns this laboratory or these knobs."""
    from athanor.memory.recall import related

    found = related(
        context.ledger, context.campaign.laboratory, list(context.problem.names), exclude_campaign=context.id
    )
    return [
        Recalled(
            id=item.id,
            campaign_id=item.campaign_id,
            text=item.text,
            kind=item.kind,
            claim=item.claim,
            verdict=item.verdict,
            tainted=item.tainted,
        )
        for item in found
    ]


def describe_situation(
    context: Context,
    effects: dict[str, Any],
    hypotheses: Sequence[Hypothesis],
    confirmatory_left: int,
    seed: int,
) -> Situation:
    """Put together what a reasoner may see.

    Args:
        context: the campaign.
        effects: what the surrogate learned, as the planner writes it.
        hypotheses: of this campaign so far, with their states.
        confirmatory_left: runs that may still test hypotheses.
        seed: for a reasoner that draws at random.
    """
    c, budget = context, context.spec.budget
    calls = c.ledger.model_calls(c.id)
    seen = tuple(
        Seen(
            id=o.id,
            values=dict(o.values),
            outcomes={k: v["mean"] for k, v in o.outcomes.items()},
            status=o.status,
            note=o.reason,
        )
        for o in c.observations()
    )
    known = tuple(
        Known(id=h.id, kind=h.kind, statement=h.statement, claim=h.claim, state=h.state, prior=h.prior)
        for h in hypotheses
    )
    return Situation(
        campaign_id=c.id,
        ordinal=c.ledger.next_ordinal(c.id),
        question=c.spec.question,
        problem=c.problem.model_dump(mode="json"),
        base_point=effects["incumbent"],
        effects=effects,
        observations=seen,
        hypotheses=known,
        memory=tuple(recalled(c)),
        remarks=tuple(
            Said(experiment=one.experiment, text=one.text)
            for one in remarks(c.ledger.events(c.id, kinds=(REMARK,)))[-NEWEST_REMARKS:]
        ),
        remaining=Remaining(
            experiments=budget.experiments - c.spent(),
            confirmatory=confirmatory_left,
            tokens=max(0, budget.model_tokens - sum(k.tokens_in + k.tokens_out for k in calls)),
            cost=max(0.0, budget.model_cost - sum(k.cost or 0.0 for k in calls)),
            seconds=None if budget.wall_time is None else max(0.0, budget.wall_time - c.running_seconds()),
        ),
        seed=seed,
    )
