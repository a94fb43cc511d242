from __future__ import annotations

import json
import subprocess
import sys

import pytest

from athanor.planners import (
    Advice,
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    InvalidPoint,
    LinearConstraint,
    Measured,
    Objective,
    Observation,
    OutcomeConstraint,
    Problem,
    hyperparameters,
    surrogate,
)
from athanor.planners.source import Source, SourcePoint
from athanor.planners.space import sobol
from athanor.planners.state import StateMismatch

from .problems import EVERYTHING, PLAIN, branin, run


def everything(values):
    score = 50 - (values["temperature"] - 70) ** 2 / 100 - 20 * (values["a"] - 0.3) ** 2 + values["cycles"] / 5
    score += {"EtOH": 0, "MeCN": 5, "water": -5}[values["solvent"]]
    return {"yield": score, "pressure": values["temperature"] / 12}


def f(values):
    return {"f": branin(values)}


def values_of(candidates):
    return [json.dumps(c.values, sort_keys=True) for c in candidates]


def test_every_kind_of_parameter_and_constraint_at_once():
    planner = BayesianPlanner(EVERYTHING, seed=2)
    candidates = run(planner, everything, 13)
    for candidate in candidates:
        assert EVERYTHING.validate_point(candidate.values) == candidate.values
    assert [c.number for c in candidates] == list(range(1, 14))
    assert candidates[0].why.method == "initial design (scrambled Sobol)"
    last = candidates[-1]
    assert set(last.predicted) == {"yield", "pressure"}
    assert last.why.method in ("qLogNEI", "qLogProbabilityOfFeasibility")
    assert last.why.fallback is None
    assert "percent" in last.why.detail
    assert last.why.detail.endswith(".")


def test_the_same_seed_gives_the_same_campaign_through_json_and_in_another_process():
    planner = BayesianPlanner(PLAIN, seed=4)
    run(planner, f, 6)
    text = planner.to_json()
    here = run(planner, f, 3)
    code = (
        "import sys, json\n"
        "from athanor.planners import BayesianPlanner, Observation\n"
        "planner = BayesianPlanner.from_json(sys.stdin.read())\n"
        "for y in json.loads(sys.argv[1]):\n"
        "    [c] = planner.suggest(1)\n"
        "    print(c.model_dump_json())\n"
        "    planner.ingest([Observation(candidate_id=c.id, values=c.values, outcomes={'f': y})])\n"
    )
    measured = json.dumps([branin(c.values) for c in here])
    done = subprocess.run(
        [sys.executable, "-c", code, measured], input=text, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [c.model_dump_json() for c in here]
    other = BayesianPlanner(PLAIN, seed=5)
    assert values_of(run(other, f, 6)) != values_of(run(BayesianPlanner(PLAIN, seed=4), f, 6))


def test_a_candidate_does_not_depend_on_the_order_of_arrival_or_on_earlier_questions():
    planner = BayesianPlanner(PLAIN, seed=1)
    run(planner, f, 7)
    planner.suggest(1, number=20)
    planner.best()
    fresh = BayesianPlanner(PLAIN, seed=1)
    fresh.ingest(list(reversed(planner.observations)))
    asked = planner.suggest(1, number=20)
    assert asked == fresh.suggest(1, number=20)
    assert asked[0].number == 20


def test_pending_points_are_respected():
    planner = BayesianPlanner(PLAIN, seed=3)
    run(planner, f, 8)
    batch = planner.suggest(4)
    assert len(set(values_of(batch))) == 4
    positions = [PLAIN.to_unit(c.values) for c in batch]
    for i, a in enumerate(positions):
        for b in positions[:i]:
            assert max(abs(u - v) for u, v in zip(a, b, strict=True)) > 1e-3
    assert [c.number for c in batch] == [9, 10, 11, 12]


def test_points_pending_elsewhere_are_respected():
    planner = BayesianPlanner(PLAIN, seed=3)
    run(planner, f, 8)
    wanted = BayesianPlanner.from_json(planner.to_json()).suggest(1)[0]
    planner.ingest([Observation(candidate_id=None, values=wanted.values, status="running")])
    assert planner.suggest(1)[0].values != wanted.values


def test_a_finite_space_is_used_up_before_a_point_is_repeated():
    problem = Problem([Integer("n", 1, 3), Categorical("s", ["a", "b"])], [Objective("f", "maximize")])
    planner = BayesianPlanner(problem, seed=0)
    candidates = run(planner, lambda v: {"f": v["n"] + (v["s"] == "b") + 0.01 * v["n"] ** 2}, 6)
    assert len(set(values_of(candidates))) == 6
    [repeated] = planner.suggest(1)
    assert "repeated" in repeated.why.fallback
    assert planner.best()[0].values == {"n": 3, "s": "b"}


def test_rejected_points_are_not_suggested_again_and_teach_nothing():
    planner = BayesianPlanner(PLAIN, seed=6)
    run(planner, f, 9)
    before = planner.surrogate().predict({"x": 0.0, "y": 5.0})
    [rejected] = planner.suggest(1)
    planner.ingest([Observation(candidate_id=rejected.id, values=rejected.values, status="rejected")])
    again = planner.suggest(3)
    refused = PLAIN.to_unit(rejected.values)
    for candidate in again:
        gap = [u - v for u, v in zip(PLAIN.to_unit(candidate.values), refused, strict=True)]
        assert max(map(abs, gap)) > 0.01
    assert planner.surrogate().predict({"x": 0.0, "y": 5.0}) == before


def test_the_planner_stops_proposing_where_the_process_fails():
    def fragile(values):
        # The optimum of the plain function lies in the failing half.
        return None if values["x"] > 4 else f(values)

    late = []
    for seed in range(3):
        planner = BayesianPlanner(PLAIN, seed=seed)
        late += [c.values["x"] > 4 for c in run(planner, fragile, 26)[14:]]
        assert planner.best()[0].values["x"] <= 4
    # By chance 40 % would fail.
    assert sum(late) <= 0.15 * len(late)


def test_failed_points_alone_do_not_stop_a_campaign():
    planner = BayesianPlanner(PLAIN, seed=0)
    candidates = run(planner, lambda v: None, 10)
    assert len(set(values_of(candidates))) == 10
    assert "no model" in candidates[-1].why.fallback
    assert planner.best() == []


def test_replicates_with_known_errors_set_the_noise():
    planner = BayesianPlanner(Problem([Continuous("x", 0, 1)], [Objective("f", "maximize")]), seed=0)
    for k in range(6):
        planner.ingest([Observation(values={"x": k / 5}, outcomes={"f": Measured(k % 2, 0.5)})])
    noisy = planner.surrogate().outcomes["f"].hyperparameters.noise
    spread = planner.surrogate().outcomes["f"].scale.spread
    assert noisy == pytest.approx([0.25 / spread**2] * 6, rel=1e-3)


def test_the_best_point_is_by_the_model_and_not_by_a_lucky_reading():
    problem = Problem([Continuous("x", 0, 1)], [Objective("f", "maximize")])
    planner = BayesianPlanner(problem, seed=0)
    for k in range(21):
        x = k / 20
        lucky = 0.3 if k == 4 else 0.02 * (-1) ** k
        planner.ingest(
            [Observation(values={"x": x}, outcomes={"f": -4 * (x - 0.7) ** 2 + (lucky if k != 4 else 0.95)})]
        )
    [best] = planner.best()
    assert best.values["x"] == pytest.approx(0.7, abs=0.15)
    assert best.candidate_id is None


def test_the_best_point_meets_its_constraints_with_their_probability():
    problem = Problem(
        [Continuous("x", 0, 1)], [Objective("f", "maximize")], [OutcomeConstraint("g", upper=0.5, probability=0.95)]
    )
    planner = BayesianPlanner(problem, seed=0)
    planner.ingest([Observation(values={"x": x / 10}, outcomes={"f": x / 10, "g": x / 10}) for x in range(11)])
    [best] = planner.best()
    assert best.values["x"] <= 0.5
    assert best.is_feasible
    assert best.probability >= 0.95
    hopeless = BayesianPlanner(problem, seed=0)
    hopeless.ingest([Observation(values={"x": x / 10}, outcomes={"f": x, "g": 2 - x / 10}) for x in range(11)])
    [best] = hopeless.best()
    assert not best.is_feasible
    assert best.values["x"] == 1.0
    assert hopeless.suggest(1, number=12)[0].why.method == "qLogProbabilityOfFeasibility"


def test_of_points_it_cannot_tell_apart_the_one_surest_to_hold_is_best():
    problem = Problem([Continuous("x", 0, 1)], [Objective("f", "maximize")], [OutcomeConstraint("g", upper=0.52)])
    rising, steep = BayesianPlanner(problem, seed=0), BayesianPlanner(problem, seed=0)
    for planner, slope in ((rising, 0.1), (steep, 10.0)):
        planner.ingest(
            [
                Observation(
                    values={"x": k / 20},
                    outcomes={"f": Measured(slope * k / 20 + 0.05 * (-1) ** k, 0.05), "g": Measured(k / 20, 0.02)},
                )
                for k in range(21)
            ]
        )
    [careful], [keen] = rising.best(), steep.best()
    probability = rising.surrogate().feasibility(rising.space.encode([{"x": 0.5}]))[0, 0]
    assert 0.9 < probability < 0.999, "half the way up is likely to hold, and no more than that"
    assert careful.probability >= 0.999
    half = rising.surrogate().predict({"x": 0.5})["f"]
    assert careful.predicted["f"].mean >= half.mean - half.sd, "it gives up no more than it cannot tell apart"
    assert keen.values["x"] > careful.values["x"], "a difference that the model sees counts"
    assert keen.probability >= 0.95


def test_advice_steers_now_is_skipped_every_second_time_and_dies_when_refuted():
    right = Advice(id="h1", kind="region", center={"x": 3.14, "y": 2.3}, width={"x": 0.1, "y": 0.1}, given_at=8)
    wrong = Advice(id="h2", kind="region", center={"x": 9.0, "y": 14.5}, width={"x": 0.03, "y": 0.03})
    planner = BayesianPlanner(PLAIN, seed=7, advice=[wrong, right])
    run(planner, f, 8)
    planner.ingest([Observation(values={"x": 9.0, "y": 14.5}, outcomes=f({"x": 9.0, "y": 14.5}))])
    [ninth, tenth] = [planner.suggest(1, number=k)[0] for k in (9, 10)]
    assert tenth.why.advice == ("none: every second suggestion goes by the data alone",)
    assert any(note.startswith("h1: used") for note in ninth.why.advice)
    assert any(note.startswith("h2: ignored") for note in ninth.why.advice)
    again = BayesianPlanner.from_json(planner.to_json())
    assert again.advice == planner.advice


def test_a_failed_fit_falls_back_and_says_so(monkeypatch):
    planner = BayesianPlanner(PLAIN, seed=0)
    run(planner, f, 8)

    def fails(*_):
        raise hyperparameters.FitFailed("not positive definite")

    monkeypatch.setattr(surrogate, "fit", fails)
    planner = BayesianPlanner.from_json(planner.to_json())
    [candidate] = planner.suggest(1)
    assert candidate.why.fallback == "fixed hyper-parameters for f (not positive definite)"
    PLAIN.validate_point(candidate.values)


def test_a_new_reading_of_a_candidate_replaces_the_old():
    planner = BayesianPlanner(PLAIN, seed=0)
    [c] = planner.suggest(1)
    for y in (1.0, 2.0):
        planner.ingest([Observation(candidate_id=c.id, values=c.values, outcomes={"f": y})])
    assert [o.outcomes["f"].mean for o in planner.observations] == [2.0]


def test_nothing_is_ingested_when_one_point_is_invalid():
    planner = BayesianPlanner(PLAIN, seed=0)
    good = Observation(values={"x": 0.0, "y": 1.0}, outcomes={"f": 1.0})
    with pytest.raises(InvalidPoint, match="above"):
        planner.ingest([good, Observation(values={"x": 0.0, "y": 99.0}, outcomes={"f": 1.0})])
    assert planner.observations == ()


@pytest.mark.parametrize("kwargs", [{"seed": -1}, {"seed": True}, {"seed": 1.5}, {"initial": 0}, {"initial": 2.5}])
def test_impossible_settings_are_refused(kwargs):
    with pytest.raises(ValueError, match="whole number"):
        BayesianPlanner(PLAIN, **kwargs)


def test_the_state_of_another_planner_is_refused():
    text = BayesianPlanner(PLAIN).to_json().replace('"planner":"bayesian"', '"planner":"sobol"')
    with pytest.raises(StateMismatch, match="sobol"):
        BayesianPlanner.from_json(text)
    newer = BayesianPlanner(PLAIN).to_json().replace('"format":1', '"format":99')
    with pytest.raises(StateMismatch, match="upgrade"):
        BayesianPlanner.from_json(newer)


def test_constant_outcomes_and_repeated_points_are_survived():
    planner = BayesianPlanner(PLAIN, seed=0)
    planner.ingest([Observation(values={"x": 1.0, "y": 1.0}, outcomes={"f": 3.0}) for _ in range(5)])
    planner.ingest([Observation(values={"x": 2.0, "y": 1.0}, outcomes={"f": 3.0})])
    [candidate] = planner.suggest(1)
    PLAIN.validate_point(candidate.values)


def test_partial_outcomes_are_used():
    problem = Problem([Continuous("x", 0, 1)], [Objective("f", "maximize"), Objective("g", "minimize")])
    planner = BayesianPlanner(problem, seed=0, initial=2)
    planner.ingest([Observation(values={"x": k / 4}, outcomes={"f": k, "g": k * k}) for k in range(4)])
    planner.ingest([Observation(values={"x": 0.9}, outcomes={"f": 3.3}, status="stopped_early")])
    [candidate] = planner.suggest(1)
    assert candidate.why.method == "qLogNEHVI"
    assert set(candidate.predicted) == {"f", "g"}


def test_a_target_is_approached():
    problem = Problem([Continuous("x", 0, 1)], [Objective("ph", target=7.0)])
    planner = BayesianPlanner(problem, seed=1)
    run(planner, lambda v: {"ph": 4 + 6 * v["x"] ** 2}, 12)
    assert planner.best()[0].predicted["ph"].mean == pytest.approx(7.0, abs=0.05)


def test_mixtures_stay_mixtures():
    names = ("a", "b", "c")
    problem = Problem(
        [Continuous(n, 0, 1) for n in names],
        [Objective("f", "maximize")],
        [LinearConstraint(dict.fromkeys(names, 1.0), equals=1.0)],
    )
    planner = BayesianPlanner(problem, seed=0)
    run(planner, lambda v: {"f": -((v["a"] - 0.62) ** 2) - (v["b"] - 0.11) ** 2}, 16)
    assert planner.best()[0].values["a"] == pytest.approx(0.62, abs=0.05)
    for observation in planner.observations:
        problem.validate_point(observation.values)


def earlier(function, count=32, name="old"):
    points = sobol(2, count, 3)
    return Source(
        name=name,
        points=[
            SourcePoint(values=v, outcomes={"f": Measured(function(v))})
            for v in (PLAIN.from_unit(row.tolist()) for row in points)
        ],
    )


def test_the_first_point_tests_earlier_data_and_a_trusted_source_ends_the_design():
    planner = BayesianPlanner(PLAIN, seed=3, initial=8, sources=[earlier(branin)])
    candidates = run(planner, f, 5)
    assert candidates[0].why.method == "test of earlier data"
    assert "tests what old holds for the best" in candidates[0].why.detail
    assert branin(candidates[0].values) < 2.0  # of 0.4 to 300
    assert [c.why.method.split(" (")[0] for c in candidates[1:3]] == ["initial design"] * 2
    assert [c.why.method for c in candidates[3:]] == ["qLogNEI"] * 2
    assert candidates[3].why.transfer[0].startswith("old: related in f, weight ")


def test_a_useless_source_does_not_end_the_design():
    planner = BayesianPlanner(PLAIN, seed=3, initial=6, sources=[earlier(lambda v: -branin(v))])
    candidates = run(planner, f, 7)
    methods = [c.why.method.split(" (")[0] for c in candidates]
    assert methods == ["test of earlier data", *["initial design"] * 5, "qLogNEI"]
    assert candidates[6].why.transfer[0].startswith("old has nothing to say about f: ignored")


def test_a_second_source_has_its_test_unless_it_says_the_same():
    other = earlier(lambda v: (v["x"] - 9.0) ** 2 + (v["y"] - 14.0) ** 2, name="other")
    candidates = run(BayesianPlanner(PLAIN, seed=3, sources=[earlier(branin), other]), f, 2)
    assert [c.why.method for c in candidates] == ["test of earlier data"] * 2
    twin = earlier(branin, name="twin")
    candidates = run(BayesianPlanner(PLAIN, seed=3, sources=[earlier(branin), twin]), f, 2)
    assert candidates[1].why.method.startswith("initial design")
    with pytest.raises(ValueError, match="two sources are called old"):
        BayesianPlanner(PLAIN, sources=[earlier(branin), earlier(branin)])


@pytest.mark.slow
def test_an_identical_source_halves_the_experiments_to_a_target():
    needed = {}
    for name, sources in (("without", []), ("with", [earlier(branin)])):
        needed[name] = 0
        for seed in range(3):
            planner = BayesianPlanner(PLAIN, seed=seed, sources=sources)
            while min([branin(o.values) for o in planner.observations], default=9.0) > 0.6:
                run(planner, f, 1)
            needed[name] += len(planner.observations)
    assert needed["with"] <= 0.5 * needed["without"]
