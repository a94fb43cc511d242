from __future__ import annotations

from athanor.instruments.units import same_unit


def test_units_are_compared_by_meaning() -> None:
    assert same_unit("kg/m^3/h", "kg/(m**3*h)")
    assert same_unit(None, "1")
    assert not same_unit("degC", "kelvin")
    assert not same_unit(None, "s")
    assert not same_unit("nonsense", "s")
