"""The runs that a table is made of, and what may be said of them: means over paired seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.planning import runner
from benchmarks.planning.instances import pose
from benchmarks.planning.methods import BASELINES, OURS, Arm, cannot, is_there
from benchmarks.planning.methods import version as version_here
from benchmarks.planning.parts import Part
from benchmarks.planning.problems import Vector
from benchmarks.planning.runner import Trace, base, budget_of, version_in

LEAST = 1e-6
"""Regrets below this count as this: two planners that have both arrived differ in nothing that matters."""
DRAWS = 2000


@dataclass(frozen=True)
class Figure:
    """A mean or a ratio, with the middle 95 % of what it would be with other seeds (bootstrap)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """With three digits."""
        return f"{_short(self.value)} ({_short(self.low)} to {_short(self.high)})"

    def exp(self) -> Figure:
        """Of logs, the figure itself."""
        return Figure(*(float(np.exp(x)) for x in (self.value, self.low, self.high)))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def mean(*groups: Vector, seed: int = 0) -> Figure:
    """The mean of the means of groups, each resampled by itself: seeds within problems."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros(DRAWS)
    for values in groups:
        drawn += values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1) / len(groups)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(float(np.mean([values.mean() for values in groups])), float(low), float(high))


@dataclass(frozen=True)
class Gathered:
    """The runs of one part: for every method one version, and for every problem the seeds each method has."""

    part: Part
    versions: dict[str, str | None]
    runs: dict[tuple[str, str], dict[int, Trace]]
    budget: int | None = None

    @property
    def methods(self) -> list[str]:
        """Those that were run, in the part's order."""
        return [m for m in self.part.methods if any(self.runs[p, m] for p in self.part.problems)]

    @property
    def peers(self) -> list[str]:
        """Those that are neither ours nor a baseline."""
        return [m for m in self.methods if not m.startswith(OURS) and m not in BASELINES]

    def able(self, problem: str) -> list[str]:
        """The methods that have runs of a problem."""
        return [m for m in self.methods if self.runs[problem, m]]

    def seeds(self, problem: str, methods: Sequence[str] | None = None) -> list[int]:
        """The seeds that all methods that have runs of a problem have; of the given ones, that all have."""
        chosen = self.able(problem) if methods is None else methods
        sets = [set(self.runs.get((problem, m), ())) for m in chosen]
        return sorted(set.intersection(*sets)) if sets else []

    def at(self, problem: str, evaluations: int | None = None) -> int:
        """The number of evaluations results are told at, at most the whole budget."""
        count = budget_of(problem) if self.budget is None else self.budget
        return count if evaluations is None else min(evaluations, count)

    def losses(self, problem: str, method: str, seeds: Sequence[int], evaluations: int | None = None) -> Vector:
        """What was left to gain after so many evaluations (seeds,)."""
        at = self.at(problem, evaluations)
        return np.array([self.runs[problem, method][seed].losses[at - 1] for seed in seeds])

    def logs(self, problem: str, method: str, seeds: Sequence[int], evaluations: int | None = None) -> Vector:
        """The logs of the same."""
        return np.log(np.maximum(self.losses(problem, method, seeds, evaluations), LEAST))

    def gap(self, problem: str, method: str, other: str, evaluations: int | None = None) -> Vector:
        """By how much the log of what was left is larger than another method's, seed by seed."""
        seeds = self.seeds(problem, [method, other])
        return self.logs(problem, method, seeds, evaluations) - self.logs(problem, other, seeds, evaluations)

    def ratio(self, problem: str, method: str, other: str, evaluations: int | None = None) -> Figure | None:
        """Geometric mean of what was left over another method's; None where no seed has both."""
        gap = self.gap(problem, method, other, evaluations)
        return mean(gap).exp() if len(gap) else None

    def overall(self, method: str, other: str, evaluations: int | None = None) -> tuple[Figure, int] | None:
        """The same over all problems that both have, each problem with the same weight, and how many these are."""
        gaps = [gap for p in self.part.problems if len(gap := self.gap(p, method, other, evaluations))]
        return (mean(*gaps).exp(), len(gaps)) if gaps else None

    def best_peer(self, problem: str) -> str | None:
        """The peer with the least geometric mean at the end, over the seeds that all methods have."""
        seeds, peers = self.seeds(problem), [m for m in self.peers if self.runs[problem, m]]
        if not seeds or not peers:
            return None
        return min(peers, key=lambda m: float(self.logs(problem, m, seeds).mean()))

    def seconds(self, problem: str, method: str) -> Vector:
        """What every suggestion took, of all seeds."""
        return np.array([s for trace in self.runs[problem, method].values() for s in trace.seconds])

    def notes(self) -> list[str]:
        """Versions, machines, seeds, and what is missing: a table without these is none."""
        traces = [t for found in self.runs.values() for t in found.values()]
        lines = [f"Versions: {', '.join(f'{m} {v}' for m, v in self.versions.items() if v) or 'none run'}."]
        if traces:
            machines = sorted({t.machine for t in traces})
            lines.append(f"Machine: {'; '.join(machines)}; one thread for each run.")
            counts = [len(self.seeds(p)) for p in self.part.problems]
            lines.append(f"Paired seeds: {min(counts)} to {max(counts)} for each problem.")
            if len(machines) > 1:
                lines.append("Runs of several machines: their seconds are not comparable.")
        if self.versions[OURS] and is_there(OURS) and self.versions[OURS] != version_here(OURS):
            lines.append(f"The planner has changed since ({version_here(OURS)}): these figures are of an earlier one.")
        unable = [
            f"{m} on {p} ({why})"
            for p in self.part.problems
            for m in self.part.methods
            if (why := cannot(m, pose(base(p)[0], 0).problem))
        ]
        if unable:
            lines.append(f"Not run: {'; '.join(unable)}.")
        return lines


def gather(folder: Path, part: Part, budget: int | None = None) -> Gathered:
    """Read the runs of a part."""
    planner = {m: Arm.parse(m).planner for m in part.methods}
    of = {p: version_in(folder, part.problems, [m for m in part.methods if planner[m] == p]) for p in planner.values()}
    versions = {m: of[planner[m]] for m in part.methods}
    runs = {
        (p, m): runner.read(folder, p, m, version, budget) if (version := versions[m]) else {}
        for p in part.problems
        for m in part.methods
    }
    return Gathered(part, versions, runs, budget)
