from __future__ import annotations

import pytest

from athanor.instruments.protocols import epics
from athanor.instruments.protocols.client import Quality, Refused, SignalSpec, WrongType


@pytest.mark.parametrize(
    ("severity", "status", "quality"),
    [
        (0, "NO_ALARM", Quality.GOOD),
        (1, "HIGH", Quality.GOOD),
        (2, "HIHI", Quality.GOOD),
        (1, "COMM", Quality.UNCERTAIN),
        (2, "HW_LIMIT", Quality.UNCERTAIN),
        (3, "HIHI", Quality.BAD),
        (3, "UDF", Quality.BAD),
        (4, "", Quality.BAD),
        (-1, "", Quality.BAD),
    ],
)
def test_an_alarm_s_quality(severity: int, status: str, quality: Quality) -> None:
    alarm = epics.Alarm(severity, status)
    assert alarm.quality is quality
    assert bool(alarm.detail) is (severity != 0)
    assert status in alarm.detail or severity == 0


def test_hosts_are_written_as_epics_wants_them() -> None:
    assert epics.hosts("ioc.lab:5066, 10.0.0.1\n10.0.0.255") == "ioc.lab:5066 10.0.0.1 10.0.0.255"


@pytest.mark.parametrize("address", ["", " , ", "host:0", "host:70000", "ca://host", "host:port", "a;b"])
def test_an_address_that_makes_no_sense_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        epics.hosts(address)


def test_the_probe_is_needed_and_nothing_else_is_known() -> None:
    assert epics.probe({"probe": " LAB:HEARTBEAT "}) == "LAB:HEARTBEAT"
    for options in ({}, {"probe": ""}, {"probe": 3}):
        with pytest.raises(ValueError, match="probe"):
            epics.probe(options)
    with pytest.raises(ValueError, match="prob'"):
        epics.probe({"probe": "X", "prob": "X"})


def test_how_a_put_is_done_stands_in_the_signal() -> None:
    signal = SignalSpec(write="X")
    assert epics.is_plain_put(signal)
    assert epics.is_plain_put(signal.model_copy(update={"options": {"put": "plain"}}))
    assert not epics.is_plain_put(signal.model_copy(update={"options": {"put": "callback"}}))
    with pytest.raises(Refused, match="quick"):
        epics.is_plain_put(signal.model_copy(update={"options": {"put": "quick"}}))


def test_a_whole_number_that_no_double_equals_is_refused() -> None:
    signal = SignalSpec(write="X", type="int")
    assert epics.double(signal, 2**53) == 2.0**53
    with pytest.raises(WrongType, match="not exact"):
        epics.double(signal, 2**53 + 1)
