"""The fault schedule: checked when it is read, a pure function of the ordinal."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.sandbox.faults import FAULTS, FaultSchedule, OptionError
from athanor.sandbox.physics import AxisModel, SignalModel

AXES = (AxisModel("temperature", "degC", 60.0), AxisModel("solvent", None, "EtOH", kind="choice"))
SIGNALS = (SignalModel("yield"), SignalModel("trace", length=3))


def schedule(*faults: dict[str, Any]) -> FaultSchedule:
    return FaultSchedule.parse(list(faults), AXES, SIGNALS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "explosion", "at": 1}, r"faults\[0\].kind: there is no 'explosion'.*disconnect, drift, dropout"),
        ({"kind": "dropuot", "at": 1}, "did you mean 'dropout'"),
        ({"at": 1}, "there is no 'None'"),
        ({"kind": "stuck", "at": 1, "axis": "temprature"}, "did you mean 'temperature'"),
        ({"kind": "nan", "at": 1, "signal": "temperature"}, "trace, yield"),
        ({"kind": "dropout", "at": 1, "size": 2}, "at, count, kind"),
        ({"kind": "stuck", "at": 1, "signal": "yield"}, "axis"),
        ({"kind": "dropout", "at": -1}, "ordinal"),
        ({"kind": "dropout", "at": 1.5}, "ordinal"),
        ({"kind": "dropout", "at": True}, "ordinal"),
        ({"kind": "dropout", "at": 1, "count": 0}, "count"),
        ({"kind": "drift", "at": 1, "size": math.nan}, "size: a finite number"),
        ("dropout", "a mapping such as"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_naming_what_exists(fault: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        schedule(fault)


def test_a_schedule_is_a_list() -> None:
    with pytest.raises(OptionError, match="a list"):
        FaultSchedule.parse({"kind": "dropout"}, AXES, SIGNALS)


@given(st.sampled_from(sorted(FAULTS)), st.integers(0, 50), st.integers(1, 5), st.integers(0, 60))
def test_it_strikes_exactly_the_experiments_meant(kind: str, at: int, count: int, ordinal: int) -> None:
    faults = schedule({"kind": kind, "at": at, "count": count})
    assert faults.is_active(kind, ordinal) == (at <= ordinal < at + count)
    assert not any(faults.is_active(other, ordinal) for other in FAULTS if other != kind)


@given(st.lists(st.sampled_from(sorted(FAULTS)), max_size=4), st.integers(0, 9))
def test_it_is_read_back_as_it_was_written(kinds: list[str], at: int) -> None:
    faults = schedule(*({"kind": kind, "at": at} for kind in kinds))
    assert schedule(*(fault.to_dict() for fault in faults.faults)) == faults


def test_drift_grows_with_the_ordinal_and_touches_its_signal_alone() -> None:
    faults = schedule({"kind": "drift", "at": 3, "signal": "yield", "size": 0.1})
    readings = {"yield": 10.0, "trace": [1.0, 2.0, 3.0]}
    assert faults.alter(readings, 2) == readings
    assert faults.alter(readings, 3) == {"yield": pytest.approx(11.0), "trace": [1.0, 2.0, 3.0]}
    assert faults.alter(readings, 12) == {"yield": pytest.approx(20.0), "trace": [1.0, 2.0, 3.0]}


def test_nan_strikes_every_number_of_the_signals_meant() -> None:
    altered = schedule({"kind": "nan", "at": 0}).alter({"yield": 10.0, "trace": [1.0, 2.0, 3.0]}, 0)
    assert math.isnan(altered["yield"])  # type: ignore[arg-type]
    assert all(math.isnan(value) for value in altered["trace"])  # type: ignore[union-attr]
