from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import ndtr

from athanor.instruments.laboratory import ProcessFailed, Simulated, load
from athanor.instruments.profile import OutcomeSpec
from athanor.instruments.reductions import ReductionFailed, reduce
from athanor.sandbox.laboratories import qubit_readout as lab
from athanor.sandbox.physics import generator

DEVICE = lab.Device()
QUIET = replace(DEVICE, lifetime=math.inf, induced=0.0)
GOOD: dict[str, float | int | str] = {"drive_amplitude": 44.0, "detuning": 4.5, "integration_time": 91.0}
WANTED = {"fidelity": OutcomeSpec(signal="excited")}

DRIVE = st.floats(0.0, 150.0)
DETUNING = st.floats(-30.0, 30.0)
DURATION = st.floats(20.0, 1000.0)


def run_of(*events: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a run with these events."""
    keys = {name: {"source": "test", "dtype": "array", "shape": [0]} for name in events[0]} if events else {}
    documents: list[tuple[str, dict[str, Any]]] = [
        ("start", {"uid": "r"}),
        ("descriptor", {"uid": "d", "run_start": "r", "name": "primary", "data_keys": keys}),
    ]
    documents += [("event", {"descriptor": "d", "seq_num": n + 1, "data": data}) for n, data in enumerate(events)]
    return documents


def clouds(apart: float, shots: int, seed: int, angle: float = 0.0, decayed: float = 0.0) -> dict[str, list[float]]:
    """Two Gaussian clouds of unit variance at a distance; a share of the excited ones lies at the ground's."""
    rng = np.random.default_rng(seed)
    centre = apart * np.array([math.cos(angle), math.sin(angle)])
    ground = rng.standard_normal((shots, 2)) + 3.0
    excited = rng.standard_normal((shots, 2)) + 3.0 + centre * (rng.random(shots) >= decayed)[:, None]
    return {"ground": ground.ravel().tolist(), "excited": excited.ravel().tolist()}


# -- the field


@pytest.mark.parametrize("state", [0, 1])
def test_the_pointer_state_solves_its_equation_of_motion(state: int) -> None:
    drive, detuning = 50.0, -7.0
    times = np.linspace(0.0, 120.0, 13)
    pull = (DEVICE.shift if state == 0 else -DEVICE.shift) + DEVICE.offset - detuning

    def motion(_: float, field: Any) -> Any:
        return -(DEVICE.linewidth / 2 + 1j * pull) * lab.MHZ * field - 1j * drive * lab.MHZ

    expected = solve_ivp(motion, (0, 120), [0j], t_eval=times, rtol=1e-10, atol=1e-12).y[0]
    steady, _, field = lab.pointer(state, drive, detuning, times, DEVICE)
    np.testing.assert_allclose(field, expected, atol=1e-7)
    assert abs(steady) ** 2 == pytest.approx(drive**2 / ((DEVICE.linewidth / 2) ** 2 + pull**2))


def test_a_jump_at_any_time_integrates_like_the_equation_of_motion() -> None:
    """The closed form of the integrated signal against a brute-force sum over a path that jumps."""
    drive, detuning, duration = 45.0, 2.0, 90.0
    shot = lab.shots(1, drive, detuning, duration)
    cell = 400
    jump = shot.times[cell]
    fine = np.linspace(0.0, duration, 200_001)
    own, rate, field = lab.pointer(1, drive, detuning, fine, DEVICE)
    other, other_rate, _ = lab.pointer(0, drive, detuning, fine, DEVICE)
    at_jump = own * -np.expm1(-rate * jump)
    after = other + (at_jump - other) * np.exp(-other_rate * (fine - jump))
    path = np.where(fine < jump, field, after)
    scale = math.sqrt(2 * DEVICE.efficiency * DEVICE.linewidth * lab.MHZ / duration) * np.exp(1j * lab.LINE_PHASE)
    assert abs(scale * np.trapezoid(path, fine) - shot.jumped[cell]) < 1e-6


@settings(max_examples=50, deadline=None)
@given(DRIVE, DETUNING, DURATION)
def test_jump_probabilities_are_probabilities(drive: float, detuning: float, duration: float) -> None:
    for state in (0, 1):
        survival = lab.shots(state, drive, detuning, duration).survival
        assert survival[0] == 1.0 and survival[-1] >= 0.0
        assert np.all(np.diff(survival) <= 0.0)


# -- the truth


@pytest.mark.parametrize(("drive", "detuning", "duration"), [(20, 4, 60), (40, -10, 150), (10, 4, 300)])
def test_without_jumps_the_fidelity_is_that_of_two_gaussians(drive: float, detuning: float, duration: float) -> None:
    ground, excited = (lab.shots(state, drive, detuning, duration, QUIET) for state in (0, 1))
    expected = ndtr(abs(excited.steady - ground.steady) / 2)
    assert lab.fidelity(drive, detuning, duration, QUIET) == pytest.approx(expected, abs=1e-9)


def test_a_long_window_without_jumps_has_the_textbook_signal_to_noise_ratio() -> None:
    """SNR² → 2ηκ|α₁ − α₀|² T once the resonator has rung up (Gambetta 2008, Blais 2021)."""
    drive, detuning, duration = 30.0, 4.0, 1e6
    fields = [lab.pointer(state, drive, detuning, np.zeros(1), QUIET)[0] for state in (0, 1)]
    signals = [lab.shots(state, drive, detuning, duration, QUIET).steady for state in (0, 1)]
    expected = 2 * QUIET.efficiency * QUIET.linewidth * lab.MHZ * abs(fields[1] - fields[0]) ** 2 * duration
    assert abs(signals[1] - signals[0]) ** 2 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("drive", [150.0, 400.0])
def test_a_fast_resonator_leaves_the_fidelity_of_a_decaying_constant_signal(drive: float) -> None:
    """When ringing takes no time, a decay at t leaves t/T of the signal: the fidelity is then one integral over t."""
    duration = 200.0
    fast = replace(DEVICE, induced=0.0, efficiency=0.2, linewidth=4000.0, shift=100.0)
    steady = [lab.shots(state, drive, 4.0, duration, fast).steady for state in (0, 1)]
    apart = abs(steady[1] - steady[0])

    def error(threshold: float) -> float:
        late, _ = quad(
            lambda t: math.exp(-t / fast.lifetime) / fast.lifetime * ndtr(threshold - apart * t / duration), 0, duration
        )
        kept = math.exp(-duration / fast.lifetime) * ndtr(threshold - apart)
        return 0.5 * float(ndtr(-threshold) + kept + late)

    expected = min(error(threshold) for threshold in np.linspace(0.0, apart, 400))
    assert 1 - lab.fidelity(drive, 4.0, duration, fast) == pytest.approx(expected, rel=0.02)


def test_the_truth_is_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = [lab.fidelity(drive, 4.0, duration) for drive, duration in ((44.0, 91.0), (90.0, 300.0))]
    monkeypatch.setattr(lab, "GRID", 4 * lab.GRID)
    fine = [lab.fidelity(drive, 4.0, duration) for drive, duration in ((44.0, 91.0), (90.0, 300.0))]
    assert coarse == pytest.approx(fine, abs=1e-5)


@pytest.mark.parametrize("drive", [44.0, 85.0])
def test_the_truth_agrees_with_many_shots(drive: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "SHOTS", 200_000)
    values = {**GOOD, "drive_amplitude": drive}
    found = reduce("assignment-fidelity", run_of(dict(lab.PHYSICS.readings(values, generator(1, 1, 0), 0.0))), WANTED)
    mean, sem = found.outcomes["fidelity"]
    assert sem is not None and sem < 1e-3
    assert abs(mean - lab.PHYSICS.truth(values)["fidelity"]) < 4 * sem


def test_no_other_axis_would_do_much_better() -> None:
    """The line through the mean shots loses nothing worth having against the best line at all."""
    ground, excited = (lab.shots(state, 44.0, 4.6, 90.7) for state in (0, 1))
    apart = excited.mean - ground.mean
    best = 0.0
    for turn in np.linspace(-0.3, 0.3, 13):
        axis = np.conj(apart) / abs(apart) * np.exp(1j * turn)
        levels = [(axis * np.append(shot.jumped, shot.steady)).real for shot in (ground, excited)]
        weights = [np.append(-np.diff(shot.survival), shot.survival[-1]) for shot in (ground, excited)]
        for threshold in np.linspace(levels[0][-1], levels[1][-1], 61):
            wrong = weights[0] @ ndtr(levels[0] - threshold) + weights[1] @ ndtr(threshold - levels[1])
            best = max(best, 1 - 0.5 * float(wrong))
    assert best - lab.fidelity(44.0, 4.6, 90.7) < 2e-5


@pytest.mark.parametrize("knob", ["drive_amplitude", "detuning", "integration_time"])
def test_the_optimum_is_interior(knob: str) -> None:
    best = lab.LABORATORY.reference()
    index = [axis.name for axis in lab.PHYSICS.axes].index(knob)
    for end in (lab.LOWEST[index], lab.HIGHEST[index]):
        assert lab.PHYSICS.truth({**best.values, knob: float(end)})["fidelity"] < best.value - 1e-3


def test_no_drive_tells_nothing() -> None:
    assert lab.PHYSICS.truth({**GOOD, "drive_amplitude": 0.0})["fidelity"] == pytest.approx(0.5, abs=1e-9)


def test_more_of_what_spoils_readout_spoils_it() -> None:
    settings_ = (44.0, 4.5, 91.0)
    base = lab.fidelity(*settings_)
    assert lab.fidelity(*settings_, replace(DEVICE, lifetime=2000.0)) < base
    assert lab.fidelity(*settings_, replace(DEVICE, induced=1e-2)) < base
    assert lab.fidelity(*settings_, replace(DEVICE, efficiency=0.1)) < base
    assert lab.fidelity(*settings_, replace(DEVICE, shift=1.0)) < base


@settings(max_examples=80, deadline=None)
@given(DRIVE, DETUNING, DURATION)
def test_truth_is_a_fidelity_over_the_whole_reach_of_the_axes(drive: float, detuning: float, duration: float) -> None:
    values = {"drive_amplitude": drive, "detuning": detuning, "integration_time": duration}
    assert 0.5 - 1e-12 <= lab.PHYSICS.truth(values)["fidelity"] <= 1.0


@pytest.mark.parametrize("values", [{"integration_time": 0.0}, {"drive_amplitude": math.nan}, {"detuning": math.inf}])
def test_settings_that_make_no_sense_fail_the_run(values: dict[str, float]) -> None:
    with pytest.raises(ProcessFailed, match=r"window is empty|not finite"):
        lab.PHYSICS.truth({**GOOD, **values})
    with pytest.raises(ProcessFailed, match=r"window is empty|not finite"):
        lab.PHYSICS.readings({**GOOD, **values}, generator(1, 1, 0), 0.0)


# -- the shots


def test_shots_have_unit_noise_around_the_mean_signal() -> None:
    readings = lab.PHYSICS.readings({**GOOD, "drive_amplitude": 0.0}, generator(2, 1, 0), 0.0)
    for name in ("ground", "excited"):
        pairs = np.array(readings[name]).reshape(-1, 2)
        assert pairs.shape == (lab.SHOTS, 2)
        assert np.abs(pairs.mean(axis=0)).max() < 4 / math.sqrt(lab.SHOTS)
        np.testing.assert_allclose(pairs.std(axis=0), 1.0, atol=0.1)


@pytest.mark.parametrize("state", [0, 1])
def test_the_mean_of_many_shots_is_the_mean_of_the_model(state: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "SHOTS", 100_000)
    shot = lab.shots(state, 90.0, 4.0, 200.0)  # a hard drive: most shots jump
    assert shot.survival[-1] < 0.7
    pairs = np.array(lab._sample(shot, np.random.default_rng(5))).reshape(-1, 2)
    spread = float(pairs.std()) / math.sqrt(len(pairs))
    np.testing.assert_allclose(pairs.mean(axis=0), [shot.mean.real, shot.mean.imag], atol=5 * spread)


def test_a_run_fits_into_forty_kilobytes() -> None:
    readings = lab.PHYSICS.readings(GOOD, generator(1, 1, 0), 0.0)
    assert len(json.dumps(readings, separators=(",", ":"))) < 40_000
    assert readings == lab.PHYSICS.readings(GOOD, generator(1, 1, 0), 0.0)


# -- the reduction


@pytest.mark.parametrize(("apart", "angle"), [(0.0, 0.0), (1.0, 0.4), (3.0, 2.0), (5.0, -2.5)])
def test_the_reduction_is_unbiased_on_known_clouds(apart: float, angle: float) -> None:
    """Average over many runs against the exact fidelity of two Gaussians: neither optimistic nor far below."""
    found = [lab.assignment_fidelity(run_of(clouds(apart, 1000, k, angle)), WANTED)["fidelity"] for k in range(80)]
    values, errors = np.array([value for value, _ in found]), np.array([error for _, error in found])
    bias = values.mean() - ndtr(apart / 2)
    spread = values.std() / math.sqrt(len(values))
    assert bias < 4 * spread  # never optimistic
    assert bias > -4 * spread - 0.25 * errors.mean()  # the price of an estimated threshold is far below one error bar
    if apart > 0:
        assert 0.7 < values.std() / errors.mean() < 1.3


def test_the_error_bar_covers_the_truth_on_the_laboratory_s_own_shots() -> None:
    truth = lab.PHYSICS.truth(GOOD)["fidelity"]
    found = [lab.LABORATORY.simulate(GOOD, 11, k, 1, {"noise": 0.0})["fidelity"] for k in range(120)]
    scores = np.array([(mean - truth) / sem for mean, sem in found if sem is not None])
    assert abs(scores.mean()) < 0.5
    assert np.mean(np.abs(scores) < 2.0) > 0.9


def test_a_flawless_run_is_not_certain() -> None:
    [(mean, sem)] = lab.assignment_fidelity(run_of(clouds(40.0, 500, 1)), WANTED).values()
    assert mean == 1.0 and sem is not None and sem > 0


def test_replicates_are_averaged() -> None:
    one, two = clouds(2.0, 400, 1), clouds(2.0, 400, 2)
    singles = [lab.assignment_fidelity(run_of(data), WANTED)["fidelity"] for data in (one, two)]
    mean, sem = lab.assignment_fidelity(run_of(one, two), WANTED)["fidelity"]
    assert mean == pytest.approx((singles[0][0] + singles[1][0]) / 2)
    assert sem == pytest.approx(math.hypot(singles[0][1] or 0, singles[1][1] or 0) / 2)


def test_decays_are_counted_as_errors() -> None:
    [(mean, sem)] = lab.assignment_fidelity(run_of(clouds(8.0, 4000, 3, decayed=0.1)), WANTED).values()
    assert sem is not None and abs(mean - 0.95) < 4 * sem


def test_infidelity_is_the_rest() -> None:
    both = {name: OutcomeSpec(signal="excited") for name in ("fidelity", "infidelity")}
    found = lab.assignment_fidelity(run_of(clouds(2.0, 400, 1)), both)
    assert found["fidelity"][0] + found["infidelity"][0] == pytest.approx(1.0)


def test_shots_that_cannot_be_judged_are_refused() -> None:
    good = clouds(2.0, 400, 1)
    spoilt = [*good["ground"][:-1], math.nan]
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([{**good, "ground": spoilt}], "ground.*not finite"),
        ([{**good, "excited": [*good["excited"][:-1], math.inf]}], "excited.*not finite"),
        ([{**good, "excited": good["excited"][:-1]}], "odd number"),
        ([clouds(2.0, lab.FEWEST_SHOTS - 1, 1)], "at least 100"),
        ([{**good, "ground": ["a", "b"] * 200}], "not a list of numbers"),
        ([{"ground": good["ground"]}], "excited"),
        ([], "ground"),
    ]
    for events, reason in cases:
        with pytest.raises(ReductionFailed, match=reason):
            lab.assignment_fidelity(run_of(*events), WANTED)
    with pytest.raises(ReductionFailed, match="'contrast'"):
        lab.assignment_fidelity(run_of(good), {"contrast": OutcomeSpec(signal="excited")})


# -- the laboratory


def test_the_laboratory_is_complete() -> None:
    laboratory = load("qubit-readout")
    assert isinstance(laboratory, Simulated)
    profile = laboratory.profile()
    assert profile.reduction == "assignment-fidelity"
    assert {name: spec.unit for name, spec in profile.axes.items()} == {a.name: a.unit for a in lab.PHYSICS.axes}
    for axis in lab.PHYSICS.axes:
        spec = profile.axes[axis.name]
        assert spec.minimum is not None and spec.maximum is not None
        assert spec.minimum <= float(axis.rest) <= spec.maximum
    signals = [name for detector in profile.detectors.values() for name in detector.signals]
    assert signals == [signal.name for signal in lab.PHYSICS.signals]
    assert laboratory.challenge.area == "Quantum systems"


def test_the_campaign_searches_the_box_that_the_reference_was_searched_in() -> None:
    from ruamel.yaml import YAML

    spec = YAML(typ="safe", pure=True).load(lab.LABORATORY.campaign_file().read_text(encoding="utf-8"))
    limits = lab.LABORATORY.profile().axes
    assert list(spec["parameters"]) == list(limits)
    for (name, box), low, high in zip(spec["parameters"].items(), lab.LOWEST, lab.HIGHEST, strict=True):
        minimum, maximum = limits[name].minimum, limits[name].maximum
        assert (box["low"], box["high"], box["unit"]) == (low, high, limits[name].unit)
        assert minimum is not None and maximum is not None and minimum <= low < high <= maximum


def test_simulate_is_a_function_of_seed_ordinal_and_replicate() -> None:
    first = lab.LABORATORY.simulate(GOOD, 5, 7, 2)
    assert first == lab.LABORATORY.simulate(GOOD, 5, 7, 2)
    assert len({lab.LABORATORY.simulate(GOOD, seed, ordinal)["fidelity"] for seed in (5, 6) for ordinal in (7, 8)}) > 1
    readings = [dict(lab.PHYSICS.readings(GOOD, generator(5, 7, n), 0.02)) for n in range(2)]
    assert lab.assignment_fidelity(run_of(*readings), WANTED) == first


def test_the_reference_cannot_be_bettered_nearby() -> None:
    reference = lab.LABORATORY.reference()
    assert reference.value == reference.outcomes["fidelity"] == pytest.approx(0.995432, abs=1e-6)
    assert "0.00457" in reference.method
    rng = np.random.default_rng(0)
    centre = np.array([float(value) for value in reference.values.values()])
    for _ in range(60):
        drive, detuning, duration = centre * (1 + rng.uniform(-0.1, 0.1, 3))
        assert lab.fidelity(float(drive), float(detuning), float(duration)) <= reference.value + 1e-7


@pytest.mark.slow
def test_another_search_finds_the_same_reference() -> None:
    from scipy.optimize import differential_evolution

    bounds = list(zip(lab.LOWEST.tolist(), lab.HIGHEST.tolist(), strict=True))
    found = differential_evolution(
        lambda point: 1 - lab.fidelity(*map(float, point)), bounds, seed=1, maxiter=25, popsize=8, polish=False
    )
    assert 1 - found.fun == pytest.approx(lab.LABORATORY.reference().value, abs=1e-4)
    assert 1 - found.fun <= lab.LABORATORY.reference().value + 1e-7
