"""Reading unit texts, and whether two of them mean the same unit."""

from __future__ import annotations

import re
from typing import Any

NONE = (None, "", "1")
"""How a profile or a file says that a quantity has no unit."""
LONGEST = 60
_NO_UNIT = re.compile(r"[^\w\s°%·*/^().+\-]|[\d)]\s*(?:\*\*|\^)")
"""Signs that no unit has, and powers of numbers, which somebody could keep us computing with for ever."""


def unit_of(text: str) -> Any:
    """Return the unit that a text means, as pint has it. Safe for what anybody may have typed.

    Raises:
        ValueError: it is none.
    """
    if len(text) > LONGEST or _NO_UNIT.search(text):
        raise ValueError(f"{text[:LONGEST]!r} is no unit")
    import pint

    try:
        return pint.get_application_registry().parse_units(text)
    except Exception as error:  # whatever the reader of units makes of it, and it is not always one of its own errors
        raise ValueError(f"{text!r} is no unit: {error}") from error


def same_unit(first: str | None, second: str | None) -> bool:
    """Whether two unit texts mean the same unit (`kg/m^3/h` and `kg/(m**3*h)`; none and `1`)."""
    if first == second or (first in NONE and second in NONE):
        return True
    if first is None or second is None or first in NONE or second in NONE:
        return False
    try:
        return bool(unit_of(first) == unit_of(second))
    except ValueError:
        return False
