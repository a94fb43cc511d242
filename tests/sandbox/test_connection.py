"""What both device families share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from athanor.sandbox.connection import Connection, ProfileMismatch
from athanor.sandbox.options import Options

from .conftest import Bench, context

Make = Callable[[str], Bench]


def test_timeouts_are_the_profiles_unless_an_option_says_otherwise(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    physics, profile = lab.laboratory.physics, lab.laboratory.profile()
    for given, axis, detector in (({}, 60.0, 30.0), ({"timeout_s": 0.5}, 0.5, 0.5)):
        connection = Connection.open(lab.place, physics, profile, Options.parse(given, physics))
        assert connection.axis_timeout("temperature") == axis
        assert connection.detector_timeout("analyser") == detector
        connection.link.close()


def test_a_profile_for_another_laboratory_is_refused_naming_what_exists(bench: Make) -> None:
    lab, other = bench("snar-flow"), bench("ald-window")
    with pytest.raises(ProfileMismatch, match=r"no axis 'dose_time'.*temperature"):
        Connection.open(lab.place, lab.laboratory.physics, other.laboratory.profile(), Options())


def test_the_run_is_prepared_in_the_controller(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    physics, profile = lab.laboratory.physics, lab.laboratory.profile()
    devices = Connection.open(lab.place, physics, profile, Options()).devices({}, [])
    assert devices.prepare_run is not None
    devices.prepare_run(context(ordinal=4, seed=2))
    assert (lab.witness("run")[0]["ordinal"], lab.witness("run")[0]["intent"]) == (4, "i4")
    assert devices.is_connected()
    devices.close()
    assert not devices.is_connected()
