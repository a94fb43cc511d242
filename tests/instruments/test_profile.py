"""Profiles: what is written, what is refused, and where the error is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.limits import Limit
from athanor.instruments.profile import AxisSpec, Profile, ProfileError, load_profile, parse_profile

TEXT = """\
name: reactor
laboratory: snar-flow
simulated: true
title: A reactor
axes:
  temperature: {unit: degC, minimum: 30, maximum: 120, largest_step: 90, tolerance: 0.01, timeout_s: 10}
  stages: {unit: null, allowed: [2, 3, 4, 5]}
  solvent:
    allowed: [EtOH, MeCN]
detectors:
  analyser: {signals: {sty: kg/m^3/h, e_factor: null}, timeout_s: 10}
outcomes:
  sty: {signal: sty, unit: kg/m^3/h}
reduction: mean
"""


def test_a_profile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "reactor.yaml"
    path.write_text(TEXT)
    profile = load_profile(path)
    assert profile.limits() == {
        "temperature": Limit(30, 120, largest_step=90, tolerance=0.01, unit="degC"),
        "stages": Limit(allowed=(2, 3, 4, 5)),
        "solvent": Limit(allowed=("EtOH", "MeCN")),
    }
    assert profile.outcomes["sty"].unit == "kg/m^3/h"
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "detail"),
    [
        ("title:", "tittle:", 4, "tittle", "Extra inputs"),
        ("minimum: 30", "minimum: .nan", 6, "axes.temperature.minimum", "finite"),
        ("minimum: 30", "minimum: cold", 6, "axes.temperature.minimum", "number"),
        ("minimum: 30", "minimum: true", 6, "axes.temperature.minimum", "number"),
        ("minimum: 30", "minimum: 300", 6, "axes.temperature", "swap them"),
        ("minimum: 30, ", "", 6, "axes.temperature", "both minimum and maximum"),
        ("unit: degC", "allowed: [1]", 6, "axes.temperature", "keep one"),
        ("[2, 3, 4, 5]", "[2, 2]", 7, "axes.stages.allowed", "twice"),
        ("[2, 3, 4, 5]", "[]", 7, "axes.stages.allowed", "no value"),
        ("[2, 3, 4, 5]", "[2, a]", 7, "axes.stages.allowed", "mixed"),
        ("[EtOH, MeCN]", "[EtOH, true]", 9, "axes.solvent.allowed", "true and false"),
        ("signal: sty", "signal: yield", 1, "", "no detector has"),
        ("name: reactor", "name: ../reactor", 1, "name", "plain name"),
        ("reduction: mean", "name: again", 14, "", "duplicate key"),
        ("axes:", "axes: [", 7, "", "expected"),
    ],
)
def test_what_is_wrong_is_named_with_line_field_and_remedy(
    old: str, new: str, line: int, field: str, detail: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(TEXT.replace(old, new, 1), "reactor.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.field) == (line, field)
    assert detail in str(problem)
    assert problem.remedy
    assert str(problem).startswith(f"reactor.yaml:{line}: ")


def test_every_problem_is_listed() -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(TEXT.replace("title:", "tittle:").replace("minimum: 30", "minimum: x"))
    assert {problem.field for problem in caught.value.problems} == {"tittle", "axes.temperature.minimum"}


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.yaml"):
        load_profile(tmp_path / "none.yaml")


def test_two_detectors_cannot_share_a_signal() -> None:
    text = TEXT.replace("outcomes:", "  other: {signals: {sty: null}}\noutcomes:")
    with pytest.raises(ProfileError, match="rename one"):
        parse_profile(text)


@given(
    low=st.floats(-1e9, 1e9),
    width=st.floats(0, 1e9),
    step=st.none() | st.floats(1e-6, 1e6),
    tolerance=st.floats(0, 10),
    integer=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_axes_survive_the_round_trip(
    low: float, width: float, step: float | None, tolerance: float, integer: bool
) -> None:
    axis = AxisSpec(minimum=low, maximum=low + width, largest_step=step, tolerance=tolerance, integer=integer)
    assert AxisSpec.model_validate_json(axis.model_dump_json()) == axis
