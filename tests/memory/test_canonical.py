from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.memory.canonical import CanonicalError, canonical, digest, parse
from athanor.memory.records import Outcome, Problem

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text() | st.sampled_from(["$float", "$$float", "$", "$x"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


def same(one: Any, other: Any) -> bool:
    """Equality that tells -0.0 from 0.0 and 1 from 1.0, and holds NaN equal to itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(values)
def test_parse_is_the_inverse(value: Any) -> None:
    text = canonical(value)
    assert same(parse(text), value)
    assert canonical(parse(text)) == text
    json.loads(text, parse_constant=pytest.fail)
    text.encode("utf-8")


@given(st.dictionaries(st.text(), st.integers(), min_size=2, max_size=6))
def test_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


@given(st.text(st.characters(codec=None, categories=["Cs", "L"])))
def test_half_characters_survive(text: str) -> None:
    encoded = canonical(text)
    encoded.encode("utf-8")
    assert canonical(parse(encoded)) == encoded


def test_known_texts() -> None:
    assert (
        canonical({"b": 1, "a": [1.0, -0.0, 1e-7, 1e22, True, None]}) == '{"a":[1.0,-0.0,1e-07,1e+22,true,null],"b":1}'
    )
    assert canonical([math.nan, math.inf, -math.inf]) == '[{"$float":"nan"},{"$float":"inf"},{"$float":"-inf"}]'
    assert canonical({"$float": "nan"}) == '{"$$float":"nan"}'
    assert canonical("größer 触媒 🜁") == '"größer 触媒 🜁"'
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert canonical(moment) == '"2026-01-02T01:04:05.000000Z"'


def test_numpy_becomes_plain() -> None:
    assert canonical(np.float64(0.1)) == "0.1"
    assert canonical(np.float32(0.5)) == "0.5"
    assert canonical(np.int64(3)) == "3"
    assert canonical(np.bool_(True)) == "true"
    assert canonical(np.array([[1.0, np.nan], [2.0, -np.inf]])) == '[[1.0,{"$float":"nan"}],[2.0,{"$float":"-inf"}]]'


def test_models_enums_and_tuples() -> None:
    class Colour(Enum):
        RED = "red"

    outcome: Outcome = {"mean": 1.0, "sem": None}
    assert canonical(Problem(hash="h", body={"z": 1, "a": (1, 2)})) == '{"body":{"a":[1,2],"z":1},"hash":"h"}'
    assert canonical({"c": Colour.RED, "o": outcome}) == '{"c":"red","o":{"mean":1.0,"sem":null}}'


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1, 2}}, b"x", object(), datetime(2026, 1, 1), [complex(1, 2)]])
def test_what_has_no_text_is_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical(value)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", '{"$float":"big"}', '{"$float":[]}'])
def test_what_is_no_canonical_text_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        parse(text)


def test_utc_is_utc() -> None:
    assert canonical(datetime(2026, 1, 1, tzinfo=UTC)) == '"2026-01-01T00:00:00.000000Z"'
