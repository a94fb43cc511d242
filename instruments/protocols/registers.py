"""Modbus registers: which ones an address means, and how a value lies in them."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from athanor.instruments.protocols.client import Refused, SignalSpec, Value, WrongType, typed
from athanor.instruments.protocols.fitting import bounds, flag, real, whole

INTEGERS = {
    "int16": (1, True),
    "uint16": (1, False),
    "int32": (2, True),
    "uint32": (2, False),
    "int64": (4, True),
    "uint64": (4, False),
}
REALS = {"float32": (2, ">f"), "float64": (4, ">d")}
TYPES = f"{', '.join([*INTEGERS, *REALS])}, bit0 to bit15, string1 to string240"
ADDRESS = re.compile(r"(holding|input|coil|discrete):(0x[0-9a-fA-F]+|\d+)(?::(\w+))?")


@dataclass(frozen=True)
class Register:
    """A parsed address: `count` bits of an area of bits, or words of an area of words, and what they mean."""

    area: Literal["holding", "input", "coil", "discrete"]
    number: int
    type: str
    count: int

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, address: str) -> Register:
        """Parse `AREA:NUMBER:TYPE`. Raises `ValueError` saying what to write instead."""
        match = ADDRESS.fullmatch(address.strip())
        if match is None:
            raise ValueError(f"{address!r} is no Modbus address; write AREA:NUMBER:TYPE, like holding:100:float32")
        area: Any = match[1]
        digits, kind = match[2], match[3]
        number = int(digits, 0) if digits.startswith("0x") else int(digits)
        if area in ("coil", "discrete"):
            if kind not in (None, "bool"):
                raise ValueError(f"{address!r}: a {area} is a single bit; leave {kind} out")
            kind, count = "bool", 1
        else:
            kind, count = kind or "nothing", cls._words(kind or "")
            if count == 0:
                raise ValueError(f"{address!r}: {kind} is no type of a register; use one of {TYPES}")
        if number + count > 65536:
            raise ValueError(f"{address!r}: addresses end at 65535")
        return cls(area, number, kind, count)

    @staticmethod
    def _words(kind: str) -> int:
        """How many registers a type takes; 0 when there is no such type."""
        if kind in INTEGERS:
            return INTEGERS[kind][0]
        if kind in REALS:
            return REALS[kind][0]
        if match := re.fullmatch(r"bit(\d{1,2})", kind):
            return 1 if int(match[1]) <= 15 else 0
        if match := re.fullmatch(r"string(\d{1,3})", kind):
            return (int(match[1]) + 1) // 2 if 1 <= int(match[1]) <= 240 else 0
        return 0

    @property
    def is_bit(self) -> bool:
        """Whether it lies in an area of single bits."""
        return self.area in ("coil", "discrete")

    def decode(self, answer: list[int] | list[bool], swap_words: bool, swap_bytes: bool) -> Value:
        """What the controller sent, as a number, a text or a yes or no."""
        if self.is_bit:
            return bool(answer[0])
        data = _ordered([int(word).to_bytes(2, "big") for word in answer], swap_words, swap_bytes)
        if self.type in INTEGERS:
            return int.from_bytes(data, "big", signed=INTEGERS[self.type][1])
        if self.type in REALS:
            return float(struct.unpack(REALS[self.type][1], data)[0])
        if self.type.startswith("bit"):
            return bool(int.from_bytes(data, "big") >> int(self.type[3:]) & 1)
        return data.split(b"\0", 1)[0].decode("utf-8", errors="replace").rstrip()

    def encode(self, spec: SignalSpec, value: Value, swap_words: bool, swap_bytes: bool) -> list[int] | list[bool]:
        """A value as the controller wants it. Raises `WrongType` when it does not fit, `Refused` when read only."""
        if self.area in ("discrete", "input"):
            raise Refused.on(spec, f"a register of area {self.area} is read only", "write to holding or coil")
        if self.is_bit:
            return [flag(spec, value, "a coil")]
        if self.type.startswith("bit"):
            raise Refused.on(
                spec, "one bit of a register cannot be written without its neighbours", "use a coil, or the whole word"
            )
        if self.type in INTEGERS:
            words, signed = INTEGERS[self.type]
            number = whole(spec, value, *bounds(16 * words, is_signed=signed), self.type)
            data = number.to_bytes(2 * words, "big", signed=signed)
        elif self.type in REALS:
            data = struct.pack(REALS[self.type][1], real(spec, value, self.type, single=self.type == "float32"))
        else:
            text = typed(spec, value)
            data = text.encode() if isinstance(text, str) else b""
            if not isinstance(text, str) or len(data) > int(self.type[6:]) or b"\0" in data:
                raise WrongType.on(
                    spec, f"{value!r:.80} does not fit {self.type}", "shorten it, or correct the address"
                )
            data = data.ljust(2 * self.count, b"\0")
        pairs = [data[at : at + 2] for at in range(0, len(data), 2)]
        data = _ordered(pairs, swap_words, swap_bytes)
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _ordered(words: list[bytes], swap_words: bool, swap_bytes: bool) -> bytes:
    words = words[::-1] if swap_words else words
    return b"".join(word[::-1] for word in words) if swap_bytes else b"".join(words)
