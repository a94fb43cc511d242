"""Dispersive readout of a transmon: how hard, at which frequency and for how long to drive, to tell |0⟩ from |1⟩.

The readout resonator's field follows a pointer state that depends on the qubit (Gambetta 2008, Blais 2021):

    dα_s/dt = −(κ/2 + iΔ_s) α_s − iε,      Δ_0 = χ − δ,  Δ_1 = −χ − δ,

with drive amplitude ε, linewidth κ, dispersive shift χ and detuning δ of the drive from the middle of both resonances.
The field that leaks out is amplified and integrated over a window T; in units of the amplifier chain's own noise a shot
is I + iQ = √(2ηκ/T) ∫₀ᵀ α dt + two unit normals.

While it is watched the qubit may jump to the other state, by relaxation (rate 1/T1, from |1⟩ only) and by transitions
that the drive induces (rate Γ (n/n_crit)³ with n = |α_s|² photons, from either state); the field then rings over to the
other pointer state. Each shot has at most one jump; a second one is neglected, in the shots as in the truth.

Detector signals are the raw shots; `assignment_fidelity` makes the fidelity 1 − (P(1|0) + P(0|1))/2 from them.
Constants and sources: docs/laboratories/qubit-readout.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from athanor.instruments.laboratory import Challenge, ProcessFailed, Reference
from athanor.instruments.profile import OutcomeSpec
from athanor.instruments.reductions import Documents, Outcomes, ReductionFailed, readings
from athanor.sandbox.laboratory import SimulatedLaboratory
from athanor.sandbox.physics import AxisModel, Readings, SignalModel, Value

Array: TypeAlias = npt.NDArray[np.float64]
Field: TypeAlias = npt.NDArray[np.complex128]

MHZ = 2.0 * math.pi * 1e-3  # rad/ns of a frequency of 1 MHz

SHOTS = 1000  # per prepared state and replicate
GRID = 1024  # cells of the integration window over which jumps are resolved
LINE_PHASE = 0.7  # rad that the cables turn the signal by
FEWEST_SHOTS = 100  # per state: fewer cannot fix axis and threshold

CHALLENGE = Challenge(
    domain="Superconducting qubits",
    area="Quantum systems",
    description=(
        "Error correction stands or falls with fast, faithful measurement of its qubits. A transmon is read through a "
        "resonator whose frequency it shifts. A stronger drive tells the states apart sooner but begins to kick the "
        "qubit; a longer integration averages the amplifier's noise but gives the qubit time to relax; and the best "
        "frequency is not quite where the design put it."
    ),
    sources=(
        "J. Gambetta et al., Phys. Rev. A 77, 012112 (2008): pointer states and the measurement signal",
        "A. Blais, A. L. Grimsmo, S. M. Girvin, A. Wallraff, Rev. Mod. Phys. 93, 025005 (2021): dispersive readout",
        "T. Walter et al., Phys. Rev. Applied 7, 054020 (2017), arXiv:1701.06933: 99.2 % in 88 ns, T1 of 7.6 µs",
        "D. Sank et al., Phys. Rev. Lett. 117, 190503 (2016): transitions induced by the readout drive",
        "F. Swiadek et al., PRX Quantum 5, 040326 (2024), arXiv:2307.07765: 0.25 % error in 100 ns",
    ),
)


@dataclass(frozen=True)
class Device:
    """One qubit with its readout line; the defaults are the laboratory's.

    Attributes:
        linewidth: κ/2π, MHz.
        shift: χ/2π, MHz: |0⟩ pulls the resonator up by it, |1⟩ down.
        offset: Frequency of the middle of the two resonances, from the design frequency, MHz.
        efficiency: η, the share of the signal-to-noise ratio that the amplifier chain leaves of an ideal heterodyne's.
        lifetime: T1, ns; `math.inf` for none.
        critical_photons: n_crit.
        induced: Γ, rate of drive-induced transitions at n_crit, 1/ns.
    """

    linewidth: float = 37.5
    shift: float = 7.9
    offset: float = 4.0
    efficiency: float = 0.5
    lifetime: float = 7600.0
    critical_photons: float = 14.0
    induced: float = 1e-3


@dataclass(frozen=True)
class Shot:
    """What shots with the qubit prepared in one state look like, before noise.

    Attributes:
        times: Middles of the cells of the window, ns, shape (GRID,).
        survival: Probability of no jump up to each cell's edge, shape (GRID + 1,).
        steady: Integrated signal without a jump.
        jumped: Integrated signal with a jump at each of `times`, shape (GRID,).
    """

    times: Array
    survival: Array
    steady: complex
    jumped: Field

    @property
    def mean(self) -> complex:
        """Average over all shots."""
        return complex(self.survival[-1] * self.steady - np.sum(np.diff(self.survival) * self.jumped))


def pointer(state: int, drive: float, detuning: float, times: Array, device: Device) -> tuple[complex, complex, Field]:
    """Pointer state of the resonator, driven from vacuum at time 0.

    Args:
        state: 0 or 1.
        drive: ε/2π, MHz.
        detuning: Of the drive from the design frequency, MHz.
        times: ns, shape (n,).
        device: The device.

    Returns:
        Steady field, its complex rate κ/2 + iΔ in rad/ns, and the field at `times`, in √photons.
    """
    sign = 1.0 if state == 0 else -1.0
    pull = sign * device.shift + device.offset - detuning
    rate = complex(device.linewidth / 2.0, pull) * MHZ
    steady = -1j * drive * MHZ / rate
    return steady, rate, steady * -np.expm1(-rate * times)


def shots(state: int, drive: float, detuning: float, duration: float, device: Device | None = None) -> Shot:
    """The noise-free shots for one prepared state.

    Args:
        state: Prepared state, 0 or 1.
        drive: ε/2π, MHz.
        detuning: Of the drive from the design frequency, MHz.
        duration: Integration window, ns.
        device: The laboratory's by default.
    """
    device = device or Device()
    edges = np.linspace(0.0, duration, GRID + 1)
    times = 0.5 * (edges[1:] + edges[:-1])
    own, rate, field = pointer(state, drive, detuning, times, device)
    other, other_rate, _ = pointer(1 - state, drive, detuning, times, device)
    photons = np.abs(field) ** 2
    hazard = device.induced * (photons / device.critical_photons) ** 3 + state / device.lifetime
    survival = np.exp(-np.concatenate([[0.0], np.cumsum(hazard) * (duration / GRID)]))
    before = own * (times + np.expm1(-rate * times) / rate)
    left = duration - times
    after = other * left - (field - other) * np.expm1(-other_rate * left) / other_rate
    steady = own * (duration + np.expm1(-rate * duration) / rate)
    scale = math.sqrt(2.0 * device.efficiency * device.linewidth * MHZ / duration)
    turn = scale * complex(math.cos(LINE_PHASE), math.sin(LINE_PHASE))
    return Shot(times, survival, complex(turn * steady), np.asarray(turn * (before + after), dtype=np.complex128))


def fidelity(drive: float, detuning: float, duration: float, device: Device | None = None) -> float:
    """Noise-free assignment fidelity with the best threshold along the line through the mean shots; see `shots`."""
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr

    ground, excited = (shots(state, drive, detuning, duration, device) for state in (0, 1))
    apart = excited.mean - ground.mean
    axis = np.conj(apart) / abs(apart) if abs(apart) > 1e-12 else 1.0 + 0.0j
    levels, weights = [], []
    for shot in (ground, excited):
        levels.append((axis * np.append(shot.jumped, shot.steady)).real)
        weights.append(np.append(-np.diff(shot.survival), shot.survival[-1]))

    def error(threshold: float) -> float:
        wrong_one = float(weights[0] @ ndtr(levels[0] - threshold))
        wrong_zero = float(weights[1] @ ndtr(threshold - levels[1]))
        return 0.5 * (wrong_one + wrong_zero)

    low = min(level.min() for level in levels) - 6.0
    high = max(level.max() for level in levels) + 6.0
    grid = np.linspace(low, high, 65)
    best = int(np.argmin([error(threshold) for threshold in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    polished = minimize_scalar(error, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return 1.0 - min(float(polished.fun), error(float(grid[best])), 0.5)


class QubitReadout:
    """The physics of one transmon and its readout line."""

    name = "qubit-readout"
    axes: Sequence[AxisModel] = (
        AxisModel("drive_amplitude", "MHz", rest=20.0, speed=200.0),
        AxisModel("detuning", "MHz", rest=0.0, speed=50.0),
        AxisModel("integration_time", "ns", rest=200.0, speed=1000.0),
    )
    signals: Sequence[SignalModel] = (
        SignalModel("ground", length=2 * SHOTS),
        SignalModel("excited", length=2 * SHOTS),
    )
    dwell_s = 2 * SHOTS * 50e-6  # a shot every 50 µs lets the qubit relax in between

    def __init__(self, device: Device | None = None) -> None:
        self.device = device or Device()

    def truth(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Assignment fidelity, 0.5 to 1.

        Raises:
            ProcessFailed: The integration time is not positive, or a value is not finite.
        """
        return {"fidelity": fidelity(*_settings(values), self.device)}

    def readings(self, values: Mapping[str, Value], rng: np.random.Generator, noise: float) -> Readings:
        """Raw shots: `ground` and `excited` are I, Q of the first shot, I, Q of the second, and so on.

        Shot noise is the laboratory's own nature; `noise` is the relative standard deviation of the drive amplitude
        that arrives at the chip, from one replicate to the next.
        """
        drive, detuning, duration = _settings(values)
        drive *= max(0.0, 1.0 + noise * float(rng.standard_normal()))
        return {
            name: _sample(shots(state, drive, detuning, duration, self.device), rng)
            for state, name in enumerate(("ground", "excited"))
        }


def _settings(values: Mapping[str, Value]) -> tuple[float, float, float]:
    drive, detuning, duration = (float(values[axis.name]) for axis in QubitReadout.axes)
    if not (math.isfinite(drive) and math.isfinite(detuning) and math.isfinite(duration)):
        raise ProcessFailed("the digitiser was given a setting that is not finite")
    if duration <= 0.0:
        raise ProcessFailed("the integration window is empty")
    return drive, detuning, duration


def _sample(shot: Shot, rng: np.random.Generator) -> list[float]:
    """SHOTS noisy shots, interleaved I and Q, to three decimals (a thousandth of the noise)."""
    # A uniform number below the survival at the window's end means no jump; above, where it fell tells when.
    fate = rng.random(SHOTS)
    cell = np.searchsorted(-shot.survival, -fate) - 1
    signal = np.where(cell >= GRID, shot.steady, shot.jumped[np.minimum(cell, GRID - 1)])
    pairs = np.column_stack([signal.real, signal.imag]) + rng.standard_normal((SHOTS, 2))
    return [float(number) for number in np.round(pairs.ravel(), 3)]


# -- reduction ---------------------------------------------------------------------------------------------------------


def assignment_fidelity(documents: Documents, outcomes: Mapping[str, OutcomeSpec]) -> Outcomes:
    """Assignment fidelity 1 − (P(1|0) + P(0|1))/2 from the raw shots of a run, with its standard error.

    Every event's shots are split in two halves. Axis (through the mean shots) and threshold (least error, smoothed)
    come from one half and are tested on the other, and the other way round, so that no shot helps to choose the line
    it is judged by. Replicates are averaged. The standard error is binomial, with one error of each kind added so that
    a flawless run is not certain.

    Args:
        documents: (name, document) pairs of one run; events carry `ground` and `excited`.
        outcomes: The outcomes asked for; `fidelity` and `infidelity` can be.

    Raises:
        ReductionFailed: No reading, a missing or malformed trace, too few shots, a number that is not finite, or an
            outcome that this reduction does not make.
    """
    for name in outcomes:
        if name not in ("fidelity", "infidelity"):
            raise ReductionFailed(f"assignment-fidelity makes fidelity and infidelity, not {name!r}")
    ground, excited = (readings(documents, name) for name in ("ground", "excited"))
    if len(ground) != len(excited):
        raise ReductionFailed(f"{len(ground)} readings of ground but {len(excited)} of excited; each needs its pair")
    found = [_judge(_shots(zero, "ground"), _shots(one, "excited")) for zero, one in zip(ground, excited, strict=True)]
    value = math.fsum(f for f, _ in found) / len(found)
    error = math.sqrt(math.fsum(v for _, v in found)) / len(found)
    both = {"fidelity": (value, error), "infidelity": (1.0 - value, error)}
    return {name: both[name] for name in outcomes}


def _shots(trace: Any, name: str) -> Array:
    """The shots of one prepared state, shape (n, 2)."""
    try:
        flat = np.asarray(trace, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise ReductionFailed(f"signal {name!r} is not a list of numbers") from error
    if flat.size % 2:
        raise ReductionFailed(f"signal {name!r} has an odd number of values; shots are pairs of I and Q")
    if flat.size < 2 * FEWEST_SHOTS:
        raise ReductionFailed(f"signal {name!r} has {flat.size // 2} shots; at least {FEWEST_SHOTS} are needed")
    if not bool(np.all(np.isfinite(flat))):
        raise ReductionFailed(f"signal {name!r} has a value that is not finite")
    return flat.reshape(-1, 2)


def _judge(ground: Array, excited: Array) -> tuple[float, float]:
    """Cross-fitted fidelity of one event, and its variance."""
    wrong = [0, 0]
    for first in (0, 1):
        axis, threshold = _discriminator(ground[first::2], excited[first::2])
        wrong[0] += int(np.sum(ground[1 - first :: 2] @ axis > threshold))
        wrong[1] += int(np.sum(excited[1 - first :: 2] @ axis <= threshold))
    value, variance = 1.0, 0.0
    for count, total in zip(wrong, (len(ground), len(excited)), strict=True):
        value -= 0.5 * count / total
        rate = (count + 1) / (total + 2)
        variance += 0.25 * rate * (1.0 - rate) / total
    return value, variance


def _discriminator(ground: Array, excited: Array) -> tuple[Array, float]:
    """Unit axis from the mean of `ground` to that of `excited`, and the threshold of least smoothed error along it."""
    from scipy.special import ndtr

    apart = excited.mean(axis=0) - ground.mean(axis=0)
    length = float(np.hypot(*apart))
    axis = apart / length if length > 0 else np.array([1.0, 0.0])
    zero, one = ground @ axis, excited @ axis
    width = 0.3 * 0.5 * float(zero.std() + one.std()) or 1.0  # smooths the counts without moving the minimum much
    grid = np.linspace(np.median(zero), np.median(one), 61)
    errors = ndtr((zero[:, None] - grid) / width).mean(axis=0) + ndtr((grid - one[:, None]) / width).mean(axis=0)
    return axis, float(grid[int(np.argmin(errors))])


# -- reference ---------------------------------------------------------------------------------------------------------

PHYSICS = QubitReadout()
LOWEST = np.array([10.0, -20.0, 40.0])  # drive, detuning, integration time: the box of the ready campaign
HIGHEST = np.array([120.0, 20.0, 400.0])


def _reference(point: Array) -> Reference:
    values: dict[str, float | int | str] = {
        axis.name: round(float(value), 4) for axis, value in zip(PHYSICS.axes, point, strict=True)
    }
    outcomes = PHYSICS.truth(values)
    return Reference(
        values=values,
        outcomes=outcomes,
        metric="fidelity",
        value=outcomes["fidelity"],
        method=(
            "noise-free fidelity on a grid of 23 x 17 x 19 points, then Nelder-Mead from the best five; infidelity "
            f"{1.0 - outcomes['fidelity']:.5f}"
        ),
        source="recomputed by benchmarks/reference_optima.py",
    )


def recompute_reference() -> Reference:
    """Search the campaign's whole box for the best noise-free fidelity. Takes about half a minute."""
    from itertools import product

    from scipy.optimize import minimize

    def loss(unit_point: npt.NDArray[Any]) -> float:
        drive, detuning, duration = (float(x) for x in LOWEST + (HIGHEST - LOWEST) * np.clip(unit_point, 0.0, 1.0))
        return 1.0 - fidelity(drive, detuning, duration)

    grid = [np.array(point) for point in product(*(np.linspace(0.0, 1.0, n) for n in (23, 17, 19)))]
    starts = sorted(grid, key=loss)[:5]
    results = [
        minimize(loss, start.tolist(), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 400})
        for start in starts
    ]
    best = min(results, key=lambda result: float(result.fun))
    return _reference(LOWEST + (HIGHEST - LOWEST) * np.clip(np.asarray(best.x, dtype=float), 0.0, 1.0))


def reference() -> Reference:
    """The reference optimum, as `recompute_reference` found it; its fidelity is computed here."""
    return _reference(np.array(REFERENCE_POINT))


REFERENCE_POINT = (44.0082, 4.6094, 90.7115)

LABORATORY = SimulatedLaboratory(
    PHYSICS, devices="classic", challenge=CHALLENGE, reference=reference, recompute=recompute_reference
)
