"""What earlier data are worth, and what useless ones cost: experiments to a target with a source, over those without.

    python -m benchmarks transfer --seeds 10

Every campaign is run twice with the same seed, once without and once with a source of 40 earlier points of a Latin
hypercube. The sources, from the same function in its own box:

- identical: the same function;
- scaled: 0.6 times the function plus a shift;
- perturbed: scaled, plus a smooth function of a fifth of its spread;
- shifted: the function moved by 10 % of every axis, so that its optimum is elsewhere;
- few, noisy: 12 points with noise of a tenth of the spread;
- unrelated: another function, smooth and of the same spread;
- noise: no function at all;
- negated: the function upside down, which sends whoever believes it to the worst place;
- trap: the function with the region of its optimum filled up and a false, deeper optimum far away from it.

The target is a regret that random search reaches at one point in a thousand. A campaign that never gets there counts as
budget + 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.planners.problem import Value
from athanor.planners.source import Source, SourcePoint
from benchmarks.planning.problems import Instance, instance

PROBLEMS = ("branin", "hartmann6", "levy5")
RELATED = ("identical", "scaled", "perturbed", "shifted", "few, noisy")
USELESS = ("unrelated", "noise", "negated", "trap")
NONE = "none"
POINTS = 40
FEW = 12
BUDGET = 40
RARE = 1e-3
"""Share of random points that are as good as the target."""

Vector = NDArray[np.float64]


class Field:
    """A smooth random function of the unit cube with mean 0 and sd 1: a sum of a few cosines."""

    def __init__(self, axes: int, rng: np.random.Generator) -> None:
        self.waves = rng.normal(0.0, 2.5, (12, axes))
        self.phases = rng.uniform(0.0, 2.0 * np.pi, 12)

    def __call__(self, x: Vector) -> float:
        return float(np.cos(self.waves @ x + self.phases).sum() / np.sqrt(6.0))


def spread_points(found: Instance, count: int, seed: int) -> list[dict[str, Value]]:
    """A random Latin hypercube of points of the problem."""
    from scipy.stats import qmc

    cube = qmc.LatinHypercube(len(found.problem.parameters), rng=np.random.default_rng([seed, 7])).random(count)
    return [found.problem.from_unit(row.tolist()) for row in cube]


def target_of(name: str, found: Instance) -> float:
    """The regret that one random point in a thousand reaches."""
    rng = np.random.default_rng(1)
    cube = rng.random((40_000, len(found.problem.parameters)))
    regrets = [found.regret(found.problem.from_unit(row.tolist())) for row in cube]
    return float(np.quantile(regrets, RARE))


def source(found: Instance, kind: str, seed: int) -> Source:
    """Earlier data of a kind."""
    rng = np.random.default_rng([seed, 11])
    points = spread_points(found, FEW if kind.startswith("few") else POINTS, seed)
    truth = np.array([found.truth(p) for p in points])
    spread = float(truth.std())
    outcome = _function(found, kind, spread, rng, truth)
    return Source(
        name=kind.replace(", ", "-"),
        points=[SourcePoint(values=p, outcomes={"y": {"mean": outcome(p)}}) for p in points],  # type: ignore[dict-item]
    )


def _function(
    found: Instance, kind: str, spread: float, rng: np.random.Generator, truth: Vector
) -> Callable[[Mapping[str, Value]], float]:
    problem, axes = found.problem, len(found.problem.parameters)
    field = Field(axes, rng)
    unit: Callable[[Mapping[str, Value]], Vector] = lambda p: np.array(problem.to_unit(p))  # noqa: E731
    scaled: Callable[[Mapping[str, Value]], float] = lambda p: 0.6 * found.truth(p) + 0.5 * spread  # noqa: E731
    if kind == "identical":
        return found.truth
    if kind == "scaled":
        return scaled
    if kind == "perturbed":
        return lambda p: scaled(p) + 0.2 * 0.6 * spread * field(unit(p))
    if kind == "shifted":
        move = rng.choice([-0.1, 0.1], axes)
        # The function itself goes on beyond the box.
        return lambda p: found.truth(
            {
                q.name: q.low + (u + m) * (q.high - q.low)
                for q, u, m in zip(problem.parameters, unit(p), move, strict=True)
            }
        )
    if kind == "few, noisy":
        return lambda p: found.truth(p) + 0.1 * spread * float(rng.standard_normal())
    if kind == "unrelated":
        return lambda p: float(truth.mean()) + spread * field(unit(p))
    if kind == "noise":
        return lambda p: float(truth.mean()) + spread * float(rng.standard_normal())
    if kind == "negated":
        return lambda p: -found.truth(p)
    best = _best(found)
    false = np.where(best > 0.5, best - 0.45, best + 0.45)
    height, depth = float(np.median(truth)), float(truth.min()) - 0.5 * spread

    def trap(p: Mapping[str, Value]) -> float:
        filled = np.exp(-0.5 * np.square((unit(p) - best) / 0.2).sum())
        dug = np.exp(-0.5 * np.square((unit(p) - false) / 0.2).sum())
        value = (1.0 - filled) * found.truth(p) + filled * height
        return float((1.0 - dug) * value + dug * depth)

    return trap


def _best(found: Instance) -> Vector:
    """The minimiser that lies in the box, in the unit cube."""
    places = []
    for at in found.task.minimisers:
        numbers = (at - found._offset) * found._sign
        unit = np.array(
            [(v - p.low) / (p.high - p.low) for v, p in zip(numbers, found.problem.parameters, strict=True)]
        )  # type: ignore[union-attr]
        if np.all((unit >= 0.0) & (unit <= 1.0)):
            places.append(unit)
    return places[0]


def run(name: str, kind: str, seed: int, target: float, budget: int = BUDGET) -> dict[str, Any]:
    """One campaign until it reaches the target: regrets in order, and the weight of the source at each suggestion."""
    from athanor.planners import BayesianPlanner, Observation

    found = instance(name, seed)
    planner = BayesianPlanner(found.problem, seed, sources=[] if kind == NONE else [source(found, kind, seed)])
    regrets, weights = [], []
    for number in range(budget):
        if regrets and min(regrets) <= target:
            break
        planner.progress = number / budget
        [candidate] = planner.suggest()
        outcome = found.truth(candidate.values)
        planner.ingest([Observation(candidate_id=candidate.id, values=candidate.values, outcomes={"y": outcome})])
        regrets.append(found.regret(candidate.values))
        said = [line for line in candidate.why.transfer if "weight" in line and "slope" in line]
        weights.append(float(said[0].split("weight ")[1].split(",")[0]) if said else 0.0)
    return {"problem": name, "kind": kind, "seed": seed, "regrets": regrets, "weights": weights}


def reached(regrets: list[float], target: float, budget: int) -> int:
    """The place of the first evaluation as good as the target; budget + 1 without one."""
    return next((k for k, regret in enumerate(regrets, 1) if regret <= target), budget + 1)


def interval(ours: Vector, base: Vector) -> tuple[float, float]:
    """The middle 95 % of what the ratio of the means would be with other seeds (bootstrap)."""
    picks = np.random.default_rng(0).integers(0, len(base), (10_000, len(base)))
    low, high = np.quantile(ours[picks].mean(1) / base[picks].mean(1), [0.025, 0.975])
    return float(low), float(high)


def main(argv: list[str]) -> int:
    """Run all arms and print a table; exit status 1 where a useless source costs more than a tenth over all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfer", description=__doc__)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--kinds", nargs="+", choices=(*RELATED, *USELESS), default=[*RELATED, *USELESS])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file of runs, added to; what is in it is not run again")
    options = parser.parse_args(argv)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    kinds = [NONE, *options.kinds]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    targets = {(n, s): target_of(n, instance(n, s)) for n in options.problems for s in seeds}
    wanted = [(name, kind, seed) for seed in seeds for name in options.problems for kind in kinds]
    runs = {}
    if options.out is not None and options.out.exists():
        for line in options.out.read_text().splitlines():
            done = json.loads(line)
            runs[done["problem"], done["kind"], done["seed"]] = done
    for done in _all([one for one in wanted if one not in runs], targets, options.budget, options.jobs):
        runs[done["problem"], done["kind"], done["seed"]] = done
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(json.dumps(done) + "\n")
        print(f"  {done['problem']} {done['kind']} seed {done['seed']}", file=sys.stderr, flush=True)
    ratios: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    print("| problem | source | experiments | without | ratio (95 %) | last weight |")
    print("|---|---|---|---|---|---|")
    for name in options.problems:
        for kind in options.kinds:
            pairs = [(runs[name, kind, s], runs[name, NONE, s], targets[name, s]) for s in seeds]
            ours, base = (
                np.array([reached(p[k]["regrets"], p[2], options.budget) for p in pairs], float) for k in (0, 1)
            )
            low, high = interval(ours, base)
            ratio = float(ours.mean() / base.mean())
            ratios[kind].append(ratio)
            last = np.mean([a["weights"][-1] for a, _, _ in pairs])
            print(
                f"| {name} | {kind} | {ours.mean():.1f} | {base.mean():.1f} | {ratio:.2f} ({low:.2f} to {high:.2f}) "
                f"| {last:.2f} |"
            )
    worst = 0
    for kind, found in ratios.items():
        overall = float(np.exp(np.mean(np.log(found))))
        print(f"{kind}: {overall:.2f} of the experiments, geometric mean over {len(found)} problems")
        worst |= kind in USELESS and overall > 1.1
    return int(worst)


def _all(
    wanted: list[tuple[str, str, int]], targets: Mapping[tuple[str, int], float], budget: int, jobs: int
) -> Iterable[dict[str, Any]]:
    if jobs == 1:
        yield from (run(*one, targets[one[0], one[2]], budget) for one in wanted)
        return
    given = [(*one, targets[one[0], one[2]], budget) for one in wanted]
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, *zip(*given, strict=True))
