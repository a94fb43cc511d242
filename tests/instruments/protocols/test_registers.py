from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments.protocols.client import SignalSpec
from athanor.instruments.protocols.fitting import bounds
from athanor.instruments.protocols.registers import INTEGERS, Register


def signal(type: Any = "float") -> SignalSpec:
    return SignalSpec(write="holding:0:int16", type=type).named("oven", "value")


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.booleans())
def test_a_double_survives_its_registers(number: float, swap_words: bool, swap_bytes: bool) -> None:
    register = Register.parse("holding:0:float64")
    back = register.decode(register.encode(signal(), number, swap_words, swap_bytes), swap_words, swap_bytes)
    assert struct.pack(">d", back) == struct.pack(">d", number)  # also the sign of zero


@given(st.data(), st.sampled_from(sorted(INTEGERS)), st.booleans(), st.booleans())
def test_an_integer_survives_its_registers(data: Any, kind: str, swap_words: bool, swap_bytes: bool) -> None:
    count, is_signed = INTEGERS[kind]
    number = data.draw(st.integers(*bounds(16 * count, is_signed=is_signed)))
    register = Register.parse(f"holding:0:{kind}")
    sent = register.encode(signal("int"), number, swap_words, swap_bytes)
    assert len(sent) == count
    assert all(0 <= word <= 0xFFFF for word in sent)
    assert register.decode(sent, swap_words, swap_bytes) == number


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), max_size=10))
def test_a_text_survives_its_registers(text: str) -> None:
    register = Register.parse("holding:0:string40")
    assert register.decode(register.encode(signal("str"), text, False, False), False, False) == text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("holding:100:float32", ("holding", 100, "float32", 2)),
        ("input:0x10:uint16", ("input", 16, "uint16", 1)),
        ("coil:7", ("coil", 7, "bool", 1)),
        ("discrete:3:bool", ("discrete", 3, "bool", 1)),
        ("holding:65535:bit15", ("holding", 65535, "bit15", 1)),
        ("holding:200:string7", ("holding", 200, "string7", 4)),
    ],
)
def test_an_address_says_what_and_where(address: str, expected: tuple[str, int, str, int]) -> None:
    found = Register.parse(address)
    assert (found.area, found.number, found.type, found.count) == expected


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("40101", "AREA:NUMBER:TYPE"),
        ("register:1:int16", "AREA:NUMBER:TYPE"),
        ("holding:-1:int16", "AREA:NUMBER:TYPE"),
        ("holding:1", "float64"),
        ("holding:1:float16", "float16"),
        ("holding:1:bit16", "bit16"),
        ("holding:1:string0", "string0"),
        ("holding:65535:float32", "65535"),
        ("coil:1:int16", "leave int16 out"),
    ],
)
def test_an_address_that_makes_no_sense_says_what_does(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Register.parse(address)
