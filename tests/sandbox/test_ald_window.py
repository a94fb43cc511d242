"""The deposition reactor's physics: limits, trends, the process window and its reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.laboratory import ProcessFailed, Simulated
from athanor.sandbox.laboratories import ald_window as lab
from athanor.sandbox.physics import generator

INSIDE = {"dose_time": 0.8, "purge_time": 6.0, "temperature": 240.0}
DOSE = st.floats(0.1, 2.0)
PURGE = st.floats(1.0, 12.0)
TEMPERATURE = st.floats(100.0, 350.0)


def truth(**values: float) -> dict[str, float]:
    return lab.AldWindow().truth({**INSIDE, **values})


@settings(max_examples=80, deadline=None)
@given(DOSE, TEMPERATURE)
def test_coverage_is_a_fraction_that_falls_along_the_reactor_and_grows_with_the_dose(
    dose: float, temperature: float
) -> None:
    for precursor in (lab.TMA, lab.WATER):
        now, later = (lab.coverage(precursor, time, temperature) for time in (dose, 1.1 * dose))
        assert np.all((now >= 0) & (now <= 1)) and np.all(np.diff(now) <= 1e-15)
        assert np.all(later >= now - 1e-15)


def test_coverage_meets_its_limits() -> None:
    assert np.all(lab.coverage(lab.TMA, 0.0, 200.0) == 0.0)
    np.testing.assert_allclose(lab.coverage(lab.TMA, 1e6, 200.0), 1.0)
    # Where little is taken from the gas every place sees the same: plain Langmuir saturation, 1 - exp(-rate t).
    thin = lab.coverage(lab.TMA, 0.1, 200.0)[0]
    kelvin = 473.15
    flux = lab.TMA.pressure / np.sqrt(2 * np.pi * lab.TMA.mass * lab.DALTON * lab.BOLTZMANN * kelvin)
    assert thin == pytest.approx(1 - np.exp(-0.1 * lab.TMA.sticking * flux / lab.SITES), rel=1e-6)


def test_coverage_solves_the_transport_equation() -> None:
    # dC/dx = -Da C (1 - theta), dtheta/dt = k C (1 - theta), C = 1 at the inlet, stepped explicitly.
    precursor, dose, temperature = lab.TMA, 0.3, 200.0
    kelvin, mass = 473.15, lab.TMA.mass * lab.DALTON
    rate = precursor.sticking * precursor.pressure / np.sqrt(2 * np.pi * mass * lab.BOLTZMANN * kelvin) / lab.SITES
    speed = np.sqrt(lab.BOLTZMANN * kelvin / (2 * np.pi * mass))
    damkoehler = precursor.sticking * speed * lab.SURFACE / lab.gas_flow(temperature)
    x = np.linspace(0.0, 1.0, 401)
    theta, step = np.zeros_like(x), dose / 4000
    for _ in range(4000):
        free = 1 - theta
        taken = np.concatenate([[0.0], np.cumsum(0.5 * (free[1:] + free[:-1])) * (x[1] - x[0])])
        theta += step * rate * np.exp(-damkoehler * taken) * free
    np.testing.assert_allclose(np.interp(lab.ALONG, x, theta), lab.coverage(precursor, dose, temperature), atol=2e-3)


def test_inside_the_window_growth_is_that_of_alumina() -> None:
    inside = truth(temperature=200.0, purge_time=8.0)
    assert inside["growth_per_cycle"] == pytest.approx(1.06, abs=0.05)
    assert inside["non_uniformity"] < 3.0


def test_growth_saturates_with_the_dose() -> None:
    growth = [truth(dose_time=time)["growth_per_cycle"] for time in (0.5, 1.0, 1.5, 2.0)]
    assert abs(growth[3] - growth[2]) < 0.1 * (growth[1] - growth[0])


def test_a_longer_purge_is_more_uniform() -> None:
    spreads = [truth(purge_time=time)["non_uniformity"] for time in (4.0, 6.0, 8.0, 10.0)]
    assert np.all(np.diff(spreads) < 0)


def test_the_usable_rate_is_growth_over_cycle_time_times_yield() -> None:
    row = truth()
    cycle = 2 * (INSIDE["dose_time"] + INSIDE["purge_time"]) + lab.OVERHEAD
    usable = 60 * row["growth_per_cycle"] / cycle * np.exp(-((row["non_uniformity"] / lab.TOLERANCE) ** 2))
    assert row["usable_rate"] == pytest.approx(usable)


def test_the_best_purge_and_dose_lie_inside() -> None:
    for axis, times in (("purge_time", np.linspace(3.0, 12.0, 20)), ("dose_time", np.linspace(0.4, 2.0, 20))):
        rates = [truth(**{axis: float(time)})["usable_rate"] for time in times]
        assert 0 < int(np.argmax(rates)) < len(rates) - 1


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"temperature": 110.0, "purge_time": 1.0}, "left by the purge"),
        ({"dose_time": 0.1, "purge_time": 10.0}, "does not reach the end"),
        ({"temperature": 350.0, "dose_time": 2.0, "purge_time": 12.0}, "decomposes"),
        ({"dose_time": 0.0}, "no film"),
        ({"temperature": -300.0}, "no such recipe"),
    ],
)
def test_outside_the_window_the_run_fails_and_says_why(values: dict[str, float], cause: str) -> None:
    with pytest.raises(ProcessFailed, match=cause):
        truth(**values)


def test_a_third_of_the_space_fails() -> None:
    rng = np.random.default_rng(7)
    points = rng.uniform(lab._LOW, lab._HIGH, size=(1500, 3))
    failed = 0
    for point in points:
        try:
            lab.figures(*map(float, point))
        except ProcessFailed:
            failed += 1
    assert 0.25 <= failed / len(points) <= 0.45


def test_noise_of_thickness_and_uniformity_is_shared_by_what_is_made_from_them() -> None:
    physics = lab.AldWindow()
    centre = physics.truth(INSIDE)
    reading: dict[str, float] = dict(physics.readings(INSIDE, generator(3, 5, 0), 0.02))  # type: ignore[arg-type]
    ratio = {name: reading[name] / centre[name] for name in centre}
    assert ratio["precursor_use"] == pytest.approx(1 / ratio["growth_per_cycle"])
    assert ratio["non_uniformity"] != pytest.approx(ratio["growth_per_cycle"], abs=1e-6)
    better = lab.film_yield(reading["non_uniformity"]) / lab.film_yield(centre["non_uniformity"])
    assert ratio["usable_rate"] == pytest.approx(ratio["growth_per_cycle"] * better)
    assert physics.readings(INSIDE, generator(3, 5, 0), 0.0) == pytest.approx(centre)


def test_the_documented_reference_is_found_again_and_lies_inside_the_box() -> None:
    assert isinstance(lab.LABORATORY, Simulated)
    reference = lab.LABORATORY.reference()
    found = lab.recompute_reference()
    assert found.value == pytest.approx(reference.value, rel=1e-5)
    assert found.outcomes == pytest.approx(reference.outcomes, rel=1e-4)
    assert reference.outcomes["non_uniformity"] < 3.0 - 0.5  # the campaign's constraint holds with room to spare
    for value, low, high in zip(reference.values.values(), lab._LOW, lab._HIGH, strict=True):
        assert low + 0.1 * (high - low) < float(value) < high - 0.1 * (high - low)
    # No cliff near it: a run a tenth of the box away in any direction still succeeds.
    for axis, low, high in zip(reference.values, lab._LOW, lab._HIGH, strict=True):
        for sign in (-1, 1):
            moved = float(reference.values[axis]) + sign * 0.1 * (high - low)
            assert truth(**{**reference.values, axis: moved})["non_uniformity"] < lab.METROLOGY_RANGE  # type: ignore[arg-type]
