"""The line format between a controller and its clients: one strict JSON object per line, NaN and infinity included."""

from __future__ import annotations

import json
import math
from typing import Any

LIMIT = 16 * 1024 * 1024
"""Largest line in bytes: a trace of raw shots fits, a runaway client does not."""


class WireError(ValueError):
    """A line that is not one JSON object."""


def encode(message: dict[str, Any]) -> bytes:
    """One message as a line. Non-finite numbers become {"$float": "nan" | "inf" | "-inf"}."""
    try:
        text = json.dumps(message, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_pack(message), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message in a line. Also understands the NaN and Infinity of Python's own JSON.

    Raises:
        WireError: The line is not one JSON object.
    """
    try:
        message = json.loads(line, object_hook=_unpack)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not one JSON object per line: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"a JSON object is needed, not {type(message).__name__}")
    return message


def _pack(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: dict[str, Any]) -> Any:
    if value.keys() == {"$float"} and value["$float"] in ("nan", "inf", "-inf"):
        return float(value["$float"])
    return value
