from __future__ import annotations

import asyncio
import math
import pickle
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.instruments.laboratory import InstrumentLost
from athanor.instruments.protocols.client import (
    MissingLibrary,
    NotConnected,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    WrongType,
    library,
    parsed,
    printed,
    typed,
    within,
)

FLOAT = SignalSpec(read="POS?", type="float", device="stage", name="readback")
INT = FLOAT.model_copy(update={"type": "int"})
BOOL = FLOAT.model_copy(update={"type": "bool"})
WORD = FLOAT.model_copy(update={"type": "str"})


@given(st.floats(allow_nan=False))
def test_a_double_survives_the_way_as_text(value: float) -> None:
    assert parsed(FLOAT, printed(FLOAT, value)) == value


@given(st.integers())
def test_a_whole_number_survives_the_way_as_text(value: int) -> None:
    assert parsed(INT, printed(INT, value)) == value


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        (FLOAT, " +1.5E+3\r", 1500.0),
        (FLOAT, "7", 7.0),
        (INT, "7.0", 7),
        (BOOL, "ON", True),
        (BOOL, "0", False),
        (WORD, '"two words"', "two words"),
        (WORD, "plain", "plain"),
    ],
)
def test_text_is_understood(spec: SignalSpec, text: str, value: object) -> None:
    found = parsed(spec, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("spec", "text"), [(FLOAT, "fast"), (FLOAT, ""), (INT, "1.5"), (INT, "nan"), (BOOL, "2")])
def test_text_of_another_type_is_an_error(spec: SignalSpec, text: str) -> None:
    with pytest.raises(WrongType, match=r"stage\.readback: .* is not a (float|int|bool); correct"):
        parsed(spec, text)


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        (FLOAT, 3, 3.0),
        (FLOAT, np.float32(0.5), 0.5),
        (FLOAT, np.array([2.0]), 2.0),
        (INT, 4.0, 4),
        (INT, np.int16(4), 4),
        (BOOL, 1, True),
        (BOOL, np.bool_(False), False),
        (WORD, "a", "a"),
    ],
)
def test_a_value_of_the_protocol_becomes_plain(spec: SignalSpec, value: object, expected: object) -> None:
    found = typed(spec, value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (FLOAT, "1.0"),
        (FLOAT, True),
        (FLOAT, None),
        (FLOAT, [1.0, 2.0]),
        (FLOAT, np.array([1.0, 2.0])),
        (INT, 1.5),
        (INT, math.nan),
        (BOOL, 2),
        (BOOL, "on"),
        (WORD, 1),
    ],
)
def test_a_value_of_another_type_is_an_error(spec: SignalSpec, value: object) -> None:
    with pytest.raises(WrongType):
        typed(spec, value)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_scaling_goes_both_ways(value: float, scale: float, offset: float) -> None:
    spec = SignalSpec(read="x", scale=scale, offset=offset)
    there = spec.raw(value)
    assert isinstance(there, float)
    assert spec.engineering(there) == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_without_scaling_not_a_bit_changes(value: float) -> None:
    assert FLOAT.raw(value) == value
    assert FLOAT.engineering(value) == value


def test_a_scaled_whole_number_is_the_nearest() -> None:
    assert SignalSpec(write="x", type="int", scale=0.1).raw(1.26) == 13


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"read": "x", "scale": 0.0},
        {"read": "x", "type": "str", "scale": 2.0},
        {"read": "x", "offset": math.nan},
        {"read": "x", "adress": "y"},
        {"read": "x", "type": "double"},
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SignalSpec.model_validate(fields)


def test_a_signal_without_an_address_is_named() -> None:
    with pytest.raises(Refused, match=r"stage\.readback: it cannot be written"):
        FLOAT.address("write")
    assert FLOAT.address("read") == "POS?"


def test_errors_name_device_signal_and_remedy() -> None:
    error = TimedOut.on(FLOAT, "no answer within 1 s", "check that the controller runs")
    assert str(error) == "stage.readback: no answer within 1 s; check that the controller runs"
    assert (error.device, error.signal, error.remedy) == ("stage", "readback", "check that the controller runs")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again)) == (TimedOut, str(error))


def test_only_a_lost_line_counts_as_a_lost_instrument() -> None:
    assert issubclass(NotConnected, InstrumentLost)
    assert not any(issubclass(kind, InstrumentLost) for kind in (TimedOut, WrongType, Refused, MissingLibrary))
    assert issubclass(NotConnected, SignalError)


def test_a_deadline_says_what_it_was_for() -> None:
    async def slow(doing: Literal["read", "write"]) -> None:
        async with within(FLOAT, 0.01, doing):
            await asyncio.Event().wait()

    with pytest.raises(TimedOut, match=r"stage\.readback: no answer within 0\.01 s"):
        asyncio.run(slow("read"))
    with pytest.raises(TimedOut, match="may have taken effect"):
        asyncio.run(slow("write"))


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(MissingLibrary, match=r"stage: .*no_such_library.*athanor-lab\[nothing\]"):
        library("no_such_library", "nothing", "stage")
    assert library("json", "nothing", "stage").loads("1") == 1


def test_the_seam_loads_no_protocol_library() -> None:
    script = (
        "import sys, athanor.instruments.protocols.client, athanor.instruments.protocols.wired\n"
        "heavy = {'pyvisa', 'httpx2', 'asyncua', 'pymodbus', 'p4p', 'epicscorelibs', 'ophyd_async', 'bluesky'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
