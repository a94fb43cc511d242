from __future__ import annotations

import pytest

from athanor.planners import (
    Categorical,
    Continuous,
    LinearConstraint,
    Measured,
    Objective,
    OutcomeConstraint,
    Problem,
)
from athanor.planners.promising import promising
from athanor.planners.source import Source, SourcePoint
from athanor.planners.space import sobol

X, Y = Continuous("x", 0, 10), Continuous("y", -1, 1)
UP = Objective("f", "maximize")


def told(problem, function, count=40, only=("x", "y", "s")):
    points = [
        {p.name: p.from_unit(u) for p, u in zip(problem.parameters, row, strict=True)}
        for row in sobol(len(problem.parameters), count, 2).tolist()
    ]
    return Source(
        name="old",
        points=[
            SourcePoint(
                values={k: v for k, v in p.items() if k in only},
                outcomes={k: Measured(v) for k, v in function(p).items()},
            )
            for p in points
        ],
    )


def hill(p):
    return -((p["x"] - 7.0) ** 2) / 10.0 - (p["y"] + 0.4) ** 2


@pytest.mark.parametrize(
    ("objective", "function"),
    [
        (UP, hill),
        (Objective("f", "minimize"), lambda p: -hill(p)),
        (Objective("f", target=3.0), lambda p: 3.0 - hill(p)),
    ],
)
def test_it_is_the_best_there_is(objective, function):
    problem = Problem([X, Y], [objective])
    found = promising(problem, told(problem, lambda p: {"f": function(p)}), 1)
    assert found is not None
    assert found["x"] == pytest.approx(7.0, abs=0.6)
    assert found["y"] == pytest.approx(-0.4, abs=0.15)


def test_it_keeps_bounds_of_outcomes_and_of_sums():
    problem = Problem([X, Y], [UP], [OutcomeConstraint("p", upper=5.0)])
    found = promising(problem, told(problem, lambda p: {"f": hill(p), "p": p["x"]}), 1)
    assert found is not None
    assert 3.0 < found["x"] < 5.2
    problem = Problem([X, Y], [UP], [LinearConstraint({"x": 1.0, "y": 1.0}, upper=4.0)])
    found = promising(problem, told(problem, lambda p: {"f": hill(p)}), 1)
    assert found is not None
    assert problem.validate_point(found) == found


def test_categories_and_what_it_does_not_know():
    problem = Problem([X, Y, Categorical("s", ["a", "b", "c"])], [UP])

    def function(p):
        return {"f": hill(p) + {"a": 0.0, "b": 2.0, "c": -1.0}[p["s"]]}

    found = promising(problem, told(problem, function), 1)
    assert found is not None
    assert found["s"] == "b"
    partly = promising(problem, told(problem, lambda p: {"f": hill(p)}, only=("x",)), 1)
    assert partly is not None
    assert partly["x"] == pytest.approx(7.0, abs=1.0)
    assert problem.validate_point(partly) == partly


def test_a_source_without_an_objective_holds_nothing_for_best():
    problem = Problem([X, Y], [UP], [OutcomeConstraint("p", upper=5.0)])
    assert promising(problem, told(problem, lambda p: {"p": p["x"]}), 1) is None
    assert promising(problem, told(problem, lambda p: {"f": 1.0}), 1) is None  # all the same
