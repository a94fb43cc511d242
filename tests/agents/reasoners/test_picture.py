from __future__ import annotations

import pytest
from pydantic import ValidationError

from athanor.agents.reasoners.picture import Change, normal_cdf, read_picture


def change(mean: float, sd: float) -> Change:
    return Change(outcome="y", parameter="a", low=0.0, high=1.0, change=mean, sd=sd)


def test_beliefs() -> None:
    assert change(0.0, 1.0).probability_up == 0.5
    assert change(1.96, 1.0).probability_up == pytest.approx(0.975, abs=1e-3)
    assert (change(1.0, 0.0).probability_up, change(-1.0, 0.0).probability_up) == (1.0, 0.0)
    assert change(0.0, 1.0).probability_within(1.96) == pytest.approx(0.95, abs=1e-3)
    assert change(0.5, 0.0).probability_within(1.0) == 1.0
    assert normal_cdf(-40.0) == pytest.approx(0.0)


def test_reading() -> None:
    assert read_picture(None) is None
    picture = read_picture({"incumbent": {"a": 1.0}, "changes": [], "pairs": [], "box": {"a": [0.0, 1.0]}})
    assert picture is not None and picture.box == {"a": (0.0, 1.0)}
    with pytest.raises(ValidationError):
        read_picture({"surprise": 1})
