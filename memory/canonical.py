"""One text for one value: the form in which everything is hashed, signed and stored.

JSON with sorted keys and no spaces, floats as Python's shortest round-trip `repr`, text as itself. Beyond JSON:

- a non-finite number is `{"$float":"nan"}`, `{"$float":"inf"}` or `{"$float":"-inf"}`; a key that starts with `$` gets
  a second `$`, so that no data can be mistaken for one;
- a time is ISO 8601 in UTC with microseconds and `Z`, so that it also sorts as text;
- half a surrogate pair, which UTF-8 cannot hold, stays a `\\u` escape.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

MOST_NAMES = 4096
_NAMES: dict[str, str] = {}
_SURROGATE = re.compile("[\ud800-\udfff]")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class CanonicalError(ValueError):
    """A value has no canonical text; the message names where it stands and its type."""


def canonical(obj: Any) -> str:
    """Return the canonical text of `obj`.

    Accepts what JSON knows, tuples, times with a zone, enumerations, pydantic models, numpy scalars and arrays.

    Raises:
        CanonicalError: anything else, a naive time, or a mapping key that is not text.
    """
    text = json.dumps(_plain(obj, "$"), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def parse(text: str) -> Any:
    """Return the value of a canonical text: dicts, lists, text, numbers, True, False, None. Times stay text.

    Raises:
        CanonicalError: the text is not JSON, or it holds a bare NaN or Infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_restore, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise CanonicalError(f"not canonical text: {error}") from error


def digest(obj: Any) -> str:
    """Return the SHA-256 (hex) of the canonical text of `obj`."""
    return digest_text(canonical(obj))


def digest_text(text: str) -> str:
    """Return the SHA-256 (hex) of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def time_text(moment: datetime) -> str:
    """Return a time as ISO 8601 text in UTC with microseconds and `Z`.

    Raises:
        CanonicalError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise CanonicalError(f"the time {moment} has no zone; use datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(obj: Any, where: str) -> Any:
    if obj is None or obj is True or obj is False:
        return obj
    if isinstance(obj, Enum):
        return _plain(obj.value, where)
    if isinstance(obj, str):
        return _text(obj)
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        number = float(obj)
        if math.isfinite(number):
            return number
        return {"$float": "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"}
    if isinstance(obj, Mapping):
        return _mapping(obj, where)
    if isinstance(obj, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(obj)]
    if isinstance(obj, datetime):
        return time_text(obj)
    # Neither pydantic nor numpy is imported here: whoever has such a value has already paid for it.
    dump = getattr(obj, "model_dump", None)
    if callable(dump):
        return _plain(dump(), where)
    if type(obj).__module__.partition(".")[0] == "numpy" and hasattr(obj, "tolist"):
        return _plain(obj.tolist(), where)
    raise CanonicalError(f"{where}: {type(obj).__name__} has no canonical text")


def _mapping(obj: Mapping[Any, Any], where: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in obj.items():
        if not isinstance(key, str):
            raise CanonicalError(f"{where}: the key {key!r} is not text")
        name = _text(key)
        name = f"${name}" if name.startswith("$") else name
        if name in plain:
            raise CanonicalError(f"{where}: the key {key!r} stands twice")
        plain[name] = _plain(item, f"{where}.{key}")
    return plain


def _text(text: str) -> str:
    if not _SURROGATE.search(text):
        return str(text)
    # Two halves side by side are one character, and would come back from the text as one.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _restore(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0] == "$float":
        try:
            return _NON_FINITE[pairs[0][1]]
        except (KeyError, TypeError) as error:
            raise CanonicalError(f"unknown number {pairs[0][1]!r}") from error
    return {_name(name[1:] if name.startswith("$$") else name): item for name, item in pairs}


def _name(name: str) -> str:
    """The same object wherever a name stands: thousands of records are kept in mind with the same few names."""
    return _NAMES.setdefault(name, name) if len(_NAMES) < MOST_NAMES else _NAMES.get(name, name)


def _refuse_constant(name: str) -> Any:
    raise CanonicalError(f"bare {name} in canonical text")
