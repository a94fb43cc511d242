from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments import entries
from athanor.instruments.entries import EntryRefused
from athanor.instruments.station import Signal
from tests.instruments.stationing import answer, measurement, setting


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("0.83", "g/L", 0.83),
        (" 0.83 g/L ", "g/L", 0.83),
        ("1.2e3 kg/(m**3*h)", "kg/m^3/h", 1200.0),
        ("-5", None, -5.0),
        (".5", "1", 0.5),
    ],
)
def test_a_number_may_carry_its_own_unit(text: str, unit: str | None, value: float) -> None:
    assert entries.number("x", text, unit) == value


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("83 %", "entry.unit", "is in g/L, not in %"),
        ("0.83 mg/L", "entry.unit", "convert it first"),
        ("nan", "entry.not_finite", "no measurement"),
        ("-inf", "entry.not_finite", "finite"),
        ("0,83", "entry.type", "as a point"),
        ("1_000", "entry.type", "not a number"),
        ("about 3", "entry.type", "not a number"),
        ("", "entry.type", "not a number"),
    ],
)
def test_what_is_no_such_number_is_refused_with_its_reason(text: str, code: str, words: str) -> None:
    with pytest.raises(EntryRefused, match=words) as refused:
        entries.number("yield", text, "g/L")
    assert refused.value.code == code


@given(st.floats())
def test_only_a_finite_number_in_the_range_is_plausible(value: float) -> None:
    signal = Signal(unit="g/L", low=0, high=5)
    if math.isfinite(value) and 0 <= value <= 5:
        assert entries.plausible("yield", value, signal) == value
        return
    with pytest.raises(EntryRefused) as refused:
        entries.plausible("yield", value, signal)
    assert refused.value.code == ("entry.implausible" if math.isfinite(value) else "entry.not_finite")


def test_an_axis_must_stand_where_it_was_to_go() -> None:
    assert entries.reached(setting(), 449.2) == 449.2
    for value in (448.9, math.nan, "450"):
        with pytest.raises(EntryRefused):
            entries.reached(setting(), value)
    assert entries.reached(setting(value="tris", shown="tris", tolerance=0), "tris") == "tris"
    with pytest.raises(EntryRefused, match="hepes is not tris"):
        entries.reached(setting(value="tris", shown="tris", tolerance=0), "hepes")


def test_done_confirms_every_setting_and_no_measurement() -> None:
    [made] = entries.done([setting(), measurement()], "anna", "slow")
    assert (made.question, made.verb, made.by, made.note) == ("intent-1.001.furnace", "done", "anna", "slow")
    with pytest.raises(EntryRefused, match="enter yield, purity"):
        entries.done([measurement()], "anna")


def test_cannot_needs_a_reason_and_answers_everything() -> None:
    found = entries.cannot([setting(), measurement()], "no power", "anna")
    assert [one.verb for one in found] == ["cannot", "cannot"]
    with pytest.raises(EntryRefused, match="no reason"):
        entries.cannot([setting()], "  ", "anna")


def test_values_find_their_questions_by_name() -> None:
    texts = {"yield": "0.83 g/L", "purity": "0.97", "furnace": "450.9 degC"}
    first, second = entries.entered([setting(), measurement()], texts, "anna")
    assert (first.device, first.value) == ("furnace", 450.9)
    assert second.rows == ({"yield": 0.83, "purity": 0.97},)


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"yield": "0.83"}, "entry.missing"),
        ({}, "entry.missing"),
        ({"yield": "9", "purity": "1"}, "entry.implausible"),
        ({"yield": "1", "purity": "1", "colour": "2"}, "entry.unknown"),
        ({"furnace": "300"}, "entry.elsewhere"),
    ],
)
def test_of_what_does_not_count_nothing_counts(texts: dict[str, str], code: str) -> None:
    with pytest.raises(EntryRefused) as refused:
        entries.entered([setting(), measurement()], texts, "anna")
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("question", "changes", "code"),
    [
        (setting(), {"verb": "enter"}, "entry.missing"),
        (setting(), {"verb": "enter", "value": 20.0}, "entry.elsewhere"),
        (setting(), {"verb": "enter", "rows": ({"yield": 1.0},)}, "entry.type"),
        (setting(), {"verb": "cannot"}, "entry.missing"),
        (measurement(), {"verb": "done"}, "entry.missing"),
        (measurement(), {"verb": "enter"}, "entry.missing"),
        (measurement(), {"verb": "enter", "rows": ({"yield": 1.0},)}, "entry.missing"),
        (measurement(), {"verb": "enter", "rows": ({"yield": 9.0, "purity": 1.0},)}, "entry.implausible"),
        (measurement(), {"verb": "enter", "rows": ({"yield": 1.0, "purity": 1.0, "x": 1.0},)}, "entry.unknown"),
        (measurement(), {"verb": "enter", "rows": ({"yield": 1.0, "purity": 1.0},) * 3}, "entry.rows"),
    ],
)
def test_the_worker_checks_again_what_came_by_another_way(question: Any, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(EntryRefused) as refused:
        entries.check(question, answer(question, **changes))
    assert refused.value.code == code


def test_an_answer_counts_for_its_own_question_alone() -> None:
    with pytest.raises(EntryRefused, match="not intent-2"):
        entries.check(setting(id="intent-2.001.furnace"), answer(setting(), "done"))


# -- files -----------------------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "plate.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "well,yield [g/L],purity\nA1,0.83,0.97\n\nA2,0.85 g/L,0.96\n",
        "\ufeffyield;purity\n0.83;0.97\n0.85;0.96\n",
        "purity\tyield\n0.97\t0.83\n0.96\t0.85",
    ],
)
def test_a_file_is_a_row_for_each_reading(tmp_path: Path, text: str) -> None:
    [found] = entries.from_csv(write(tmp_path, text), [measurement()], "anna", "plate 3")
    assert found.rows == ({"yield": 0.83, "purity": 0.97}, {"yield": 0.85, "purity": 0.96})
    assert found.source.startswith("plate.csv sha256:")
    assert found.note == "plate 3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("well\nA1\n", "row 1: no column is called yield, purity"),
        ("yield\n1\n", "row 1: no column for purity"),
        ("yield [mg/L],purity\n1,1\n", "row 1, column yield: yield is in g/L, not in mg/L"),
        ("yield,purity\n", "0 rows below the first"),
        ("yield,purity\n1,1\n1,1\n1,1\n", "3 rows below the first, but balance takes 1 to 2 rows"),
        ("yield,purity\n1,1\n1,x\n", "row 3, column purity: purity: 'x' is not a number"),
        ("yield,purity\n1\n", "row 2, column purity: no value"),
        ("yield,purity\n7,1\n", "row 2, column yield: yield = 7 g/L lies outside the plausible 0 … 5"),
        ("yield,purity\nnan,1\n", "row 2, column yield: .*no measurement"),
        ("yield,yield,purity\n1,1,1\n", "two columns are called yield"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_by_row_and_column(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(EntryRefused, match=words) as refused:
        entries.from_csv(write(tmp_path, text), [setting(), measurement()], "anna")
    assert "plate.csv" in str(refused.value)


def test_a_file_that_is_not_there_or_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(EntryRefused, match="no such file"):
        entries.from_csv(tmp_path / "none.csv", [measurement()], "anna")
    with pytest.raises(EntryRefused, match="confirm the setting first"):
        entries.from_csv(write(tmp_path, "yield\n1\n"), [setting()], "anna")
