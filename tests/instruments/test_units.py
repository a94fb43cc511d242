from __future__ import annotations

import pytest

from athanor.instruments.units import same_unit, unit_of


def test_units_are_compared_by_meaning() -> None:
    assert same_unit("kg/m^3/h", "kg/(m**3*h)")
    assert same_unit(None, "1")
    assert same_unit("", None)
    assert not same_unit("degC", "kelvin")
    assert not same_unit(None, "s")
    assert not same_unit("nonsense", "s")


@pytest.mark.parametrize("text", ["kg/m^3/h", "kg/(m**3*h)", "degC", "°C", "mol/L", "1/s", "m²", "kg m s**-2"])
def test_units_are_read(text: str) -> None:
    assert unit_of(text) is not None and same_unit(text, text)


HOSTILE = ["(((", "K;", "9**9**9**9", "K**9**9**9**9", "(2)^9^9^9", "K.x", "m" * 100, "v\x8e}Ã", "\x00", "é!"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_unit_is_said_to_be_none_at_once(text: str) -> None:
    with pytest.raises(ValueError):
        unit_of(text)
    assert not same_unit(text, "K") and not same_unit("K", text) and same_unit(text, text)
