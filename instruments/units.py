"""Whether two unit texts mean the same unit."""

from __future__ import annotations

NONE = (None, "", "1")
"""How a profile or a file says that a quantity has no unit."""


def same_unit(first: str | None, second: str | None) -> bool:
    """Whether two unit texts mean the same unit (`kg/m^3/h` and `kg/(m**3*h)`; none and `1`)."""
    if first == second or (first in NONE and second in NONE):
        return True
    if first in NONE or second in NONE:
        return False
    import pint

    units = pint.get_application_registry()
    try:
        return bool(units.parse_units(first) == units.parse_units(second))
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, ValueError):
        return False
