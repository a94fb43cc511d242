from __future__ import annotations

import pytest

from athanor.agents.spec import Spec, SpecError, parse
from athanor.planners.problem import Cardinality, Exclusion, NonlinearConstraint

FILE = """\
name: Solvents
question: Which mixture dissolves most?
laboratory: snar-flow
parameters:
  temperature: {low: 20, high: 160, unit: degC}
  solvent: {values: [DMF, EtOH]}
  a: {low: 0, high: 1}
  b: {low: 0, high: 1}
  c: {low: 0, high: 1}
objectives:
  sty: {goal: maximize}
constraints:
  - {sum: {a: 1, b: 1, c: 1}, equals: 1}
  - {excluded: {solvent: DMF, temperature: {above: 120}}}
  - {nonzero: [a, b, c], at_most: 2, threshold: 0.05}
  - {expression: "a * temperature", lower: 1, upper: 80}
budget: {experiments: 40}
"""
EXCLUDED = "{excluded: {solvent: DMF, temperature: {above: 120}}}"
NONZERO = "{nonzero: [a, b, c], at_most: 2, threshold: 0.05}"
EXPRESSION = '{expression: "a * temperature", lower: 1, upper: 80}'


def test_each_kind_becomes_a_constraint_of_the_problem() -> None:
    spec = parse(FILE)
    assert spec.problem().input_constraints == (
        Exclusion({"solvent": "DMF", "temperature": {"above": 120}}),
        Cardinality(["a", "b", "c"], at_most=2, threshold=0.05),
        NonlinearConstraint("a * temperature", lower=1, upper=80),
    )
    assert Spec.model_validate(spec.model_dump(mode="json")) == spec
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (EXCLUDED, "{excluded: {temperature: {over: 120}}}", 14, "over"),
        (EXCLUDED, "{excluded: {temperature: {above: hot}}}", 14, "valid number"),
        (EXCLUDED, "{excluded: {temperature: {}}}", 14, "give one of equals"),
        (EXCLUDED, "{excluded: {}}", 14, "at least 1"),
        (
            EXCLUDED,
            "{excluded: {solvent: DMF}, upper: 3}",
            14,
            "upper has no place beside excluded",
        ),
        (EXCLUDED, "{excluded: {solvent: DMF}, outcome: sty, lower: 3}", 14, "name one outcome"),
        (NONZERO, "{nonzero: [a, b, c]}", 15, "give at_most"),
        (NONZERO, "{nonzero: [a, b, c], at_most: 0}", 15, "greater than or equal to 1"),
        (NONZERO, "{nonzero: [a, b, c], at_most: 1, at_least: 2}", 15, "more than the 1"),
        (NONZERO, "{nonzero: [a, a], at_most: 1}", 15, "named twice"),
        (EXPRESSION, '{expression: "a ^ 2", upper: 1}', 16, "for a power"),
        (EXPRESSION, '{expression: "__import__(1)", upper: 1}', 16, "no place"),
        (EXPRESSION, '{expression: "a * b"}', 16, "give lower or upper"),
        (EXPRESSION, '{expression: "a * b", equals: 1}', 16, "equals has no place beside expression"),
        (EXPRESSION, '{expression: "a * b", lower: 1, upper: 1}', 16, "below upper"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, line: int, words: str) -> None:
    assert old in FILE
    with pytest.raises(SpecError) as caught:
        parse(FILE.replace(old, new), "file.yaml")
    assert {p.line for p in caught.value.problems} == {line}, caught.value
    assert words in str(caught.value)


def test_a_design_that_does_not_know_a_constraint_is_refused_at_the_planner() -> None:
    with pytest.raises(SpecError, match=r":18: planner: latin-hypercube does not keep excluded.*use a factorial"):
        parse(FILE + "planner: latin-hypercube\n", "file.yaml")
    assert parse(FILE + "planner: full-factorial\n").design() is not None
