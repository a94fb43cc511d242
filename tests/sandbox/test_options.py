"""The options of a simulated laboratory."""

from __future__ import annotations

import math
from typing import Any

import pytest

from athanor.sandbox.laboratories.snar_flow import SnarFlow
from athanor.sandbox.options import OptionError, Options

PHYSICS = SnarFlow()


def test_nothing_given_means_two_percent_noise_no_waiting_and_no_faults() -> None:
    options = Options.parse({}, PHYSICS)
    assert (options.noise, options.time_scale, options.faults.faults, options.timeout_s) == (0.02, 0.0, (), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nosie": 0.1}, "options of snar-flow: there is no 'nosie'; did you mean 'noise'"),
        ({"noise": -0.1}, "noise: must be >= 0"),
        ({"noise": "much"}, "noise: a finite number"),
        ({"time_scale": math.inf}, "time_scale: a finite number"),
        ({"time_scale": True}, "time_scale: a finite number"),
        ({"timeout_s": 0}, "timeout_s: must be >= 0.001"),
        ({"faults": [{"kind": "stuck", "at": 1, "axis": "pressure"}]}, "concentration, equivalents"),
    ],
)
def test_what_cannot_be_is_refused_naming_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Options.parse(options, PHYSICS)


def test_options_are_read_back_as_they_were_written() -> None:
    given = {"noise": 0.1, "time_scale": 0.5, "timeout_s": 2, "faults": [{"kind": "drift", "at": 2}]}
    options = Options.parse(given, PHYSICS)
    assert Options.parse(options.to_dict(), PHYSICS) == options
