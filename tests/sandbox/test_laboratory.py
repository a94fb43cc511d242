"""Simulated laboratories in process: found by name, their files load, simulation is what a run gives."""

from __future__ import annotations

import math

import pytest

from athanor.instruments.laboratory import InstrumentLost, ProcessFailed, Simulated, load, names
from athanor.instruments.reductions import ReductionFailed
from athanor.sandbox.laboratory import SimulatedLaboratory
from athanor.sandbox.options import OptionError

from .conftest import ALL


def laboratory(name: str) -> SimulatedLaboratory:
    loaded = load(name)
    assert isinstance(loaded, SimulatedLaboratory) and isinstance(loaded, Simulated)
    return loaded


def rest(lab: SimulatedLaboratory) -> dict[str, float | int | str]:
    return {axis.name: axis.rest for axis in lab.physics.axes}


def test_all_are_installed() -> None:
    assert set(ALL) <= set(names())


@pytest.mark.parametrize("name", ALL)
def test_the_profile_is_the_laboratorys(name: str) -> None:
    lab = laboratory(name)
    profile = lab.profile()
    assert (profile.name, profile.laboratory, profile.simulated) == (name, name, True)
    assert list(profile.axes) == [axis.name for axis in lab.physics.axes]
    for model in lab.physics.axes:
        assert profile.axes[model.name].unit == model.unit
        limit = profile.limits()[model.name]
        assert limit is not None and limit.check(model.name, model.rest) == model.rest
    signals = {signal: unit for detector in profile.detectors.values() for signal, unit in detector.signals.items()}
    assert signals == {signal.name: signal.unit for signal in lab.physics.signals}
    assert set(lab.truth(rest(lab))) >= set(profile.outcomes)


@pytest.mark.parametrize("name", ALL)
def test_the_campaign_loads_and_lies_within_the_limits(name: str) -> None:
    lab = laboratory(name)
    from ruamel.yaml import YAML

    body = YAML(typ="safe").load(lab.campaign_file())
    assert (body["laboratory"] if isinstance(body["laboratory"], str) else body["laboratory"]["name"]) == name
    limits = lab.profile().limits()
    for parameter, spec in body["parameters"].items():
        limit = limits[parameter]
        assert limit is not None
        for value in spec.get("values") or (spec["low"], spec["high"]):
            limit.check(parameter, value)
        assert spec.get("unit") == lab.profile().axes[parameter].unit
    assert set(body["objectives"]) <= set(lab.profile().outcomes)
    if not isinstance(body["laboratory"], str):
        lab.simulate(rest(lab), 1, 0, 1, body["laboratory"].get("options", {}))


@pytest.mark.parametrize("name", ALL)
def test_the_reference_is_the_truth_there(name: str) -> None:
    lab = laboratory(name)
    reference = lab.reference()
    truth = lab.truth(reference.values)
    for outcome, value in reference.outcomes.items():
        assert truth[outcome] == pytest.approx(value, rel=1e-3)
    assert reference.metric and reference.method and reference.source and math.isfinite(reference.value)


@pytest.mark.parametrize("name", ALL)
def test_the_challenge_says_what_it_is_for(name: str) -> None:
    challenge = laboratory(name).challenge
    assert challenge.domain and challenge.area and challenge.sources and len(challenge.description) > 100


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_and_ordinal_give_the_same_numbers(name: str) -> None:
    lab = laboratory(name)
    once = lab.simulate(rest(lab), seed=3, ordinal=4, replicates=2)
    assert once == lab.simulate(rest(lab), seed=3, ordinal=4, replicates=2)
    assert once != lab.simulate(rest(lab), seed=3, ordinal=5, replicates=2)
    assert once != lab.simulate(rest(lab), seed=4, ordinal=4, replicates=2)
    assert all(sem is not None and sem > 0 for _, sem in once.values())


def test_axes_that_are_not_given_stay_at_rest_and_unknown_ones_are_named() -> None:
    lab = laboratory("snar-flow")
    assert lab.truth({}) == lab.truth(rest(lab))
    with pytest.raises(KeyError, match=r"pressure.*temperature"):
        lab.truth({"pressure": 1.0})


def test_faults_strike_a_simulation_as_they_strike_a_run() -> None:
    lab = laboratory("snar-flow")

    def simulate(kind: str, ordinal: int = 2) -> object:
        return lab.simulate({"temperature": 90.0}, 1, ordinal, 1, {"faults": [{"kind": kind, "at": 2, "count": 1}]})

    for kind in ("dropout", "stuck"):
        with pytest.raises(ProcessFailed):
            simulate(kind)
    with pytest.raises(InstrumentLost):
        simulate("disconnect")
    with pytest.raises(ReductionFailed):
        simulate("nan")
    assert simulate("drift") != lab.simulate({"temperature": 90.0}, 1, 2, 1)
    for kind in ("dropout", "stuck", "disconnect", "nan", "drift"):
        assert simulate(kind, ordinal=3) == lab.simulate({"temperature": 90.0}, 1, 3, 1)


def test_unknown_options_are_refused_before_anything_starts() -> None:
    with pytest.raises(OptionError, match="did you mean 'noise'"):
        laboratory("snar-flow").simulate({}, 1, 0, 1, {"nois": 0.1})
