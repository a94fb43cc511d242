from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from athanor.planners import (
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    Measured,
    Objective,
    Observation,
    OutcomeConstraint,
    Problem,
    transfer,
)
from athanor.planners import surrogate as surrogate_
from athanor.planners.hyperparameters import (
    MANY,
    SCALE_PRIOR,
    FitFailed,
    Hyperparameters,
    Posterior,
    Shape,
    correlation,
    length_prior,
)
from athanor.planners.process import Conditional, Process
from athanor.planners.source import Source, SourcePoint
from athanor.planners.source_model import MOST, SourceModel, source_model
from athanor.planners.space import Space, sobol
from athanor.planners.surrogate import Scale, build
from athanor.planners.transfer import (
    DECIDE,
    REMAINDER_PRIOR,
    SLOPE_PRIOR,
    Mixture,
    Related,
)

from .problems import PLAIN, branin, run

UNIT = Scale("plain", 0.0, 1.0)
RNG = np.random.default_rng(8)
OLD, OLD_Y = RNG.random((7, 2)), RNG.standard_normal(7)
ROWS, Y = RNG.random((6, 2)), RNG.standard_normal(6)
NEW = RNG.random((4, 2))
OWN = Hyperparameters(np.diag([1.5, 0.7]), 0.3, np.full(6, 0.01), 0.2, 0.0)
THEIRS = Hyperparameters(np.array([[2.0, 0.0], [0.5, 1.0]]), 1.2, np.full(7, 0.05), -0.4, 0.0)
MODEL = SourceModel(UNIT, Process.build(OLD, OLD_Y, [THEIRS]))
SLOPE = 0.6


def kernel(found, a, b):
    return found.scale * correlation(np.square((a[:, None] - b[None]) @ found.metric.T).sum(axis=2))[0]


def cube(count, parameters, seed=0):
    """Points spread over a problem."""
    return [
        {p.name: p.from_unit(u) for p, u in zip(parameters, row, strict=True)}
        for row in sobol(len(parameters), count, seed).tolist()
    ]


def earlier(problem, function, count=32, name="old", only=None, seed=3):
    points = cube(count, problem.parameters, seed)
    return Source(
        name=name,
        points=[
            SourcePoint(
                values={k: v for k, v in p.items() if only is None or k in only},
                outcomes={k: Measured(v) for k, v in function(p).items()},
            )
            for p in points
        ],
    )


def fitted(problem, function, sources, count=6, seed=11):
    seen = [Observation(values=p, outcomes=function(p)) for p in cube(count, problem.parameters, seed)]
    return build(problem, Space(problem), seen, sources)


def f(values):
    return {"f": branin(values)}


def test_what_is_taken_over_is_the_joint_process_of_source_and_campaign():
    draws = [OWN, OWN]
    process = Process.build(ROWS, Y, draws, Mixture((MODEL,), torch.tensor([[SLOPE], [0.0]], dtype=torch.double)))
    # Source and campaign as one Gaussian vector: old results, own results, new outcomes.
    old, both = np.concatenate([ROWS, NEW]), np.concatenate([OLD, ROWS, NEW])
    slopes = np.repeat([1.0, SLOPE, SLOPE], [7, 6, 4])
    joint = slopes[:, None] * slopes * kernel(THEIRS, both, both)
    joint[7:, 7:] += kernel(OWN, old, old)
    joint[:13, :13] += np.diag(np.concatenate([THEIRS.noise, OWN.noise]))
    mean = THEIRS.mean * slopes + np.repeat([0.0, OWN.mean], [7, 10])
    solve = joint[13:, :13] @ np.linalg.inv(joint[:13, :13])
    expected = mean[13:] + solve @ (np.concatenate([OLD_Y, Y]) - mean[:13])
    covariance = joint[13:, 13:] - solve @ joint[:13, 13:]
    means, variances = process.components(torch.as_tensor(NEW))
    assert means[0].numpy() == pytest.approx(expected, abs=1e-4)
    assert variances[0].numpy() == pytest.approx(np.diag(covariance), abs=1e-5)
    assert process.covariance(*[torch.as_tensor(NEW)] * 2)[0].numpy() == pytest.approx(covariance, abs=1e-5)
    # A draw that takes nothing over is as if there were no source.
    alone = Process.build(ROWS, Y, draws)
    assert means[1].numpy() == pytest.approx(alone.components(torch.as_tensor(NEW))[0][1].numpy(), abs=1e-6)


def test_draws_and_gradients_of_what_is_taken_over():
    process = Process.build(ROWS, Y, [OWN, OWN], Mixture((MODEL,), torch.tensor([[SLOPE], [1.4]], dtype=torch.double)))
    x = torch.as_tensor(NEW, dtype=torch.double).requires_grad_()
    assert torch.autograd.gradcheck(process.marginal, (x,), eps=1e-6, atol=1e-5)
    normals = torch.as_tensor(np.random.default_rng(0).standard_normal((20000, 6)))
    means, sds = Conditional.build(process, torch.as_tensor(ROWS), normals).marginal(torch.as_tensor(NEW))
    mean, variance = process.marginal(torch.as_tensor(NEW))
    assert means.mean(0).numpy() == pytest.approx(mean.numpy(), abs=0.02)
    assert (means.var(0) + sds.square().mean(0)).numpy() == pytest.approx(variance.numpy(), rel=0.05, abs=1e-3)


def test_the_loss_of_a_relation_is_that_of_a_dense_computation_and_has_its_gradient():
    shape = Shape(np.array([0, 1]), known=False, is_oblique=False)
    related = Related.build(0, MODEL, Posterior(shape, ROWS, Y, np.zeros(6)), UNIT)
    theta = np.array([0.3, -0.2, -1.5, -3.0, 0.4])
    x, slope = torch.as_tensor(ROWS), math.exp(theta[4])
    with torch.no_grad():
        mean, covariance = MODEL.mean(x).numpy(), MODEL.covariance(x, x).numpy()
    found = Hyperparameters(np.diag(np.exp(-theta[:2])), math.exp(theta[2]), np.zeros(6), 0.0, 0.0)
    whole = kernel(found, ROWS, ROWS) + slope**2 * covariance + (math.exp(theta[3]) + 1e-8) * np.eye(6)
    inverse, rest = np.linalg.inv(whole), Y - slope * mean
    rest = rest - (inverse @ rest).sum() / inverse.sum()
    middle, sd = length_prior(2)
    value = 0.5 * rest @ inverse @ rest + 0.5 * np.linalg.slogdet(whole)[1] + 0.5 * ((theta[3] + 6) / 2) ** 2
    value += (
        0.5 * np.square((theta[:2] - middle) / sd).sum() + 0.5 * ((theta[4] - SLOPE_PRIOR[0]) / SLOPE_PRIOR[1]) ** 2
    )
    value += 0.5 * ((theta[2] - REMAINDER_PRIOR[0]) / REMAINDER_PRIOR[1]) ** 2
    loss, gradient = related.loss(theta)
    assert loss == pytest.approx(value, rel=1e-9)
    steps = [(related.loss(theta + 1e-5 * e)[0] - related.loss(theta - 1e-5 * e)[0]) / 2e-5 for e in np.eye(5)]
    assert gradient == pytest.approx(steps, rel=1e-5, abs=1e-6)


def test_the_worth_of_a_relation_is_its_integral_over_all_hyperparameters():
    # One parameter and known noise: length, scale and slope are few enough for a grid.
    rows, old = np.linspace(0.05, 0.95, 6)[:, None], np.linspace(0.0, 1.0, 9)[:, None]
    truth = lambda x: np.sin(5.0 * x[:, 0])  # noqa: E731
    y = 1.3 * truth(rows) + 0.2 * rows[:, 0]
    theirs = Hyperparameters(np.array([[1.5]]), 1.0, np.full(9, 0.01), 0.0, 0.0)
    model = SourceModel(UNIT, Process.build(old, truth(old), [theirs]))
    alone = Posterior(Shape(np.array([0]), known=True), rows, y, np.full(6, 0.02))
    related = Related.build(0, model, alone, UNIT)
    length = length_prior(1)

    def integral(loss, priors):
        axes = [np.linspace(m - 4.0 * s, m + 4.0 * s, n) for (m, s), n in zip(priors, (15, 25, 43), strict=False)]
        grid = np.stack([g.ravel() for g in np.meshgrid(*axes)], axis=1)
        density = -np.log([s for _, s in priors]).sum() - 0.5 * len(priors) * math.log(2 * math.pi)
        cell = np.prod([axis[1] - axis[0] for axis in axes])
        return math.log(sum(math.exp(-loss(theta)[0]) for theta in grid) * cell) + density

    expected = integral(related.loss, [length, REMAINDER_PRIOR, SLOPE_PRIOR])
    expected -= integral(alone.loss, [length, SCALE_PRIOR])
    weights = [alone.proposals(alone.optima())[1], related.proposals()[1]]
    worth = [math.log(np.mean(np.exp(w))) for w in weights]
    assert expected > 1.0  # it explains them
    assert worth[1] - worth[0] == pytest.approx(expected, abs=0.15)


def test_an_identical_source_is_believed_after_a_few_points_and_predicts():
    same = earlier(PLAIN, f)
    surrogate = fitted(PLAIN, f, [same], count=4)
    [relation] = surrogate.relations
    assert relation.weight > 0.9
    assert relation.slope == pytest.approx(1.0, abs=0.1)
    assert relation.words("V").startswith("old: related in f, weight ")
    points = cube(64, PLAIN.parameters, 21)
    truth = np.array([branin(p) for p in points])
    rows = surrogate.space.encode(points)
    alone = fitted(PLAIN, f, [], count=4)
    errors = [np.abs(s.predict_rows(rows)[0][:, 0] - truth).mean() for s in (surrogate, alone)]
    assert errors[0] < 0.3 * errors[1]


def test_slope_and_shift_are_found():
    scaled = earlier(PLAIN, lambda p: {"f": 0.5 * branin(p) - 40.0})
    [relation] = fitted(PLAIN, f, [scaled], count=12).relations
    assert relation.weight > 0.9
    if relation.kind == "plain":
        assert relation.slope == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("kind", ["negated", "noise", "other"])
def test_a_useless_source_is_left_out_and_the_model_is_what_it_is_without(kind):
    rng = np.random.default_rng(2)
    functions = {
        "negated": lambda p: -branin(p),
        "noise": lambda p: float(rng.normal(50.0, 50.0)),
        "other": lambda p: 60.0 + 50.0 * math.sin(1.1 * p["x"] + 0.4) * math.cos(0.7 * p["y"]),
    }
    useless = earlier(PLAIN, lambda p: {"f": functions[kind](p)})
    surrogate, alone = (fitted(PLAIN, f, sources, count=12) for sources in ([useless], []))
    [relation] = surrogate.relations
    assert relation.slope is None
    assert "old has nothing to say about f: ignored (" in relation.words(None)
    rows = sobol(2, 16, 5)
    for ours, theirs in zip(surrogate.predict_rows(rows), alone.predict_rows(rows), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_of_several_sources_the_related_one_is_taken():
    useless = earlier(PLAIN, lambda p: {"f": -branin(p)}, name="upside down")
    good = earlier(PLAIN, f, name="good")
    relations = {r.source: r for r in fitted(PLAIN, f, [useless, good], count=8).relations}
    assert relations["good"].weight > 0.9
    assert relations["upside down"].slope is None


def test_many_related_sources_do_not_push_each_other_out():
    good = [earlier(PLAIN, f, 24, name=f"good {k}") for k in range(12)]
    surrogate = fitted(PLAIN, f, good, count=6)
    weights = [r.weight for r in surrogate.relations]
    assert sum(weights) > 0.9
    assert max(weights) < 0.1, "none by itself would be believed"
    assert all(r.slope is not None for r in surrogate.relations)
    # What twelve say with one voice is what one says.
    alone = fitted(PLAIN, f, good[:1], count=6)
    rows = sobol(2, 16, 5)
    mean, sd = alone.predict_rows(rows)
    assert (np.abs(surrogate.predict_rows(rows)[0] - mean) < sd).all()


def test_the_initial_design_goes_on_where_no_source_is_used(monkeypatch):
    planner = BayesianPlanner(PLAIN, seed=2, initial=6, sources=[earlier(PLAIN, f, name=f"{k}") for k in range(2)])
    run(planner, f, 3)
    assert planner.suggest(number=4)[0].why.method != "initial design (scrambled Sobol)"
    monkeypatch.setattr(transfer, "FLOOR", 2.0)
    again = BayesianPlanner.from_json(planner.to_json())
    assert sum(r.weight for r in again.relations()) > 0.8
    assert all(r.slope is None for r in again.relations())
    assert again.suggest(number=4)[0].why.method == "initial design (scrambled Sobol)"


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_own_results_that_are_all_equal_tell_nothing_of_a_source_in_any_unit(unit):
    small = earlier(PLAIN, lambda p: {"f": unit * branin(p)})
    surrogate, alone = (fitted(PLAIN, lambda p: {"f": 0.0}, sources) for sources in ([small], []))
    [relation] = surrogate.relations
    assert (relation.weight, relation.slope) == (0.0, None)
    assert "all own results are equal" in relation.words(None)
    rows = sobol(2, 16, 5)
    for ours, theirs in zip(surrogate.predict_rows(rows), alone.predict_rows(rows), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_where_nothing_can_be_fitted_the_sources_are_said_to_be_left_out(monkeypatch):
    def fails(*given):
        raise FitFailed("no way")

    old = earlier(PLAIN, f)
    monkeypatch.setattr(surrogate_, "fit", fails)
    found = fitted(PLAIN, f, [old])
    assert "no way" in found.fallback
    [relation] = found.relations
    assert "ignored (there is no fit of the own results)" in relation.words(None)


def test_few_and_many_own_results_decide_for_themselves():
    same = earlier(PLAIN, f)
    [relation] = fitted(PLAIN, f, [same], count=DECIDE - 1).relations
    assert "2 own results do not tell yet" in relation.words(None)
    noisy = lambda p: {"f": Measured(branin(p), 1.0)}  # noqa: E731
    seen = [Observation(values=p, outcomes=noisy(p)) for p in cube(MANY + 1, PLAIN.parameters)]
    [relation] = build(PLAIN, Space(PLAIN), seen, [same]).relations
    assert "more than 120 own results speak for themselves" in relation.words(None)


def test_what_a_source_does_not_know_is_left_to_the_remainder():
    problem = Problem([Continuous("x", -5, 10), Continuous("y", 0, 15), Continuous("z", 0, 1)], PLAIN.objectives)
    known = earlier(problem, lambda p: {"f": branin(p)}, only={"x", "y"})
    surrogate = fitted(problem, lambda p: {"f": branin(p) + 20.0 * p["z"]}, [known], count=10)
    [relation] = surrogate.relations
    assert relation.weight > 0.8
    low, high = (surrogate.predict({"x": 0.0, "y": 5.0, "z": z})["f"].mean for z in (0.0, 1.0))
    assert high - low > 5.0  # what the source cannot know was learnt here


def test_the_source_s_own_uncertainty_is_taken_over():
    # It measured one half of the range only; nothing makes it sure of the other.
    full = earlier(PLAIN, f)
    half = full.model_copy(update={"points": tuple(p for p in full.points if p.values["x"] < 2.0)})
    sure, unsure = (fitted(PLAIN, f, [source], count=6) for source in (full, half))
    assert min(sure.relations[0].weight, unsure.relations[0].weight) > 0.5
    there = {"x": 8.0, "y": 12.0}
    assert unsure.predict(there)["f"].sd > 2.0 * sure.predict(there)["f"].sd


MIXED = Problem(
    [Continuous("x", 0, 1), Integer("n", 1, 9), Categorical("s", ["a", "b", "c"])],
    [Objective("f", "maximize")],
    [OutcomeConstraint("p", upper=1.0, probability=0.9)],
)


def mixed(values):
    """Best without the constraint at x = 0.8, n = 9, s = b; within it n is at most 5."""
    gain = -4.0 * (values["x"] - 0.8) ** 2 + 0.2 * values["n"] + {"a": 0.0, "b": 1.0, "c": -1.0}[values["s"]]
    return {"f": gain, "p": 0.19 * values["n"] + 0.05 * values["x"]}


def test_mixed_parameters_and_outcome_constraints():
    old = earlier(MIXED, lambda p: {"f": 0.8 * mixed(p)["f"] + 3.0, "p": mixed(p)["p"]}, count=40)
    planner = BayesianPlanner(MIXED, seed=1, sources=[old])
    candidates = run(planner, mixed, 7)
    assert all(MIXED.validate_point(c.values) == c.values for c in candidates)
    assert {r.outcome: r.weight > 0.8 for r in planner.relations()} == {"f": True, "p": True}
    [best] = planner.best()
    assert best.is_feasible
    assert best.values["s"] == "b"
    assert mixed(best.values)["p"] <= 1.0
    optimum = mixed({"x": 0.8, "n": 5, "s": "b"})["f"]
    assert optimum - mixed(best.values)["f"] < 0.25


def test_a_wrong_constraint_of_a_source_does_not_survive_own_results():
    old = earlier(MIXED, lambda p: {"f": mixed(p)["f"], "p": 2.0 - mixed(p)["p"]}, count=40)
    surrogate = fitted(MIXED, mixed, [old], count=10)
    relations = {r.outcome: r for r in surrogate.relations}
    assert relations["f"].weight > 0.8
    assert relations["p"].slope is None


def test_a_long_table_is_thinned_and_keeps_its_extremes():
    points = cube(MOST + 100, PLAIN.parameters)
    source = Source(name="long", points=[SourcePoint(values=p, outcomes={"f": Measured(branin(p))}) for p in points])
    y = np.array([branin(p) for p in points])
    scale = Scale("plain", float(y.mean()), float(y.std()))
    model = source_model(PLAIN.model_dump_json(), source.model_dump_json(), "f", scale)
    assert model is not None
    assert model.process.rows.shape == (MOST, 2)
    kept = {tuple(row) for row in model.process.rows.numpy().tolist()}
    rows = Space(PLAIN).encode(points)
    assert tuple(rows[y.argmin()].tolist()) in kept
    assert tuple(rows[y.argmax()].tolist()) in kept


def test_state_goes_through_json_with_its_sources_and_nothing_is_there_without():
    planner = BayesianPlanner(PLAIN, seed=4, sources=[earlier(PLAIN, f, 20)])
    run(planner, f, 4)
    again = BayesianPlanner.from_json(planner.to_json())
    assert again.to_json() == planner.to_json()
    assert [c.model_dump_json() for c in run(again, f, 2)] == [c.model_dump_json() for c in run(planner, f, 2)]
    bare = BayesianPlanner(PLAIN, seed=4)
    [candidate] = bare.suggest()
    assert "sources" not in json.loads(bare.to_json())
    assert "transfer" not in json.loads(candidate.model_dump_json())["why"]
