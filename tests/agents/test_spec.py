from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.agents.spec import Spec, SpecError, load, parse
from athanor.planners.problem import Categorical, Continuous, Integer, Ordinal

GOOD = """\
name: Clean SnAr
question: Which conditions make most and waste least?
laboratory: snar-flow
parameters:
  residence_time: {low: 0.5, high: 2, unit: min}
  stages: {low: 2, high: 5, integer: true}
  dose: {values: [1, 2, 5], unit: s}
  solvent: {values: [EtOH, MeCN]}
  pressure: {low: 0.001, high: 10, log: true}
objectives:
  sty: {goal: maximize, unit: kg/m^3/h, reference: 2957}
constraints:
  - {outcome: purity, lower: 0.99}
budget: {experiments: 40, wall_time: 2 h}
policy: {autonomy: auto_within_limits, expires: 30 min}
seed: 1
"""


def test_a_good_file_becomes_a_problem() -> None:
    spec = parse(GOOD)
    problem = spec.problem()
    kinds = [type(p) for p in problem.parameters]
    assert kinds == [Continuous, Integer, Ordinal, Categorical, Continuous]
    assert spec.budget.wall_time == 7200
    assert spec.policy.expires == 1800
    assert problem.outcomes == ("sty", "purity")
    assert Spec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ("low: 0.5", "lo: 0.5", 5, "parameters.residence_time", "lo"),
        ("low: 0.5", "low: .nan", 5, "parameters.residence_time.low", "finite"),
        ("low: 0.5", "low: 3", 5, "parameters.residence_time", "below high"),
        ("low: 0.001", "low: 0", 9, "parameters.pressure", "logarithmic"),
        ("[EtOH, MeCN]", "[EtOH, 3]", 8, "parameters.solvent", "all numbers or all words"),
        ("goal: maximize", "goal: maximise", 11, "objectives.sty.goal", "maximize"),
        ("lower: 0.99", "probability: 0.9", 13, "constraints.0", "lower, upper or equals"),
        ("wall_time: 2 h", "wall_time: 2 hours", 14, "budget.wall_time", "duration"),
        ("experiments: 40", "experiments: 0", 14, "budget.experiments", "greater"),
        ("auto_within_limits", "yolo", 15, "policy.autonomy", "approve_each"),
        ("seed: 1", "seed: -1", 16, "seed", "greater"),
        ("laboratory: snar-flow", "laboratory: {}", 3, "laboratory", "profile"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, line: int, field: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        parse(GOOD.replace(old, new), "file.yaml")
    problems = [p for p in caught.value.problems if p.line == line and p.field.startswith(field)]
    assert problems, caught.value
    assert words in str(caught.value)
    assert f"file.yaml:{line}:" in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    text = GOOD.replace("low: 0.5", "lo: 0.5").replace("seed: 1", "seed: x")
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert {p.line for p in caught.value.problems} >= {5, 16}


def test_missing_fields_broken_yaml_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="question: is missing"):
        parse(GOOD.replace("question", "# question"))
    with pytest.raises(SpecError, match="YAML"):
        parse("name: [unclosed")
    with pytest.raises(SpecError, match="not a mapping"):
        parse("just words")
    with pytest.raises(SpecError, match="does not exist"):
        load(tmp_path / "none.yaml")


def test_a_profile_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD.replace("laboratory: snar-flow", "laboratory: {profile: mine.yaml}"))
    assert load(tmp_path / "c.yaml").laboratory.profile == str(tmp_path / "mine.yaml")


@given(st.text())
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        parse(text)
    except SpecError as error:
        assert error.problems


def test_a_planner_may_be_a_design_with_options() -> None:
    assert parse(GOOD).planner_request() == "bayesian"
    spec = parse(GOOD + "planner: {design: full-factorial, levels: {residence_time: 3}}\n")
    assert spec.planner_request() == {"design": "full-factorial", "levels": {"residence_time": 3}}
    assert Spec.model_validate(spec.model_dump(mode="json")) == spec
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("rest", "runs"),
    [
        ("planner: latin-hypercube", 28),  # three tenths of 40 may go into tests of hypotheses
        ("planner: latin-hypercube\nreasoner: none", 40),
        ("planner: {design: d-optimal, runs: 12}", 12),
        ("planner: d-optimal\nhypotheses: {share: 0}\nreference: {values: {residence_time: 1, stages: 3, dose: 2, "
         "solvent: EtOH, pressure: 1}, every: 8, baseline: 5}", 32),
    ],
)  # fmt: skip
def test_a_design_that_needs_a_number_of_runs_has_what_the_budget_leaves(rest: str, runs: int) -> None:
    design = parse(GOOD + rest).design()
    assert design is not None and design.runs == runs


@pytest.mark.parametrize(
    ("planner", "field", "words"),
    [
        ("lhs", "planner", "use one of bayesian, sobol, random, full-factorial"),
        ("3", "planner", "no planner"),
        ("{design: lhs}", "planner.design", "latin-hypercube"),
        ("{levels: 3}", "planner.design", "is missing"),
        ("{design: d-optimal, rums: 9}", "planner.rums", "no option of a design"),
        ("{design: d-optimal, levels: 3}", "planner", "takes runs and model"),
        ("{design: full-factorial, levels: 1}", "planner.levels", "from 2 to"),
        ("{design: latin-hypercube, runs: 20000}", "planner", "more than 10,000"),
        ("{design: full-factorial, levels: 30}", "planner", "21,600 runs, more than 10,000"),
        ("{design: fractional-factorial, runs: 12}", "planner", "use 8 or 16"),
        ("{design: d-optimal, runs: 9, model: quadratic}", "planner", "20 coefficients"),
    ],
)
def test_a_wrong_design_is_named_with_its_remedy(planner: str, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(GOOD + f"planner: {planner}\n")
    [problem] = caught.value.problems
    assert problem.field == field
    assert words in problem.message
    assert problem.line == 17


def test_only_a_planner_that_takes_long_looks_ahead() -> None:
    assert parse(GOOD + "look_ahead: 1\n").look_ahead == 1
    for lines in ("planner: sobol\nlook_ahead: 1\n", "look_ahead: 1\nplanner: latin-hypercube\n"):
        with pytest.raises(SpecError, match="drop look_ahead") as caught:
            parse(GOOD + lines)
        assert caught.value.problems[0].field == "planner"
    with pytest.raises(SpecError) as caught:
        parse(GOOD + "look_ahead: 2\n")
    assert caught.value.problems[0].field == "look_ahead"


def test_a_pool_is_a_file_with_options_and_its_path_is_relative_to_the_campaign(tmp_path: Path) -> None:
    assert parse(GOOD).pool is None
    (tmp_path / "c.yaml").write_text(GOOD + "reasoner: none\npool: library.csv\n")
    spec = load(tmp_path / "c.yaml")
    assert spec.pool is not None
    assert spec.pool.file == str(tmp_path / "library.csv")
    assert (spec.pool.label, spec.pool.repeats, spec.pool.sha256) == (None, "refused", None)
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    given_ = parse(GOOD + "hypotheses: {share: 0}\npool: {file: a.csv, label: vial, repeats: allowed}\n").pool
    assert str(given_) == "a.csv, named by vial, each as often as is worth it"


@pytest.mark.parametrize(
    ("rest", "field", "words"),
    [
        ("pool: a.csv", "pool", "tested at points of their own, which a pool does not have; write reasoner: none"),
        ("reasoner: none\nplanner: full-factorial\npool: a.csv", "pool", "use planner: bayesian, sobol or random"),
        ("reasoner: none\npool: a.csv\ntransfer: [{table: old.csv}]", "pool", "drop one of them"),
        ("reasoner: none\npool: {label: vial}", "pool.file", "is missing"),
        ("reasoner: none\npool: {file: a.csv, repeats: often}", "pool.repeats", "'allowed' or 'refused'"),
        ("reasoner: none\npool: {file: a.csv, sha256: abc}", "pool.sha256", "pattern"),
    ],
)
def test_a_wrong_pool_is_named_with_its_remedy(rest: str, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(GOOD + rest + "\n")
    [problem] = caught.value.problems
    assert problem.field == field
    assert words in problem.message
    assert problem.line is not None
