from __future__ import annotations

import subprocess
import sys

import pytest

from athanor.planners import BayesianPlanner, Measured, calibration
from athanor.planners.explain import explain
from athanor.planners.explanations import Explanation
from athanor.planners.findings import default_label, listed
from athanor.planners.protocol import Observation
from athanor.planners.source import Source, SourcePoint

from .sick import PLANE, scattered, told


def test_all_of_it_comes_of_one_model_and_survives_json():
    found = explain(told(PLANE, scattered(16), lambda v: 3 * v["x"] + v["z"]), pairs=1)
    assert found.health.is_trusted and len(found.calibrations) == 1
    assert found.sensitivity is not None and found.landscape is not None
    [plane] = found.landscape.maps
    assert {plane.first, plane.second} == {"x", "z"}
    assert Explanation.model_validate_json(found.model_dump_json()) == found


def test_without_a_model_only_that_is_said():
    found = explain(BayesianPlanner(PLANE))
    assert found.health.names == {"no-model"} and found.calibrations == () and found.landscape is None


def test_what_is_said_can_be_read_without_what_computes_it():
    code = (
        "import sys, athanor.planners.explanations\nprint([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_written_for_people():
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert default_label(Observation(candidate_id="c1", values={"x": 1.0})) == "c1"
    assert default_label(Observation(values={"x": 0.123456, "s": "water"})) == "x 0.1235, s water"


def test_earlier_data_are_no_part_of_what_is_said():
    def rising(v):
        return 3.0 * v["x"] + v["z"] ** 2

    known = told(PLANE, scattered(12), rising)
    points = [SourcePoint(values=v, outcomes={"y": Measured(rising(v))}) for v in scattered(24, seed=1)]
    planner = BayesianPlanner(PLANE, known.seed, sources=[Source(name="old", points=points)])
    planner.ingest(known.observations)
    assert planner.surrogate().relations, "the source is believed"
    assert explain(planner) == explain(planner.alone()) == explain(known)
    with pytest.raises(ValueError, match="earlier data"):
        calibration.from_surrogate(planner.surrogate())
