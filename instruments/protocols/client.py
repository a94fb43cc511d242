"""The seam between devices and control protocols: one `Client` per connection to a controller, and its typed errors.

Devices know signals, clients know how to read and write one. Importing this module loads no protocol library.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, model_validator

from athanor.instruments.laboratory import InstrumentLost

Value = float | int | str | bool
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Option = bool | int | Finite | str  # bool first: pydantic would take true for the number 1

_TRUE = frozenset({"1", "true", "on", "yes"})
_FALSE = frozenset({"0", "false", "off", "no"})


class Quality(StrEnum):
    """What the controller says about a value."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


@dataclass(frozen=True)
class Reading:
    """One value as it came over the line, unscaled.

    `timestamp` is in Unix seconds: the controller's own if the protocol carries one, otherwise the time of arrival.
    `detail` says in the controller's words why the quality is not good.
    """

    value: Value | None
    timestamp: float
    quality: Quality = Quality.GOOD
    detail: str = ""


class SignalSpec(BaseModel):
    """Where one signal lives and what it carries.

    `read` and `write` are addresses in the protocol's own terms: a PV name, a node id, a query or a command with
    `{value}`, a register, a path. Values are in `unit` after scaling: engineering = raw * scale + offset.
    `device` and `name` are for messages; whoever builds the devices fills them in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    read: str | None = None
    write: str | None = None
    type: Literal["float", "int", "str", "bool"] = "float"
    unit: str | None = None
    scale: Finite = 1.0
    offset: Finite = 0.0
    options: Mapping[str, Option] = Field(default_factory=dict)
    device: str = Field(default="", exclude=True)
    name: str = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _meaningful(self) -> SignalSpec:
        if self.read is None and self.write is None:
            raise ValueError("neither read nor write is given; give the address of one")
        if self.scale == 0:
            raise ValueError("a scale of 0 loses every value; give another")
        if self.type in ("str", "bool") and (self.scale != 1 or self.offset != 0):
            raise ValueError(f"a {self.type} cannot be scaled; remove scale and offset")
        return self

    def named(self, device: str, name: str) -> SignalSpec:
        """The same signal, with the names that errors are to use."""
        return self.model_copy(update={"device": device, "name": name})

    def address(self, doing: Literal["read", "write"]) -> str:
        """The address to read from or to write to. Raises `Refused` when the signal has none."""
        found = self.read if doing == "read" else self.write
        if found is None:
            raise Refused.on(self, f"it cannot be {'read' if doing == 'read' else 'written'}", f"give `{doing}:` there")
        return found

    def engineering(self, raw: Value) -> Value:
        """A raw value in the signal's unit."""
        if isinstance(raw, (bool, str)) or (self.scale == 1 and self.offset == 0):
            return raw
        return raw * self.scale + self.offset

    def raw(self, value: Value) -> Value:
        """A value in the signal's unit as the controller wants it; a scaled whole number is rounded to the nearest."""
        if isinstance(value, (bool, str)) or (self.scale == 1 and self.offset == 0):
            return value
        number = (value - self.offset) / self.scale
        return round(number) if self.type == "int" and math.isfinite(number) else number


class SignalError(RuntimeError):
    """Something about one signal; names the device, the signal and what would put it right."""

    def __init__(self, device: str, signal: str, detail: str, remedy: str) -> None:
        self.device = device
        self.signal = signal
        self.detail = detail
        self.remedy = remedy
        place = f"{device or 'device'}.{signal}" if signal else device or "device"
        super().__init__(f"{place}: {detail}; {remedy}")

    @classmethod
    def on(cls, spec: SignalSpec, detail: str, remedy: str) -> SignalError:
        """The error on a signal, named as it is; its address stands in for a missing name."""
        return cls(spec.device, spec.name or spec.read or spec.write or "", detail, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.device, self.signal, self.detail, self.remedy)


class NotConnected(SignalError, InstrumentLost):
    """There is no connection. Met in the middle of something, what the hardware did since is unknown."""


class TimedOut(SignalError):
    """The controller did not answer by the deadline. A write may have taken effect all the same."""


class WrongType(SignalError):
    """The value is not of the signal's type."""


class Refused(SignalError):
    """The controller, or the signal's own description, does not allow it."""


class BadQuality(SignalError):
    """There is a value that nobody may use: not a number, or of bad quality."""


class MissingLibrary(SignalError):
    """The protocol's client library is not installed."""


@runtime_checkable
class Client(Protocol):
    """One connection to one controller, used from one event loop.

    Made as `Class(address, options, name)`; making it touches neither the line nor the client library. `name` is the
    controller's, for messages. No call outlasts its `deadline_s`. Values pass unscaled. A client whose connection is
    gone connects again, within the deadline, at the next read or write.
    """

    address: str

    @property
    def is_connected(self) -> bool:
        """Whether the line is there, as far as is known; never asks over it. Called from any thread."""
        ...

    async def connect(self, deadline_s: float) -> None:
        """Open the line; nothing when it is open. Raises `NotConnected` or `MissingLibrary`."""
        ...

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a value of the signal's type. Raises `SignalError`."""
        ...

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Write; returns when the controller has accepted it. Raises `SignalError`."""
        ...

    async def close(self) -> None:
        """Close the line; never raises."""
        ...


class ClientClass(Protocol):
    """How a client is made."""

    def __call__(self, address: str, options: Mapping[str, Option], name: str) -> Client:
        """Make it. Raises `ValueError` when address or options make no sense."""
        ...


# -- what clients have in common ------------------------------------------------------------------------------------


def typed(spec: SignalSpec, value: Any) -> Value:
    """A value of the protocol's own type as one of the signal's. Raises `WrongType`.

    Numbers never come from words here and words never from numbers; a whole number may be given as a float. NaN and
    the infinities pass: it is for the device to refuse them.
    """
    if hasattr(value, "item") and getattr(value, "shape", ()) in ((), (1,)):
        value = value.item()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if spec.type == "str" and isinstance(value, str):
        return str(value)
    if spec.type == "bool" and (isinstance(value, bool) or (is_number and value in (0, 1))):
        return bool(value)
    if spec.type == "float" and is_number:
        return float(value)
    if spec.type == "int" and is_number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    raise WrongType.on(spec, f"{shown} is not a {spec.type}", "correct `type:` or the address")


def parsed(spec: SignalSpec, text: str) -> Value:
    """What a text protocol answered, as a value of the signal's type. Raises `WrongType`."""
    text = text.strip()
    if spec.type == "str":
        return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    word = text.lower()
    if spec.type == "bool" and word in _TRUE | _FALSE:
        return word in _TRUE
    if spec.type in ("float", "int"):
        try:
            return typed(spec, int(text))
        except ValueError:
            pass
        try:
            return typed(spec, float(text))
        except ValueError:
            pass
    raise WrongType.on(spec, f"{text[:80]!r} is not a {spec.type}", "correct `type:` or the address")


def printed(spec: SignalSpec, value: Value) -> str:
    """A value for a text protocol; a float with all the digits that tell it from its neighbours. Raises `WrongType`."""
    plain = typed(spec, value)
    if isinstance(plain, bool):
        return "1" if plain else "0"
    return plain if isinstance(plain, str) else repr(plain)


def library(module: str, extra: str, name: str) -> Any:
    """Import a protocol's client library; raises `MissingLibrary` naming the extra that brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            name, "", f"the library {error.name or module!r} is not installed", f"pip install 'athanor-lab[{extra}]'"
        ) from error


@asynccontextmanager
async def within(spec: SignalSpec, deadline_s: float, doing: Literal["read", "write"]) -> AsyncIterator[None]:
    """Give what stands inside so many seconds; `TimedOut` says which signal and, of a write, that it may have worked.

    The inner code must be cancellable: a library's blocking call belongs into a thread.
    """
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError as error:
        raise late(spec, deadline_s, doing) from error


def late(spec: SignalSpec, deadline_s: float, doing: Literal["read", "write"]) -> SignalError:
    """The `TimedOut` of a read or a write."""
    if doing == "read":
        return TimedOut.on(spec, f"no answer within {deadline_s:g} s", "check that the controller runs")
    return TimedOut.on(
        spec,
        f"not acknowledged within {deadline_s:g} s: it may have taken effect",
        "read it back before you write again",
    )
