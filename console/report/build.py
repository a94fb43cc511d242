"""From the ledger to what a report says. Reads everything, changes nothing but the ledger's own note of the best."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from athanor.console import overview
from athanor.console.report import baseline, control
from athanor.console.report.data import (
    Arm,
    BestPoint,
    CallSummary,
    EvidencePoint,
    ExperimentRow,
    HandRow,
    HypothesisCard,
    Outcome,
    Progress,
    Provenance,
    ReportData,
)
from athanor.console.report.effects import effects
from athanor.planners.design_options import DesignOptions
from athanor.planners.problem import Problem

if TYPE_CHECKING:
    from athanor.console.report.data import Advantage
    from athanor.instruments.laboratory import Laboratory
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Decision, Experiment, ModelCall, Observation, Run

PACKAGES = ("athanor-lab", "bluesky", "ophyd-async", "ophyd", "botorch", "torch", "langgraph", "numpy")


def build(ledger: Ledger, campaign_id: str) -> ReportData:
    """Return everything a report on a campaign says.

    For a simulated laboratory this also runs random arms in process (seconds); nothing else is computed anew.

    Raises:
        NotFound: there is no such campaign.
    """
    from athanor.agents.campaign import best, by_hand
    from athanor.instruments import laboratory

    campaign = ledger.campaign(campaign_id)
    problem = Problem.model_validate(campaign.problem)
    lab = laboratory.load(campaign.laboratory)
    truth = getattr(lab, "truth", None) if campaign.simulated else None
    observations = overview.latest(ledger.observations(campaign_id))
    experiments = ledger.experiments(campaign_id)
    rows = _rows(ledger, campaign_id, experiments, observations, truth)
    hand = [_hand_row(item) for item in by_hand(ledger, campaign_id)]
    points = [_best_point(item, rows, hand, truth) for item in best(ledger, campaign_id)]
    points.sort(key=lambda p: -_first_score(problem, p))
    progress, advantage = _progress(problem, campaign, lab, rows, truth)
    spec = campaign.spec
    names = spec.get("laboratory", {})
    calls = ledger.model_calls(campaign_id)
    shown, model = effects(problem, campaign.seed, observations, experiments)
    return ReportData(
        campaign=campaign.id,
        name=campaign.name,
        question=campaign.question,
        state=campaign.state,
        reason=campaign.reason,
        laboratory=campaign.laboratory,
        instrument=campaign.instrument,
        instrument_title=_title(lab, campaign),
        simulated=campaign.simulated,
        options=dict(names.get("options", {})) if isinstance(names, Mapping) else {},
        autonomy=campaign.autonomy,
        planner=_planner(spec.get("planner", "bayesian")),
        reasoner=", ".join(sorted({h.proposer for h in ledger.hypotheses(campaign_id)})) or str(spec.get("reasoner")),
        problem=problem,
        replicates=int(spec.get("replicates", 1)),
        budget=int(spec["budget"]["experiments"]),
        used=sum(row.state in overview.SPENT for row in rows),
        failures=sum(row.state in ("failed", "aborted", "stopped_early", "in_doubt") for row in rows),
        created_at=campaign.created_at,
        finished_at=campaign.finished_at,
        best=points,
        progress=progress,
        advantage=advantage,
        hypotheses=hypothesis_cards(ledger, campaign_id, experiments),
        effects=shown,
        model=model,
        experiments=rows,
        historical=sum(item.source == "historical" for item in observations),
        earlier=earlier(ledger, campaign_id, problem, experiments),
        by_hand=hand,
        references=control.charts_of(ledger, campaign),
        calls=_calls(calls),
        provenance=_provenance(ledger, campaign, observations),
    )


def earlier(ledger: Ledger, campaign_id: str, problem: Problem, experiments: Sequence[Experiment]) -> list[str]:
    """Say of each source of earlier data what was read and what it had to say at the last suggestion."""
    from athanor.agents.transfer import stored, summary
    from athanor.planners.source import Source

    lines = []
    reasons = [why for e in experiments if isinstance(why := e.candidate.get("why"), Mapping) and why.get("transfer")]
    said = [str(line) for line in reasons[-1]["transfer"]] if reasons else []
    for body in stored(ledger, campaign_id):
        source = Source.model_validate(body)
        own = [line for line in said if line.startswith((f"{source.name}:", f"{source.name} "))]
        lines.append(". At the last suggestion: ".join([summary(source, problem), *(["; ".join(own)] if own else [])]))
    return lines


def _planner(asked: object) -> str:
    """Name the planner that a campaign's file asked for, a design with its options."""
    return str(DesignOptions.model_validate(asked)) if isinstance(asked, Mapping) else str(asked)


def _title(lab: Laboratory, campaign: Campaign) -> str:
    """The instrument's title, or its name: a wired instrument's profile is a file, which may have changed since."""
    from athanor.instruments.profile import ProfileError

    try:
        return lab.profile().title or campaign.instrument
    except ProfileError:
        return campaign.instrument


def _first_score(problem: Problem, point: BestPoint) -> float:
    objective = problem.objectives[0]
    value = point.measured.get(objective.name) or point.predicted.get(objective.name)
    return objective.score(value.mean) if value is not None else float("-inf")


def _rows(
    ledger: Ledger,
    campaign_id: str,
    experiments: Sequence[Experiment],
    observations: Sequence[Observation],
    truth: baseline.Truth | None,
) -> list[ExperimentRow]:
    observed = {item.experiment_id: item for item in observations if item.experiment_id}
    runs = {run.experiment_id: run for run in ledger.runs(campaign_id)}
    decisions = {decision.id: decision for decision in ledger.decisions(campaign_id)}
    hypothesis = {item.id: item.hypothesis_id for item in ledger.registrations(campaign_id)}
    rows = []
    for item in experiments:
        decision = decisions.get(item.decision_id or "")
        rows.append(_row(item, observed.get(item.id), runs.get(item.id), decision, hypothesis, truth))
    return rows


DECIDED = {"approve": "approved", "reject": "rejected", "edit": "edited", "grant": "within grant", "settle": "settled"}


def _row(
    item: Experiment,
    observation: Observation | None,
    run: Run | None,
    decision: Decision | None,
    hypothesis: Mapping[str, str],
    truth: baseline.Truth | None,
) -> ExperimentRow:
    why = item.candidate.get("why")
    reason = (observation.reason if observation else None) or item.reason
    ran = run is not None and run.stopped_at is not None
    return ExperimentRow(
        id=item.id,
        ordinal=item.ordinal,
        values=dict(item.values),
        outcomes=_outcomes(observation.outcomes) if observation else {},
        state=item.state if observation is None or item.state != "completed" else observation.status,
        reason=reason if (reason and item.state != "completed") or (observation and observation.reason) else None,
        source=item.source,
        purpose=item.purpose,
        why=str(why.get("detail") or why.get("method") or "") if isinstance(why, Mapping) else str(why or ""),
        fallback=why.get("fallback") if isinstance(why, Mapping) else None,
        decision=DECIDED[decision.kind] if decision else None,
        decided_by=decision.decided_by if decision else None,
        run=run.uid if run else None,
        started_at=run.started_at if run else None,
        seconds=(run.stopped_at - run.started_at).total_seconds() if ran and run and run.stopped_at else None,
        hypothesis=hypothesis.get(item.registration_id or ""),
        block=item.block,
        arm=item.arm,
        truth=(baseline.truth_or_nothing(truth, item.values) or None) if truth is not None else None,
    )


def _outcomes(entries: Mapping[str, Mapping[str, Any]], error: str = "sem") -> dict[str, Outcome]:
    return {name: Outcome(mean=entry["mean"], error=entry.get(error)) for name, entry in entries.items()}


def _hand_row(item: Mapping[str, Any]) -> HandRow:
    return HandRow(
        id=item["id"],
        values=item["values"],
        outcomes=_outcomes(item["outcomes"]),
        by=item["by"],
        note=item["note"] or "",
        at=item["at"],
    )


def _best_point(
    item: Mapping[str, Any],
    rows: Sequence[ExperimentRow],
    hand: Sequence[HandRow],
    truth: baseline.Truth | None,
) -> BestPoint:
    measured = _outcomes(item.get("measured") or {})
    every: list[ExperimentRow | HandRow] = [*rows, *hand]
    same = [row for row in every if row.values == item["values"] and row.outcomes]
    return BestPoint(
        experiment=same[0].id if same else None,
        values=item["values"],
        measured=measured or (same[0].outcomes if same else {}),
        predicted=_outcomes(item.get("predicted") or {}, "sd"),
        truth=(baseline.truth_or_nothing(truth, item["values"]) or None) if truth is not None else None,
        probability=item.get("probability"),
        is_feasible=bool(item.get("is_feasible", True)),
    )


def _progress(
    problem: Problem, campaign: Campaign, lab: Laboratory, rows: Sequence[ExperimentRow], truth: baseline.Truth | None
) -> tuple[Progress, Advantage | None]:
    """The merit after each experiment that used the instrument, with random arms where the truth is known."""
    spent = [row for row in rows if row.state in (*overview.SPENT, "failed")]
    marks = [_mark(row) for row in spent]
    if truth is None:
        means = [{name: outcome.mean for name, outcome in row.outcomes.items()} for row in spent]
        curve = baseline.curve(problem, means)
        words, unit, scale, _ = merit_words(problem, None)
        missing = "no randomised arm was bought, and the truth of a real instrument is not known"
        shown = [_scaled(value, scale) for value in curve]
        return Progress(merit=words, unit=unit, is_truth=False, campaign=shown, marks=marks, missing=missing), None
    reference = lab.reference() if hasattr(lab, "reference") else None
    words, unit, scale, best_possible = merit_words(problem, reference)
    failed = [row.state != "completed" for row in spent]
    curve = baseline.curve(problem, [{} if bad else row.truth or {} for row, bad in zip(spent, failed, strict=True)])
    arms = baseline.random_arms(problem, truth, len(spent), campaign.seed) if spent else []
    gained = baseline.advantage(curve, arms)
    if gained is not None and scale != 1.0:
        size = abs(scale)
        final, median = gained.campaign_final * scale, gained.median_final * scale
        gained = gained.model_copy(
            update={
                "difference": gained.difference * size,
                "low": gained.low * size,
                "high": gained.high * size,
                "campaign_final": final,
                "median_final": median,
            }
        )
    return (
        Progress(
            merit=words,
            unit=unit,
            is_truth=True,
            campaign=[_scaled(value, scale) for value in curve],
            marks=marks,
            median=[_scaled(value, scale) for value in baseline.band(arms, 0.5)] if arms else [],
            low=[_scaled(value, scale) for value in baseline.band(arms, 0.25)] if arms else [],
            high=[_scaled(value, scale) for value in baseline.band(arms, 0.75)] if arms else [],
            arms=len(arms),
            reference=best_possible,
            reference_how=f"{reference.metric}, {reference.method}." if reference is not None else None,
            missing=None if gained is not None else "most random arms found nothing that counts",
        ),
        gained,
    )


def _mark(row: ExperimentRow) -> Any:
    if row.state != "completed":
        return "failed"
    return {"confirm": "test", "operator": "operator"}.get(row.purpose, "plain")


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def merit_words(problem: Problem, reference: Any) -> tuple[str, str | None, float, float | None]:
    """Return how to name the merit, its unit, the factor that turns merit into what is shown, and the best possible."""
    if len(problem.objectives) > 1:
        if reference is not None and "hypervolume" in reference.metric and reference.value > 0:
            return "share of the reference hypervolume", None, 1.0 / reference.value, 1.0
        return "hypervolume", None, 1.0, None
    [objective] = problem.objectives
    best = reference.outcomes.get(objective.name) if reference is not None else None
    if objective.target is not None:
        return f"distance of {objective.name} to its target", objective.unit, -1.0, 0.0 if best is not None else None
    return f"best {objective.name} so far", objective.unit, 1.0 if objective.goal == "maximize" else -1.0, best


def hypothesis_cards(ledger: Ledger, campaign_id: str, experiments: Sequence[Experiment]) -> list[HypothesisCard]:
    """Every hypothesis of a campaign with its test, its evidence and its verdict."""
    registrations = {item.hypothesis_id: item for item in ledger.registrations(campaign_id)}
    cards = []
    for item in sorted(ledger.hypotheses(campaign_id), key=lambda h: h.ordinal):
        registration = registrations.get(item.id)
        body: Mapping[str, Any] = registration.body if registration else {}
        support, refute = overview.log_thresholds(body)
        carrier = registrations.get(str(body.get("carrier", item.id)))
        rows = sorted(ledger.evidence(registration_id=registration.id), key=lambda e: e.block) if registration else []
        cards.append(
            HypothesisCard(
                id=item.id,
                kind=item.kind,
                statement=item.statement,
                rationale=item.rationale,
                proposer=item.proposer,
                prior=item.prior,
                state=item.state,
                reason=item.reason,
                registered_at=registration.created_at if registration else None,
                null_support=body.get("null_support"),
                null_refute=body.get("null_refute"),
                log_threshold_support=support,
                log_threshold_refute=refute,
                cap_blocks=body.get("cap_blocks"),
                arms=[
                    Arm(arm=point["arm"], values=point["values"])
                    for point in (body.get("design") or {}).get("points", [])
                ],
                evidence=[
                    EvidencePoint(
                        block=row.block,
                        statistic=row.statistic,
                        log_e_support=row.log_e_support,
                        log_e_refute=row.log_e_refute,
                        experiments=list(row.experiments),
                    )
                    for row in rows
                ],
                runs=[e.id for e in experiments if carrier is not None and e.registration_id == carrier.id],
                body_hash=registration.body_hash if registration else None,
                is_tainted=item.tainted,
            )
        )
    return cards


def _calls(calls: Sequence[ModelCall]) -> list[CallSummary]:
    groups: dict[tuple[str, str], list[ModelCall]] = {}
    for call in calls:
        groups.setdefault((call.model, call.endpoint), []).append(call)
    summaries = []
    for (model, endpoint), group in groups.items():
        failures = Counter(call.status for call in group if call.status != "ok")
        costs = [call.cost for call in group if call.cost is not None]
        summaries.append(
            CallSummary(
                model=model,
                endpoint=endpoint,
                calls=len(group),
                failed=sum(failures.values()),
                tokens_in=sum(call.tokens_in for call in group),
                tokens_out=sum(call.tokens_out for call in group),
                cost=sum(costs) if costs else None,
                seconds=sum(call.seconds for call in group),
                failures=dict(failures),
            )
        )
    return summaries


def _provenance(ledger: Ledger, campaign: Campaign, observations: Sequence[Observation]) -> Provenance:
    from athanor.agents.observing import BY_HAND
    from athanor.memory.canonical import digest
    from athanor.memory.records import now
    from athanor.memory.verify import verify

    checked = verify(ledger)
    wrong = [problem for problem in checked.problems if problem.kind != "unanchored"]
    chains = checked.chains if isinstance(checked.chains, int) else len(checked.chains)
    journal = ledger.journal(f"campaign:{campaign.id}")
    registrations = ledger.registrations(campaign.id)
    newest = next(
        (item for item in reversed(observations) if item.source != "historical" and item.reduction != BY_HAND), None
    )
    versions = {name: metadata.version(name) for name in PACKAGES} | {"Python": platform.python_version()}
    if wrong:
        verified = f"not whole: {len(wrong)} problems, the first: {wrong[0].kind} {wrong[0].chain} row {wrong[0].seq}"
    else:
        verified = f"whole: {checked.rows} rows in {chains} chains read and all as they were written"
    return Provenance(
        versions=versions,
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {sys.implementation.name}",
        seed=campaign.seed,
        problem_hash=campaign.problem_hash,
        spec_hash=digest(campaign.spec),
        reduction=newest.reduction if newest else None,
        reduction_hash=newest.reduction_hash if newest else None,
        analysis_hash=next(
            (str(r.body.get("analysis_hash")) for r in registrations if r.body.get("analysis_hash")), None
        ),
        ledger_id=ledger.ledger_id,
        head_seq=journal[-1].seq if journal else None,
        head_hash=journal[-1].hash if journal else None,
        verified=verified,
        verified_ok=not wrong,
        made_at=now(),
    )
