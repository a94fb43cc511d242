from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.laboratory import ProcessFailed, Simulated, load
from athanor.sandbox.laboratories import rare_earth_extraction as lab
from athanor.sandbox.physics import generator

BALANCED: dict[str, float | int | str] = {
    "extraction_stages": 10,
    "extraction_ph": 1.9,
    "organic_to_feed": 2.2,
    "scrub_to_organic": 0.3,
}

STAGES = st.integers(2, 18)
PH = st.floats(1.0, 2.2)
ORGANIC = st.floats(0.5, 3.0)
SCRUB = st.floats(0.05, 0.4)


def solve(values: dict[str, Any]) -> lab.Cascade:
    return lab.cascade(
        values["extraction_stages"], values["extraction_ph"], values["organic_to_feed"], values["scrub_to_organic"]
    )


# -- balances and equilibrium


@settings(max_examples=60, deadline=None)
@given(STAGES, PH, ORGANIC, SCRUB)
def test_balances_close_over_the_whole_reach_of_the_axes(stages: int, ph: float, organic: float, scrub: float) -> None:
    state = lab.cascade(stages, ph, organic, scrub)
    np.testing.assert_allclose(state.product + state.raffinate, lab.FEED, atol=1e-9)
    assert state.imbalance < lab.TOLERANCE
    assert np.all(state.aqueous >= 0) and np.all(state.acid > 0) and np.all(state.dimer > 0)
    np.testing.assert_allclose(state.acid[:stages], 10.0**-ph)


@settings(max_examples=30, deadline=None)
@given(STAGES, PH, ORGANIC, SCRUB)
def test_every_stage_is_at_equilibrium_and_holds_no_more_than_its_extractant(
    stages: int, ph: float, organic: float, scrub: float
) -> None:
    state = lab.cascade(stages, ph, organic, scrub)
    constants = np.array(lab.Chemistry().constants)
    expected = constants * state.aqueous * (state.dimer / state.acid)[:, None] ** 3
    np.testing.assert_allclose(state.organic, expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(state.dimer + 3.0 * state.organic.sum(axis=1), lab.DIMER, rtol=1e-9)


def test_scrub_stages_exchange_three_hydrogens_for_each_metal() -> None:
    state = solve(BALANCED)
    stages, organic, scrub = 10, 2.2, 0.3 * 2.2
    metal = state.organic.sum(axis=1)
    taken = scrub * (lab.SCRUB_ACID - state.acid[stages])  # acid that the whole scrub section used
    given_up = 3.0 * organic * (metal[stages - 1] - metal[-1])
    assert taken == pytest.approx(given_up, rel=1e-8)


@given(st.floats(0, 1e12), st.floats(1e-3, 2.0))
def test_free_dimer_solves_its_balance(pull: float, total: float) -> None:
    [free] = lab.free_dimer(np.array([pull]), total)
    assert 0 < free <= total
    assert free + 3 * pull * free**3 == pytest.approx(total, rel=1e-12)


# -- limiting cases


@pytest.mark.parametrize("stages", [1, 3, 8, 20])
@pytest.mark.parametrize("factor", [0.6, 1.5, 3.0])
def test_traces_follow_kremser(stages: int, factor: float) -> None:
    """At trace loading and without scrub the distribution ratio is constant, and Kremser's formula exact."""
    organic = 2.0
    constant = factor / organic * (10.0**-1.5 / lab.DIMER) ** 3
    chemistry = lab.Chemistry(feed=(1e-6, 1e-6), constants=(constant, constant / lab.SEPARATION_FACTOR), stages=stages)
    state = lab.cascade(stages, 1.5, organic, 0.0, chemistry)
    unextracted = (factor - 1.0) / (factor ** (stages + 1) - 1.0)
    assert state.raffinate[0] / 1e-6 == pytest.approx(unextracted, rel=5e-4, abs=1e-6)


def test_one_stage_without_loading_is_the_definition_of_the_distribution_ratio() -> None:
    chemistry = lab.Chemistry(feed=(1e-6, 1e-6), stages=1)
    state = lab.cascade(1, 1.3, 1.0, 0.0, chemistry)
    ratio = state.organic[0] / state.aqueous[0]
    expected = chemistry.constants[0] * (lab.DIMER / 10.0**-1.3) ** 3
    assert ratio[0] == pytest.approx(expected, rel=1e-4)
    assert ratio[0] / ratio[1] == pytest.approx(lab.SEPARATION_FACTOR, rel=1e-9)
    assert ratio[0] == pytest.approx(1.0, rel=0.01)  # half extraction at pH 1.3


def test_metals_that_do_not_differ_are_not_separated() -> None:
    chemistry = lab.Chemistry(constants=(1e-3, 1e-3))
    state = lab.cascade(10, 1.9, 2.2, 0.3, chemistry)
    assert state.product[0] / state.product.sum() == pytest.approx(0.8, abs=1e-9)


def test_a_high_ph_extracts_everything_and_separates_nothing() -> None:
    state = lab.cascade(16, 2.2, 3.0, 0.05)
    assert state.product[0] / lab.FEED[0] > 0.9999
    assert state.product[0] / state.product.sum() == pytest.approx(0.8, abs=1e-3)


def test_the_organic_saturates() -> None:
    """Too little organic for the feed: what it carries approaches one metal for three dimers, and never exceeds it."""
    chemistry = lab.Chemistry(feed=(0.8, 0.2))
    loads = [lab.cascade(18, ph, 1.0, 0.0, chemistry).organic[17].sum() for ph in (1.5, 2.0, 2.5, 3.0)]
    assert loads == sorted(loads)
    assert 0.95 * lab.DIMER / 3 < loads[-1] < lab.DIMER / 3


def test_crowding_favours_neodymium() -> None:
    """On a loaded organic neodymium displaces praseodymium: starved of extractant, the extract is purer."""
    purities = []
    for organic in (3.0, 1.0, 0.6):
        state = lab.cascade(16, 2.1, organic, 0.05)
        purities.append(state.product[0] / state.product.sum())
    assert purities == sorted(purities) and purities[0] < purities[-1]


# -- trends


@pytest.mark.parametrize(
    ("axis", "higher", "recovery", "purity"),
    [
        ("extraction_ph", 2.0, 1, -1),
        ("organic_to_feed", 2.4, 1, -1),
        ("scrub_to_organic", 0.32, -1, 1),
    ],
)
def test_recovery_and_purity_trade_off(axis: str, higher: float, recovery: int, purity: int) -> None:
    low, high = lab.PHYSICS.truth(BALANCED), lab.PHYSICS.truth({**BALANCED, axis: higher})
    assert recovery * (high["recovery"] - low["recovery"]) > 1e-4
    assert purity * (high["purity"] - low["purity"]) > 1e-4


@settings(max_examples=60, deadline=None)
@given(STAGES, PH, ORGANIC, SCRUB)
def test_truth_is_a_pair_of_fractions_or_a_failure_with_a_reason(
    stages: int, ph: float, organic: float, scrub: float
) -> None:
    values = {"extraction_stages": stages, "extraction_ph": ph, "organic_to_feed": organic, "scrub_to_organic": scrub}
    try:
        truth = lab.PHYSICS.truth(values)
    except ProcessFailed as failure:
        assert "no product" in failure.reason
        return
    assert 0 < truth["recovery"] <= 1 + 1e-9
    assert 0 < truth["purity"] < 1


def test_too_much_scrub_fails_the_run() -> None:
    values = {**BALANCED, "extraction_ph": 1.5, "scrub_to_organic": 0.35}
    with pytest.raises(ProcessFailed, match="strips everything"):
        lab.PHYSICS.truth(values)
    with pytest.raises(ProcessFailed, match="strips everything"):
        lab.PHYSICS.readings(values, generator(1, 1, 0), 0.01)


# -- readings


def test_noise_is_that_of_two_independent_analyses() -> None:
    truth = lab.PHYSICS.truth(BALANCED)
    rows = [lab.PHYSICS.readings(BALANCED, generator(3, k, 0), 0.01) for k in range(300)]
    recovery, purity = (np.array([float(row[name]) for row in rows]) for name in ("recovery", "purity"))  # type: ignore[arg-type]
    impurity = 1 - truth["purity"]
    assert recovery.std() == pytest.approx(0.01 * truth["recovery"], rel=0.15)
    assert purity.std() == pytest.approx(np.sqrt(2) * 0.01 * truth["purity"] * impurity, rel=0.15)
    assert abs(recovery.mean() - truth["recovery"]) < 4 * recovery.std() / np.sqrt(300)
    assert abs(purity.mean() - truth["purity"]) < 4 * purity.std() / np.sqrt(300)


def test_without_noise_the_readings_are_the_truth() -> None:
    readings = lab.PHYSICS.readings(BALANCED, generator(1, 1, 0), 0.0)
    truth = lab.PHYSICS.truth(BALANCED)
    assert (readings["recovery"], readings["purity"]) == (truth["recovery"], truth["purity"])
    grams = float(readings["product_nd"])  # type: ignore[arg-type]
    assert grams * 2.2 / 144.242 == pytest.approx(truth["recovery"] * lab.FEED[0])


# -- the laboratory


def test_the_laboratory_is_complete() -> None:
    laboratory = load("rare-earth-extraction")
    assert isinstance(laboratory, Simulated)
    profile = laboratory.profile()
    assert list(profile.axes) == [axis.name for axis in lab.PHYSICS.axes]
    for axis in lab.PHYSICS.axes:
        spec = profile.axes[axis.name]
        assert spec.unit == axis.unit
        assert spec.minimum is not None and spec.maximum is not None
        assert spec.minimum <= float(axis.rest) <= spec.maximum
    signals = {name: unit for detector in profile.detectors.values() for name, unit in detector.signals.items()}
    assert signals == {signal.name: signal.unit for signal in lab.PHYSICS.signals}
    assert laboratory.challenge.area == "Critical minerals"


def test_the_campaign_searches_the_box_that_the_reference_was_searched_in() -> None:
    from ruamel.yaml import YAML

    spec = YAML(typ="safe", pure=True).load(lab.LABORATORY.campaign_file().read_text(encoding="utf-8"))
    profile = lab.LABORATORY.profile()
    box = spec["parameters"]
    assert list(box) == list(profile.axes)
    assert range(box["extraction_stages"]["low"], box["extraction_stages"]["high"] + 1) == lab.STAGE_RANGE
    for name, low, high in zip(list(box)[1:], lab.LOWEST, lab.HIGHEST, strict=True):
        assert (box[name]["low"], box[name]["high"]) == (low, high)
        limit = profile.axes[name]
        assert limit.minimum is not None and limit.maximum is not None
        assert limit.minimum <= low < high <= limit.maximum
    assert spec["constraints"][0]["lower"] == lab.PURITY_BOUND


def test_simulate_is_a_function_of_seed_ordinal_and_replicate() -> None:
    first = lab.LABORATORY.simulate(BALANCED, 5, 7, 2)
    assert first == lab.LABORATORY.simulate(BALANCED, 5, 7, 2)
    assert first != lab.LABORATORY.simulate(BALANCED, 5, 8, 2)
    assert first != lab.LABORATORY.simulate(BALANCED, 6, 7, 2)
    single = lab.PHYSICS.readings(BALANCED, generator(5, 7, 0), 0.02)
    assert lab.LABORATORY.simulate(BALANCED, 5, 7)["recovery"] == (single["recovery"], None)


def test_the_reference_meets_the_bound_and_cannot_be_bettered_nearby() -> None:
    reference = lab.LABORATORY.reference()
    assert reference.outcomes["purity"] >= lab.PURITY_BOUND
    assert reference.value == reference.outcomes["recovery"] == pytest.approx(0.96764, abs=2e-5)
    rng = np.random.default_rng(0)
    for stages in (10, 11, 12):
        for _ in range(15):
            unit = (np.array([2.1, 2.5, 0.336]) - lab.LOWEST) / (lab.HIGHEST - lab.LOWEST)
            recovery, purity = lab._outcomes(stages, unit + rng.uniform(-0.05, 0.05, 3))
            assert purity < lab.PURITY_BOUND or recovery <= reference.value + 1e-4


@pytest.mark.slow
def test_another_search_from_another_start_finds_the_same_reference() -> None:
    from scipy.optimize import differential_evolution

    def loss(point: np.ndarray[Any, Any]) -> float:
        recovery, purity = lab._outcomes(min(16, 4 + int(13 * point[0])), point[1:])
        return -recovery + 20.0 * max(0.0, lab.PURITY_BOUND - purity)

    found = differential_evolution(loss, [(0.0, 1.0)] * 4, seed=3, maxiter=40, popsize=10, polish=False)
    assert -found.fun <= lab.LABORATORY.reference().value + 1e-4
    assert -found.fun == pytest.approx(lab.LABORATORY.reference().value, rel=0.005)


@pytest.mark.parametrize("stages", [10, 11, 12])
def test_the_search_ends_at_the_reference(stages: int) -> None:
    recovery, _ = lab._polished(stages, np.array([0.5, 0.7, 0.7]))
    value = lab.LABORATORY.reference().value
    assert recovery == pytest.approx(value, abs=1e-4) if stages == lab.REFERENCE_STAGES else 0.95 < recovery < value
