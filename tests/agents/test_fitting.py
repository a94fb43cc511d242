from __future__ import annotations

import pytest

from athanor.agents.fitting import check, check_limits, fit, resolve
from athanor.agents.spec import SpecError, parse
from athanor.instruments.laboratory import load
from athanor.instruments.limits import LimitViolation
from athanor.instruments.profile import Profile, parse_profile

PROFILE = """\
name: bench
laboratory: snar-flow
simulated: true
axes:
  temperature: {unit: degC, minimum: 30, maximum: 120}
  stages: {allowed: [2, 3, 4]}
  free: {unit: mm}
detectors:
  meter: {signals: {sty: kg/m^3/h, purity: null}}
outcomes:
  sty: {signal: sty, unit: kg/m^3/h}
  purity: {signal: purity}
"""

SPEC = """\
name: n
question: q?
laboratory: snar-flow
parameters:
  temperature: {low: 30, high: 100, unit: degC}
  stages: {values: [2, 3]}
objectives:
  sty: {goal: maximize, unit: kg/(m**3*h)}
constraints:
  - {outcome: purity, lower: 0.9}
budget: {experiments: 10}
"""


@pytest.fixture
def profile() -> Profile:
    return parse_profile(PROFILE)


def test_a_fitting_campaign_passes(profile: Profile) -> None:
    check(parse(SPEC), profile)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("  temperature:", "  heat:", 5, "no such knob"),
        ("unit: degC", "unit: kelvin", 5, "write unit: degC"),
        ("high: 100", "high: 130", 5, "leaves the limits 30 … 120"),
        ("values: [2, 3]", "values: [2, 7]", 6, r"allows only \(2, 3, 4\)"),
        ("  sty: {goal: maximize, unit: kg/(m**3*h)}", "  gain: {goal: maximize}", 8, "does not measure"),
        ("kg/(m**3*h)", "g", 8, "not the instrument's"),
        ("outcome: purity", "outcome: colour", 10, "does not measure colour"),
        ("budget:", "stop: {target: {yield: 3}}\nbudget:", 11, "not an objective"),
    ],
)
def test_every_disagreement_is_named(profile: Profile, old: str, new: str, line: int, words: str) -> None:
    text = SPEC.replace(old, new)
    with pytest.raises(SpecError, match=words) as caught:
        check(parse(text), profile, "c.yaml", text)
    assert f"c.yaml:{line}:" in str(caught.value)


def test_limits_hold_for_everyone_and_unknown_means_refused(profile: Profile) -> None:
    check_limits(profile, {"temperature": 120.0, "stages": 4})
    for values in ({"temperature": 120.1}, {"temperature": float("nan")}, {"stages": 5}, {"free": 1.0}, {"none": 1.0}):
        with pytest.raises(LimitViolation):
            check_limits(profile, values)


def test_every_ready_campaign_fits_its_laboratory() -> None:
    from athanor.agents.spec import load as load_spec
    from athanor.instruments.laboratory import Simulated, load, names

    for name in names():
        laboratory = load(name)
        assert isinstance(laboratory, Simulated)
        spec = load_spec(laboratory.campaign_file())
        found, profile = resolve(spec)
        assert found.name == name
        check(spec, profile)


def test_an_unknown_laboratory_or_option_is_named_with_its_line() -> None:
    text = load("snar-flow").campaign_file().read_text()  # type: ignore[attr-defined]
    for old, new, told in (
        ("name: snar-flow", "name: snar-flo", "there is no laboratory 'snar-flo' (use one of: ald-window"),
        ("noise: 0.02", "nois: 0.02", "did you mean 'noise'"),
    ):
        wrong = text.replace(old, new)
        line = 1 + wrong[: wrong.index("laboratory:")].count("\n")
        with pytest.raises(SpecError) as refused:
            fit(parse(wrong), "mine.yaml", wrong)
        assert told in str(refused.value)
        assert str(refused.value).startswith(f"mine.yaml:{line}: laboratory")


def test_a_constraint_that_cannot_be_met_is_explained() -> None:
    text = load("snar-flow").campaign_file().read_text()  # type: ignore[attr-defined]
    text += "constraints: [{sum: {equivalents: 1, concentration: 1}, lower: 50}]\n"
    with pytest.raises(SpecError, match=r"the sum only reaches 1\.1\.\.5\.5"):
        fit(parse(text), "mine.yaml", text)


@pytest.mark.parametrize(
    ("entry", "line", "words"),
    [
        ("{excluded: {heat: {above: 60}}}", 12, "heat is not a parameter"),
        ("{expression: heat ** 2, upper: 60}", 12, "heat is not a parameter"),
        ("{excluded: {temperature: {above: 300}}}", 12, "temperature > 300 is never so within 30..100"),
        ("{excluded: {stages: 7}}", 12, "not one of the listed values"),
        ("{nonzero: [temperature, stages], at_most: 1}", 12, "temperature begins at 30 and is never zero"),
        ("{expression: sqrt(temperature), lower: 20}", 9, "points tried.*20 ≤ sqrt\\(temperature\\)"),
    ],
)
def test_a_constraint_on_knobs_that_does_not_fit_is_told_where_it_stands(
    profile: Profile, entry: str, line: int, words: str
) -> None:
    text = SPEC.replace("budget:", f"  - {{sum: {{temperature: 1}}, upper: 99}}\n  - {entry}\nbudget:")
    with pytest.raises(SpecError, match=words) as caught:
        check(parse(text), profile, "c.yaml", text)
    assert line in {p.line for p in caught.value.problems}, caught.value


def test_a_campaign_with_constraints_on_knobs_fits(profile: Profile) -> None:
    entry = "{excluded: {stages: 3, temperature: {above: 60}}}\n  - {expression: temperature * stages, upper: 250}"
    check(parse(SPEC.replace("budget:", f"  - {entry}\nbudget:")), profile)
