"""Reading ranges with units, marking words, and what can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.console.commands import memory
from athanor.console.commands.memory import Piece, RangeError, compare, convert, marked
from athanor.console.looks import Looks
from athanor.memory.ledger import Ledger
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem
from benchmarks.large_ledger import fill
from tests.instruments.rig import new_campaign


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    made = Ledger.create(home / "ledger.db")
    yield made
    made.close()


def add(ledger: Ledger, name: str, problem: Problem, **changes: Any) -> str:
    fields = {"problem": problem.model_dump(mode="json"), "problem_hash": problem.digest(), **changes}
    return new_campaign(ledger, name, **fields).id


def hot(unit: str | None = "degC", low: float = 30.0, high: float = 90.0, **objective: Any) -> Problem:
    fields: dict[str, Any] = {"name": "gain", "goal": "maximize", "unit": "g", **objective}
    return Problem(parameters=[Continuous("heat", low, high, unit=unit)], objectives=[Objective(**fields)])


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("heat:60..70", 60.0, 70.0),
        ("heat: 60 .. 70 degC", 60.0, 70.0),
        ("heat:..70.5", None, 70.5),
        ("heat:-1e1..", -10.0, None),
        ("heat:60", 60.0, 60.0),
        ("heat:333.15..343.15 K", 60.0, 70.0),
        ("heat:140..158 degF", 60.0, 70.0),
        ("heat:..", None, None),
    ],
)
def test_ranges_in_the_campaign_s_own_unit(ledger: Ledger, text: str, low: float | None, high: float | None) -> None:
    problem = hot()
    add(ledger, "one", problem)
    [found], notes = memory.ranges(ledger, [text], [])
    assert found.bounds[problem.digest()] == (pytest.approx(low), pytest.approx(high)) and notes == []


@pytest.mark.parametrize("text", ["heat", "", ":1..2", "heat:", "heat:2..1", "heat: "])
def test_what_is_no_range_says_how_one_is_written(ledger: Ledger, text: str) -> None:
    with pytest.raises(RangeError) as told:
        memory.ranges(ledger, [text], [])
    assert "NAME:LOW..HIGH" in told.value.remedy
    with pytest.raises(RangeError, match="number"):
        memory.ranges(ledger, [], ["gain:much"])


def test_what_nothing_can_be_said_of_is_said(ledger: Ledger) -> None:
    in_celsius, in_bar, bare = hot(), hot("bar"), hot(None)
    for index, problem in enumerate((in_celsius, in_bar, bare)):
        add(ledger, f"c{index}", problem)
    [found], notes = memory.ranges(ledger, ["heat:300..400 K"], [])
    assert set(found.bounds) == {in_celsius.digest()}
    assert len(notes) == 2 and all("left out" in note for note in notes)
    [found], [note] = memory.ranges(ledger, ["heat:1..2"], [])
    assert len(found.bounds) == 3 and "different units" in note
    [found], notes = memory.ranges(ledger, ["heat:1..2 furlongs_per_moon"], [])
    assert found.bounds == {} and len(notes) == 3
    assert memory.ranges(ledger, ["cold:1..2"], [])[1] == ["no campaign has the parameter cold"]
    [found], _ = memory.ranges(ledger, ["solvent:EtOH"], [])
    assert found.level == "EtOH"


def test_units_are_converted_or_refused() -> None:
    assert convert(5.0, None, "K") == 5.0 == convert(5.0, "1", None)
    assert convert(1.0, "L", "mL") == pytest.approx(1000.0)
    for given, own in (
        ("K", "bar"),
        ("K", None),
        ("no_such_unit", "K"),
        ("(((", "K"),
        ("", "K"),
        ("K;", "K"),
        ("9**9**9**9", "K"),
        ("K**9**9**9**9", "K"),
        ("(2)^9^9^9", "m"),
        ("m" * 60, "m"),
        ("lambda", "K"),
        ("K.x", "K"),
    ):
        with pytest.raises(ValueError):
            convert(1.0, given, own)


def text_of(pieces: list[Piece]) -> str:
    return "".join(f"[{piece.text}]" if piece.is_match else piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("Raising heat raises yield", ["rais"], "[Raising] heat [raises] yield"),
        ("The sample was heated", ["heating"], "The sample was [heated]"),
        ("Wärme, wärmer", ["WÄRM"], "[Wärme], [wärmer]"),
        ("reheat", ["heat"], "reheat"),
        ("<b> & .*", ["b"], "<[b]> & .*"),
        ("a 🔥 fire", ["fire", "a"], "[a] 🔥 [fire]"),
        ("nothing", [], "nothing"),
        ("x", ["xylophone"], "x"),
    ],
)
def test_words_are_marked(text: str, words: list[str], said: str) -> None:
    pieces = marked(text, words)
    assert text_of(pieces) == said and "".join(piece.text for piece in pieces) == text


def notes_of(ledger: Ledger, *problems: Problem, **changes: Any) -> tuple[Any, str]:
    ids = [add(ledger, f"c{index}", problem, **changes) for index, problem in enumerate(problems)]
    found = compare(Looks(ledger), ids)
    return found, " | ".join(found.notes)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (hot(goal="minimize"), "wants gain small, not large"),
        (hot(goal=None, target=4.0), "wants gain at 4, not large"),
        (
            hot(unit="degC", **{}).model_copy(update={"objectives": (Objective("gain", "maximize", unit="kg"),)}),
            "in kg",
        ),
        (hot(reference=1.0), "from another reference"),
        (hot(name="loss"), "does not aim at gain; it aims at loss too"),
    ],
)
def test_different_aims_are_not_held_against_each_other(ledger: Ledger, other: Problem, why: str) -> None:
    found, notes = notes_of(ledger, hot(), other)
    assert why in notes and "cannot be held against that of c0" in notes
    assert not found.is_same_problem and found.shared == {"heat": ["degC", "degC"]}


def test_the_same_aim_with_a_caution(ledger: Ledger) -> None:
    wider = Problem(
        parameters=[Continuous("heat", 0.0, 200.0, unit="K"), Continuous("flow", 0.0, 1.0)],
        objectives=hot().objectives,
        constraints=[OutcomeConstraint("purity", lower=0.9)],
    )
    found, notes = notes_of(ledger, hot(), wider)
    for said in ("also varies flow", "another range", "feasible differs", "heat is in different units: °C, K"):
        assert said in notes
    assert "cannot be held" not in notes and list(found.shared) == ["heat"]


def test_where_nothing_is_shared(ledger: Ledger) -> None:
    cold = Problem(parameters=[Continuous("cold", 0, 1)], objectives=hot().objectives)
    _, notes = notes_of(ledger, hot(), cold)
    assert "they share no parameter" in notes
    both = Problem(parameters=hot().parameters, objectives=[Objective("a", "maximize"), Objective("b", "minimize")])
    _, notes = notes_of(Ledger.create(ledger.path.parent / "other.db"), both, both)
    assert "the best so far is shown of none" in notes


def test_measured_campaigns_have_their_curves(ledger: Ledger) -> None:
    one, two = fill(ledger, experiments=60, campaigns=2)
    looks = Looks(ledger)
    found = compare(looks, [one, two])
    assert found.is_same_problem and found.notes == [] and found.merit == "hypervolume"
    for name in (one, two):
        view, steps = looks.at(name), found.curves[name]
        used = [e for e in view.experiments if e.state in ("completed", "failed")]
        assert steps[-1] == (len(used), view.trace[-1]) and len(steps) < len(used)
        numbers, values = zip(*steps, strict=True)
        assert list(numbers) == sorted(set(numbers)) and list(values) == sorted(values)
        assert steps[0][0] == next(k for k, e in enumerate(used, 1) if e.id in view.observed)
