"""When a campaign ends or pauses by itself: budget, stopping rules, and signs of an instrument at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from athanor.agents.byhand import is_by_hand

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.memory.records import Experiment, Observation
    from athanor.planners.problem import Problem

FAILURES_IN_A_ROW = 8
"""So many failed runs in a row mean that something is wrong with the instrument, not with the points."""


def fault(
    experiments: Sequence[Experiment], observations: Sequence[Observation], was_excused: Callable[[datetime], bool]
) -> str | None:
    """Why the campaign should pause for a person, if it should.

    `was_excused` says whether a person resumed the campaign after a moment, having seen the pause that followed.
    """
    last = experiments[-1] if experiments else None
    if last is not None and last.state == "refused" and not was_excused(last.created_at):
        return f"the instrument refused experiment {last.id}: {last.reason}"
    failures: list[Observation] = []
    for observation in reversed(observations):
        if observation.status == "completed" and observation.outcomes:
            break
        if observation.status == "failed":
            failures.append(observation)
    if len(failures) >= FAILURES_IN_A_ROW and not was_excused(failures[0].created_at):
        return f"{len(failures)} runs failed one after the other; the last: {failures[0].reason}"
    return None


def finished(
    spec: Spec,
    problem: Problem,
    observations: Sequence[Observation],
    *,
    spent: int,
    seconds: float,
    is_settled: bool,
) -> str | None:
    """Why the campaign has come to its end, if it has.

    Args:
        spec: budget and stopping rules.
        problem: objectives and constraints.
        observations: everything observed, in order.
        spent: experiments that count towards the budget.
        seconds: wall time spent running.
        is_settled: whether every hypothesis has its verdict and no more will be asked.
    """
    if spent >= spec.budget.experiments:
        return f"the budget of {spec.budget.experiments} experiments is spent"
    if spec.budget.wall_time is not None and seconds >= spec.budget.wall_time:
        return "the wall time is spent"
    if is_target_reached(spec, problem, observations):
        return "the target is reached"
    if spec.stop.patience is not None and since_improvement(problem, observations) >= spec.stop.patience:
        return f"no improvement in the last {spec.stop.patience} experiments"
    if spec.stop.hypotheses_settled and is_settled:
        return "every hypothesis is settled"
    return None


def is_target_reached(spec: Spec, problem: Problem, observations: Sequence[Observation]) -> bool:
    """Whether some observation meets every target in the spec and every outcome constraint."""
    goals = {o.name: o for o in problem.objectives}
    for observation in observations:
        means = _means(observation)
        if not spec.stop.target or not means or not problem.is_feasible(means):
            continue
        if all(
            name in means and goals[name].score(means[name]) >= goals[name].score(value)
            for name, value in spec.stop.target.items()
        ):
            return True
    return False


def since_improvement(problem: Problem, observations: Sequence[Observation]) -> int:
    """Experiments since the best reading last improved (one objective), or since the Pareto set last grew.

    What was measured beside the campaign can improve it, but is no experiment that failed to.
    """
    best: list[list[float]] = []
    since = 0
    for observation in observations:
        since += observation.source != "historical" and not is_by_hand(observation)
        means = _means(observation)
        if not problem.is_feasible(means) or any(o.name not in means for o in problem.objectives):
            continue
        scores = [o.score(means[o.name]) for o in problem.objectives]
        if not any(all(b >= s for b, s in zip(other, scores, strict=True)) for other in best):
            best.append(scores)
            since = 0
    return since


def _means(observation: Observation) -> dict[str, float]:
    return {name: outcome["mean"] for name, outcome in observation.outcomes.items()}
