"""The line format."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.sandbox.wire import WireError, decode, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_what_is_sent_arrives_on_one_line_of_strict_json(message: dict[str, Any]) -> None:
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    json.loads(line, parse_constant=pytest.fail)
    assert decode(line) == message


def test_not_a_number_arrives_too() -> None:
    assert math.isnan(decode(encode({"reading": [1.0, math.nan]}))["reading"][1])
    assert math.isnan(decode(b'{"reading": NaN}')["reading"])


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_said_so(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)
