"""The reference measurements of a running campaign: putting them up, and what their charts say of everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.agents import references
from athanor.memory.records import Observation

if TYPE_CHECKING:
    from athanor.agents.context import Context
    from athanor.memory.records import Experiment


def charts(context: Context) -> references.References | None:
    """The reference measurements so far and their charts; None where the campaign asks for none."""
    c = context
    if c.spec.reference is None:
        return None
    return references.look(c.ledger, c.id, c.spec, c.experiments(), c.observations())


def cause(context: Context) -> str | None:
    """Why nothing more may be run when a reference has left its limits; a person says what to make of it."""
    found = charts(context)
    return None if found is None else references.cause(found, context.id)


def next_reference(context: Context) -> Experiment | None:
    """The reference measurement that is due, if one is."""
    found = charts(context)
    if found is None or not found.is_due(context.experiments()):
        return None
    references.begin_chart(found, context.ledger, context.id, context.spec, context.spent())
    detail = f"reference measurement {len(found.experiments) + 1}: has the instrument changed?"
    return context.new_experiment(
        values=dict(found.spec.values),
        purpose="reference",
        source="reference",
        candidate={"why": {"method": "reference", "detail": detail, "fallback": None, "advice": []}},
    )


def store(context: Context, experiment: Experiment, made: Observation, before: Observation | None = None) -> None:
    """Store an observation with what the charts say of its `sem`; a revision only where that is something new."""
    made, parts = references.widened(charts(context), experiment, made)
    if before is not None and not references.is_other(made, before):
        return
    if parts is not None:
        context.ledger.add_event(context.id, references.DRIFT, parts)
    context.ledger.add_observation(made)


def review(context: Context) -> None:
    """Weigh the observations since the reference before the last again, now that both ends are known."""
    from athanor.agents.observing import observation

    found = charts(context)
    if found is None:
        return
    newest = {o.experiment_id: o for o in context.observations()}
    for experiment in references.since_last(found, context.experiments()):
        before = newest.get(experiment.id)
        if before is None or before.status != "completed":
            continue
        number = before.revision_number + 1
        made = observation(context.ledger, context.profile, experiment)
        named = {"id": f"{experiment.id}/o{number}", "revision_number": number}
        store(context, experiment, made.model_copy(update=named), before)
