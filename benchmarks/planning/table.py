"""What the runs say, as a table: regret of every planner on every problem, and against the best peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.planning.runner import Trace, read

OURS = "athanor"
BASELINES = ("sobol", "random")
LEAST = 1e-6
"""Regrets below this count as this: two planners that have both arrived differ in nothing that matters."""
DRAWS = 2000


def logs(traces: Sequence[Trace], at: int) -> NDArray[np.float64]:
    """The logs of the least regrets after `at` evaluations, one for each run."""
    return np.log(np.maximum([trace.best()[at - 1] for trace in traces], LEAST))


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of what the mean of these values would be in other runs (bootstrap over seeds)."""
    picks = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def table(folder: Path, problems: Sequence[str], methods: Sequence[str], at: int = 40) -> str:
    """Geometric means over the seeds that all methods have, with 95 % intervals; Markdown."""
    lines = [
        f"| regret after {at} | " + " | ".join(methods) + " | against the best peer |",
        "|---" * (len(methods) + 2) + "|",
    ]
    ratios: dict[str, list[NDArray[np.float64]]] = {}
    for problem in problems:
        runs = {method: read(folder, problem, method) for method in methods}
        seeds = sorted(set.intersection(*(set(found) for found in runs.values())))
        if not seeds:
            lines.append(f"| {problem} | " + "not run by all | " * (len(methods) + 1))
            continue
        found = {method: logs([runs[method][seed] for seed in seeds], at) for method in methods}
        cells = []
        for values in found.values():
            low, high = interval(values)
            cells.append(f"{np.exp(values.mean()):.2g} ({np.exp(low):.2g} to {np.exp(high):.2g})")
        peers = [method for method in methods if method not in (OURS, *BASELINES)]
        said = "–"
        if OURS in found and peers:
            best = min(peers, key=lambda method: float(found[method].mean()))
            gap = found[OURS] - found[best]
            low, high = interval(gap)
            said = f"{np.exp(gap.mean()):.2f} of {best} ({np.exp(low):.2f} to {np.exp(high):.2f})"
            for peer in peers:
                ratios.setdefault(peer, []).append(found[OURS] - found[peer])
        lines.append(f"| {problem} ({len(seeds)} seeds) | " + " | ".join([*cells, said]) + " |")
    for peer, gaps in ratios.items():
        overall = float(np.exp(np.mean([gap.mean() for gap in gaps])))
        lines.append(f"\nAgainst {peer}, over {len(gaps)} problems: {overall:.2f}")
    lines.append("")
    lines.append("Seconds a suggestion, median over all runs: " + ", ".join(_seconds(folder, problems, methods)))
    return "\n".join(lines)


def _seconds(folder: Path, problems: Sequence[str], methods: Sequence[str]) -> list[str]:
    found = []
    for method in methods:
        taken = [s for problem in problems for trace in read(folder, problem, method).values() for s in trace.seconds]
        if taken:
            found.append(f"{method} {np.median(taken):.2f}")
    return found
