"""What came of an experiment that has ended: from its documents, or, where nobody saw the end, from who looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from athanor.memory.records import Decision, Experiment, Observation, Outcome

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.instruments.reductions import Reduced
    from athanor.memory.ledger import Ledger

BY_HAND = "entered by hand"
"""The reduction of an observation that a person entered: it counts for the planner, and for no registered test."""


def observation(ledger: Ledger, profile: Profile, experiment: Experiment) -> Observation:
    """Build (not store) the observation of an ended experiment.

    A person's signed settlement with outcomes comes before the documents; a completed run whose documents cannot be
    reduced, or whose settlement is not the gate's, has failed.
    """
    from athanor.instruments.reductions import ReductionFailed
    from athanor.memory.canonical import digest_text
    from athanor.memory.decisions import ForgedDecision

    outcomes: dict[str, Outcome] = {}
    status, reason, name, code = experiment.state, experiment.reason, profile.reduction, "none"
    source: Any = experiment.source if experiment.source in ("operator", "reasoner") else "planner"
    if experiment.state == "completed":
        try:
            decision, entered = settled_outcomes(ledger, experiment)
            if entered is not None and decision is not None:
                outcomes, name, code, source = entered, BY_HAND, digest_text(decision.body), "operator"
                reason = f"{BY_HAND} by {decision.decided_by}: {decision.reason}"
            else:
                reduced = reduce_run(ledger, profile, experiment)
                outcomes = {k: {"mean": mean, "sem": sem} for k, (mean, sem) in reduced.outcomes.items()}
                name, code = reduced.name, reduced.code_hash
        except ReductionFailed as error:
            status, reason = "failed", f"reduction: {error}"
        except ForgedDecision as error:
            status, reason = "failed", f"settlement: {error}"
    return Observation(
        id=f"{experiment.id}/o1",
        campaign_id=experiment.campaign_id,
        experiment_id=experiment.id,
        candidate_id=experiment.candidate.get("id"),
        values=experiment.values,
        outcomes=outcomes,
        status=status,
        reason=reason,
        source=source,
        reduction=name,
        reduction_hash=code,
    )


def reduce_run(ledger: Ledger, profile: Profile, experiment: Experiment) -> Reduced:
    """Reduce the documents that arrived of an experiment's run. Raises `ReductionFailed`."""
    from athanor.instruments.reductions import reduce
    from athanor.memory.canonical import parse

    run = ledger.run_for(experiment.id)
    documents = [(d.name, parse(d.body)) for d in ledger.documents(run.uid)] if run is not None else []
    return reduce(profile.reduction, documents, profile.outcomes)


def settled_outcomes(ledger: Ledger, experiment: Experiment) -> tuple[Decision | None, dict[str, Outcome] | None]:
    """The settlement of an experiment, if there is one, and the outcomes that a person entered with it.

    Raises:
        ForgedDecision: it holds outcomes and is not signed by the gate.
    """
    from athanor.memory import decisions, places
    from athanor.memory.signing import load_public

    found = [d for d in ledger.decisions(experiment.campaign_id) if _settles(d, experiment)]
    if not found or "outcomes" not in decisions.body_of(found[-1]):
        return (found[-1] if found else None), None
    body = decisions.check(found[-1], load_public(places.keys_dir() / "gate.pub"))
    return found[-1], {str(name): Outcome(mean=o["mean"], sem=o["sem"]) for name, o in body["outcomes"].items()}


def _settles(decision: Decision, experiment: Experiment) -> bool:
    return decision.kind == "settle" and decision.experiment_id == experiment.id
