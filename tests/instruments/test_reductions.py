"""Reductions: from documents to outcomes, and what cannot be reduced."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from athanor.instruments import reductions
from athanor.instruments.profile import OutcomeSpec
from athanor.instruments.reductions import Reduced, ReductionFailed, UnknownReduction, readings, reduce

OUTCOMES = {"sty": OutcomeSpec(signal="sty"), "waste": OutcomeSpec(signal="e_factor")}


def run(*values: tuple[Any, Any], key: str = "{}") -> list[tuple[str, dict[str, Any]]]:
    sty, waste = key.format("sty"), key.format("e_factor")
    descriptor = {
        "uid": "d",
        "name": "primary",
        "data_keys": {sty: {}, waste: {}},
        "object_keys": {"analyser": [sty, waste]},
    }
    events = [
        ("event", {"descriptor": "d", "seq_num": n, "data": {sty: a, waste: b}})
        for n, (a, b) in enumerate(values, start=1)
    ]
    return [("start", {}), ("descriptor", descriptor), *events, ("stop", {})]


@pytest.mark.parametrize("key", ["{}", "analyser-{}", "analyser_{}"])
def test_mean_and_standard_error(key: str) -> None:
    reduced = reduce("mean", run((1.0, 5), (2.0, 6), (4.0, 7), key=key), OUTCOMES)
    mean, sem = reduced.outcomes["sty"]
    assert mean == pytest.approx(7 / 3)
    assert sem == pytest.approx(statistics.stdev([1.0, 2.0, 4.0]) / math.sqrt(3))
    assert reduced.outcomes["waste"] == (6.0, pytest.approx(1 / math.sqrt(3)))
    assert isinstance(reduced, Reduced) and reduced.name == "mean" and len(reduced.code_hash) == 64


def test_one_reading_has_no_standard_error() -> None:
    assert reduce("mean", run((3.5, 1)), OUTCOMES).outcomes == {"sty": (3.5, None), "waste": (1.0, None)}


@pytest.mark.parametrize("bad", [math.nan, math.inf, "12", True, None, [1.0]])
def test_a_reading_that_is_no_finite_number_fails_the_reduction(bad: Any) -> None:
    with pytest.raises(ReductionFailed, match=r"sty: reading 2 of sty"):
        reduce("mean", run((1.0, 1), (bad, 1)), OUTCOMES)


def test_a_reading_taken_again_after_a_pause_replaces_the_first() -> None:
    documents = run((1.0, 1), (2.0, 1))
    again = ("event", {"descriptor": "d", "seq_num": 2, "data": {"sty": 8.0, "e_factor": 1}})
    documents.insert(-1, again)
    assert readings(documents, "sty") == [1.0, 8.0]


def test_event_pages_are_read_too() -> None:
    documents = run()
    page = {"descriptor": "d", "seq_num": [1, 2], "data": {"sty": [1.0, 3.0], "e_factor": [0.0, 0.0]}}
    documents.insert(-1, ("event_page", page))
    assert reduce("mean", documents, OUTCOMES).outcomes["sty"][0] == 2.0


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ReductionFailed, match="no reading"):
        reduce("mean", run(), OUTCOMES)
    with pytest.raises(ReductionFailed, match="purity"):
        reduce("mean", run((1.0, 1)), {"purity": OutcomeSpec(signal="purity")})
    with pytest.raises(UnknownReduction, match="mean"):
        reduce("nothing", run((1.0, 1)), OUTCOMES)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "gave no sty"),
        ({"sty": (math.nan, None)}, "nan"),
        ({"sty": (1.0, -1.0)}, "-1.0"),
        ({"sty": (1.0, math.inf)}, "inf"),
        (ZeroDivisionError("boom"), "ZeroDivisionError: boom"),
    ],
)
def test_a_reduction_that_misbehaves_is_a_failed_reduction(
    given: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(documents: Any, outcomes: Any) -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(reductions, "load", lambda name: bad)
    with pytest.raises(ReductionFailed, match=complaint):
        reduce("bad", run((1.0, 1)), {"sty": OutcomeSpec(signal="sty")})


def test_installed_reductions_are_found_and_hashed_apart() -> None:
    assert "mean" in reductions.names()
    assert reductions.code_hash("mean") != reductions.code_hash("assignment-fidelity")
