"""Made-up reports for the console's tests. Nothing in them was ever measured, and they say so."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from athanor.console.report.data import (
    Advantage,
    Arm,
    BestPoint,
    CallSummary,
    Effects,
    EvidencePoint,
    ExperimentRow,
    HypothesisCard,
    Outcome,
    Progress,
    Provenance,
    ReportData,
    Slice,
)
from athanor.planners.explanations import (
    Calibration,
    Explanation,
    Finding,
    Health,
    Importance,
    Interaction,
    Landscape,
    LeftOut,
    Map,
    Sensitivity,
)
from athanor.planners.problem import Categorical, Continuous, Integer, Objective, OutcomeConstraint, Problem

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CAMPAIGN = "made-up-ab12"


def made_up(*, objectives: int = 2, experiments: int = 40, seed: int = 3) -> ReportData:
    """A report full of invented numbers, with every kind of row in it."""
    dice = random.Random(seed)
    problem = Problem(
        parameters=[
            Continuous("residence_time", 0.5, 2.0, unit="min"),
            Continuous("concentration", 0.01, 1.0, unit="mol/L", log=True),
            Integer("equivalents", 1, 5),
            Categorical("solvent", ["ethanol", "acetonitrile", "water"]),
        ],
        objectives=[
            Objective("sty", goal="maximize", unit="kg/m^3/h", reference=2957),
            Objective("e_factor", goal="minimize", reference=10.7),
        ][:objectives],
        constraints=[OutcomeConstraint("pressure", upper=8.0, unit="bar")],
    )
    rows = [_row(number, dice, objectives) for number in range(1, experiments + 1)]
    measured = sorted((row for row in rows if row.outcomes), key=lambda row: -row.outcomes["sty"].mean)
    front, lowest = [], math.inf
    for row in measured:
        waste = row.outcomes.get("e_factor")
        if waste is None or waste.mean < lowest:
            front.append(row)
            lowest = -math.inf if waste is None else waste.mean
    best = [
        BestPoint(
            experiment=row.id,
            values=row.values,
            measured=row.outcomes,
            predicted={"sty": Outcome(mean=row.outcomes["sty"].mean * 0.99, error=120.0)},
            truth={name: outcome.mean * 0.985 for name, outcome in row.outcomes.items()},
            probability=0.97,
        )
        for row in front
    ]
    return ReportData(
        campaign=CAMPAIGN,
        name="Made-up numbers: fast, clean conditions",
        question="Which flow conditions make the most product per hour with the least waste?",
        state="succeeded",
        reason="the budget of 40 experiments is spent",
        laboratory="made-up",
        instrument="made-up",
        instrument_title="A made-up flow reactor",
        simulated=True,
        options={"noise": 0.02},
        autonomy="auto_within_limits",
        planner="bayesian",
        reasoner="statistical",
        problem=problem,
        replicates=2,
        budget=40,
        used=experiments,
        failures=2,
        created_at=START,
        finished_at=START + timedelta(minutes=1, seconds=48),
        best=best,
        progress=_progress(experiments, dice),
        advantage=Advantage(
            difference=0.61,
            low=0.38,
            high=0.79,
            beaten=32,
            arms=32,
            median_final=0.29,
            campaign_final=0.9,
            experiments_to_match=9,
            experiments_median=experiments,
        ),
        hypotheses=_hypotheses(),
        effects=_effects(problem),
        model=_model(problem, rows),
        experiments=rows,
        calls=[
            CallSummary(
                model="some-model",
                endpoint="http://127.0.0.1:8000/v1",
                calls=5,
                failed=1,
                tokens_in=12_400,
                tokens_out=1_900,
                cost=0.0412,
                seconds=31.0,
                failures={"timeout": 1},
            )
        ],
        provenance=Provenance(
            versions={"athanor-lab": "0.1.0", "bluesky": "1.15.0", "botorch": "0.18.0", "python": "3.11.2"},
            platform="Linux x86_64, 2 cores",
            seed=1,
            problem_hash="ab" * 32,
            spec_hash="cd" * 32,
            reduction="mean",
            reduction_hash="ef" * 32,
            analysis_hash="01" * 32,
            ledger_id="made-up-ledger",
            head_seq=812,
            head_hash="23" * 32,
            verified="812 rows in 2 chains, all as they were written",
            verified_ok=True,
            made_at=START + timedelta(minutes=2),
        ),
    )


def _row(number: int, dice: random.Random, objectives: int) -> ExperimentRow:
    quality = 1 - math.exp(-number / 12)
    sty = 1500 + 9500 * quality * dice.uniform(0.4, 1.0)
    outcomes = {
        "sty": Outcome(mean=sty, error=abs(sty) * 0.013),
        "e_factor": Outcome(mean=11 - 9 * quality * dice.uniform(0.3, 1), error=0.08),
        "pressure": Outcome(mean=dice.uniform(3, 8), error=0.05),
    }
    if objectives == 1:
        del outcomes["e_factor"]
    state, reason = "completed", None
    if number in (7, 23):
        state, reason, outcomes = "failed", "no product left the column: <b>blocked</b> line", {}
    if number == 15:
        state, reason, outcomes = "rejected", "the solvent has run out", {}
    tests = number in (18, 19, 26, 27)
    return ExperimentRow(
        id=f"{CAMPAIGN}.{number}",
        ordinal=number,
        values={
            "residence_time": round(dice.uniform(0.5, 2), 3),
            "concentration": round(10 ** dice.uniform(-2, 0), 4),
            "equivalents": dice.randint(1, 5),
            "solvent": dice.choice(["ethanol", "acetonitrile", "water"]),
        },
        outcomes=outcomes,
        state=state,
        reason=reason,
        source="operator" if number == 12 else "reasoner" if tests else "planner",
        purpose="confirm" if tests else "explore",
        why="balances a high prediction against what is still uncertain (qLogNEHVI)",
        fallback="sobol: the fit did not converge" if number == 9 else None,
        decision="rejected" if state == "rejected" else "granted",
        decided_by="made-up person",
        run=f"{dice.getrandbits(64):016x}",
        started_at=START + timedelta(seconds=2 * number),
        seconds=1.4,
        hypothesis=f"{CAMPAIGN}.H1" if tests else None,
        block=1 if number < 20 else 2,
        arm="low" if number % 2 else "high",
    )


def _progress(length: int, dice: random.Random) -> Progress:
    def climb(ceiling: float, pace: float) -> list[float | None]:
        best, values = 0.0, []
        for number in range(1, length + 1):
            best = max(best, ceiling * (1 - math.exp(-number / pace)) * dice.uniform(0.8, 1))
            values.append(best)
        return values

    marks = ["plain"] * length
    marks[6] = marks[22] = "failed"
    marks[11] = "operator"
    for number in (18, 19, 26, 27):
        marks[number - 1] = "test"
    return Progress(
        merit="share of the reference hypervolume",
        is_truth=True,
        campaign=climb(0.92, 7),
        marks=marks,
        median=climb(0.3, 18),
        low=climb(0.2, 20),
        high=climb(0.42, 15),
        arms=32,
        reference=1.0,
        reference_how="multi-start optimisation of the noise-free equations (made up)",
    )


def _hypotheses() -> list[HypothesisCard]:
    def trail(slope: float, blocks: int) -> list[EvidencePoint]:
        return [
            EvidencePoint(
                block=n,
                statistic=1.0,
                log_e_support=slope * n - (0.3 if n == 2 else 0),
                log_e_refute=-0.4 * slope * n,
                experiments=[f"{CAMPAIGN}.{2 * n}"],
            )
            for n in range(1, blocks + 1)
        ]

    common = {
        "proposer": "statistical",
        "registered_at": START + timedelta(seconds=30),
        "null_support": "E[d] ≤ 200 kg/m^3/h",
        "null_refute": "E[d] ≥ 200 kg/m^3/h",
        "log_threshold_support": math.log(64),
        "log_threshold_refute": math.log(64),
        "cap_blocks": 12,
        "arms": [
            Arm(arm="a", values={"concentration": 0.1, "equivalents": 4}),
            Arm(arm="b", values={"concentration": 0.4, "equivalents": 4}),
        ],
        "body_hash": "45" * 32,
    }
    return [
        HypothesisCard(
            id=f"{CAMPAIGN}.H1",
            kind="effect",
            statement="Raising concentration from 0.1 to 0.4 mol/L raises sty by more than 200 kg/m^3/h",
            rationale="The fitted surface climbs steeply along concentration near the best point, with little doubt.",
            prior=0.86,
            state="supported",
            reason="evidence for it reached e = 88 ≥ 64 after 5 blocks",
            evidence=trail(0.9, 5),
            runs=[f"{CAMPAIGN}.{n}" for n in (18, 19, 26, 27)],
            **common,
        ),
        HypothesisCard(
            id=f"{CAMPAIGN}.H2",
            kind="irrelevance",
            statement="Between ethanol and acetonitrile, the solvent changes e_factor by less than 0.5",
            rationale="No trend with the solvent is visible in the first twenty experiments.",
            prior=0.6,
            state="refuted",
            reason="evidence against it reached e = 71 ≥ 64 after 4 blocks",
            evidence=[
                EvidencePoint(block=n, statistic=0.9, log_e_support=-0.5 * n, log_e_refute=1.08 * n, experiments=[])
                for n in range(1, 5)
            ],
            runs=[f"{CAMPAIGN}.{n}" for n in (30, 31)],
            **common,
        ),
        HypothesisCard(
            id=f"{CAMPAIGN}.H3",
            kind="interaction",
            statement="The effect of residence time on sty depends on the number of equivalents",
            rationale="Proposed by a language model from a cited earlier campaign.",
            prior=0.4,
            state="inconclusive",
            reason="the budget is spent",
            is_tainted=True,
            **common,
        ),
    ]


def _effects(problem: Problem) -> Effects:
    base = {"residence_time": 0.9, "concentration": 0.31, "equivalents": 4, "solvent": "ethanol"}
    slices = []
    for name in [objective.name for objective in problem.objectives]:
        size = 4000 if name == "sty" else 3
        for index, parameter in enumerate(problem.parameters):
            if parameter.kind == "categorical":
                positions, spots = list(parameter.values), [0.2, 0.6, 0.4]
            else:
                spots = [k / 4 for k in range(5)] if parameter.kind == "integer" else [k / 20 for k in range(21)]
                positions = [parameter.from_unit(spot) for spot in spots]
            slices.append(
                Slice(
                    parameter=parameter.name,
                    outcome=name,
                    positions=positions,
                    mean=[6000 * (name == "sty") + size * math.sin(2.5 * spot + index) for spot in spots],
                    sd=[size * (0.06 + 0.2 * (spot - 0.5) ** 2) for spot in spots],
                    at=base[parameter.name],
                    share=0.5 / (index + 1),
                )
            )
    return Effects(slices=slices, base=base)


def _model(problem: Problem, rows: list[ExperimentRow]) -> Explanation:
    outcomes = [name for name in problem.outcomes if name in rows[0].outcomes]
    calibrations = [
        Calibration(
            outcome=name,
            unit=problem.unit(name),
            settings=12,
            r2=0.81,
            coverage_50=0.5,
            coverage_90=0.92,
            log_density=-2.0,
            constant_log_density=-3.0,
            gain=1.0,
            gain_error=0.2,
            spread=1.1,
            points=tuple(
                LeftOut(
                    place=place,
                    candidate_id=None,
                    values=row.values,
                    measured=row.outcomes[name].mean,
                    sem=row.outcomes[name].error,
                    mean=row.outcomes[name].mean * (1 + 0.03 * (place % 5 - 2)),
                    sd=abs(row.outcomes[name].mean) * 0.04,
                    residual=-4.2 if place == 8 else 0.7 * (place % 5 - 2),
                    log_density=-2.0,
                    constant_log_density=-3.0,
                    repeats=1,
                )
                for place, row in enumerate([row for row in rows if row.outcomes][:30])
            ),
        )
        for name in outcomes
    ]
    importances = [
        Importance(
            outcome=name,
            parameter=parameter.name,
            first=0.5 / (k + 1),
            first_low=0.4 / (k + 1),
            first_high=0.6 / (k + 1),
            total=None if k == 3 else 0.6 / (k + 1),
            total_low=None if k == 3 else 0.5 / (k + 1),
            total_high=None if k == 3 else 0.75 / (k + 1),
        )
        for name in outcomes
        for k, parameter in enumerate(problem.parameters)
    ]
    findings = [
        Finding(
            name="outlier",
            severity="warning",
            outcome="sty",
            seen="sty does not fit what the other measurements say: #9 read 310 kg/m^3/h where 9120 ± 400 was expected "
            "(22.0 standard deviations off).",
            means="Either the measurement went wrong, or something happens there that no other measurement shows.",
            remedy="Look at the run, and repeat the setting before you trust or discard it.",
            experiments=("#9",),
        ),
        Finding(
            name="no-better-than-mean",
            severity="serious",
            outcome="pressure",
            seen="pressure is foretold no better by the model than by the mean of all measurements.",
            means="What the model says of parameters and of new settings is no better than a guess so far.",
            remedy="Measure more settings.",
        ),
        Finding(
            name="best-on-the-edge",
            severity="note",
            outcome="sty",
            seen="The best point has the lowest residence_time that is allowed, 0.5 min.",
            means="The best setting of all may lie beyond the range.",
            remedy="If it is safe, widen the range.",
        ),
    ]
    grid = [[k / 8 for k in range(9)] for _ in range(9)]
    maps = []
    for first, second in (("residence_time", "concentration"), ("equivalents", "solvent")):
        across, up = (
            [problem.parameter(n).from_unit(k / 8) for k in range(9)]
            if problem.parameter(n).kind == "continuous"
            else list(problem.parameter(n).levels)
            for n in (first, second)
        )
        cells = [row[: len(across)] for row in grid[: len(up)]]
        maps.append(
            Map(
                first=first,
                second=second,
                first_values=across,
                second_values=up,
                mean={
                    name: tuple(tuple(900 * math.sin(3 * a) * (i + 1) for a in row) for i, row in enumerate(cells))
                    for name in outcomes
                },
                sd={
                    name: tuple(tuple(900 * a * (i + 1) for a in row) for i, row in enumerate(cells))
                    for name in outcomes
                },
                feasible=tuple(tuple(1 - a for a in row) for row in cells),
                works=tuple(tuple(0.5 + a / 2 for a in row) for row in cells),
                allowed=tuple(tuple(a + i / 8 < 1.6 for a in row) for i, row in enumerate(cells)),
            )
        )
    interaction = Interaction(
        outcome="sty", first="residence_time", second="concentration", share=0.14, low=0.06, high=0.28
    )
    return Explanation(
        health=Health(
            verdict="Do not go by the model of pressure yet. pressure is foretold no better than by the mean.",
            is_trusted=False,
            findings=(findings[1], findings[0], findings[2]),
            quiet=("few-points", "constant", "nothing-feasible", "repeats-disagree"),
        ),
        calibrations=tuple(calibrations),
        sensitivity=Sensitivity(
            is_tied=False, what="Made-up shares.", importances=tuple(importances), interactions=(interaction,)
        ),
        landscape=Landscape(
            base={"residence_time": 0.9, "concentration": 0.31, "equivalents": 4, "solvent": "ethanol"},
            maps=tuple(maps),
            feasible_share=0.21,
            likely_share=0.37,
        ),
        notes=("sty is modelled on a logarithmic scale",),
    )


@pytest.fixture
def report() -> ReportData:
    """A made-up report with two objectives."""
    return made_up()
