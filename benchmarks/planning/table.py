"""What the runs say, as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.planning.constrained import CONSTRAINED, feasible, lapses
from benchmarks.planning.gathered import Gathered, mean
from benchmarks.planning.methods import OURS, Arm
from benchmarks.planning.runner import base
from benchmarks.planning.several import MOST

NONE = "–"
GOOD = 0.01
"""Regret below which a run on Hartmann's function has left its second best hill."""


def table(found: Gathered) -> str:
    """Every table of a part."""
    if not found.methods:
        return "No runs."
    if found.part.unit == "seconds":
        return _seconds(found)
    if found.part.unit == "hypervolume":
        return _hypervolumes(found)
    blocks = [_regrets(found, at) for at in (found.part.at or (None,))]
    if found.part.name == "constrained":
        blocks.append(_lapses(found))
    if found.part.name == "single":
        blocks += [_shares(found, p) for p in ("hartmann6", "noisy-hartmann6") if found.seeds(p)]
    return "\n\n".join(blocks)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _regrets(found: Gathered, at: int | None) -> str:
    when = f"after {at} evaluations" if at else "after the whole budget"
    rows = []
    for p in found.part.problems:
        seeds = found.seeds(p)
        cells = [
            str(mean(found.logs(p, m, seeds, at)).exp()) if seeds and found.runs[p, m] else NONE for m in found.methods
        ]
        best = found.best_peer(p) if found.runs[p, OURS] else None
        ratio = found.ratio(p, OURS, best, at) if best else None
        rows.append([f"{p} ({len(seeds)} seeds)", *cells, *([f"{ratio} of {best}" if ratio else NONE])])
    head = [f"regret {when}", *found.methods, "ours over the best peer's"]
    # Arms are told over the plain planner; without arms, ours over every other one.
    arms = [(m, plain) for m in found.methods if (plain := Arm.parse(m).planner) != m]
    if arms or not found.peers:
        head, rows = head[:-1], [row[:-1] for row in rows]
    lines = [_rows(head, rows), ""]
    for one, other in arms or [(OURS, m) for m in found.methods if m != OURS]:
        if overall := found.overall(one, other, at):
            lines.append(f"- {one} over {other}, {overall[1]} problems: {overall[0]}")
    return "\n".join(lines)


def _shares(found: Gathered, problem: str) -> str:
    seeds = found.seeds(problem)
    parts = [
        f"{m} {np.mean(found.losses(problem, m, seeds) < GOOD):.0%}" for m in found.methods if found.runs[problem, m]
    ]
    return f"Share of runs on {problem} with a regret below {GOOD}: {', '.join(parts)}."


def _lapses(found: Gathered) -> str:
    rows = []
    for p in found.part.problems:
        problem, cells = CONSTRAINED[p].problem, []
        for m in found.methods:
            traces = [found.runs[p, m][seed] for seed in found.seeds(p)] if found.runs[p, m] else []
            bad, after = map(sum, zip(*(lapses(problem, t.truths) for t in traces), strict=True)) if traces else (0, 0)
            held = [feasible(problem, t.truths) for t in traces]
            first = [h.index(True) + 1 for h in held if True in h]
            share = f"{bad / after:.1%}" if after else NONE
            soon = f"{np.median(first):g}" if first else NONE
            cells.append(f"{share}; {soon}; {sum(True not in h for h in held)}" if traces else NONE)
        rows.append([p, *cells])
    what = "infeasible after the first feasible; evaluations up to that one (median); runs without one"
    return _rows([what, *found.methods], rows)


def _hypervolumes(found: Gathered) -> str:
    rows = []
    for p in found.part.problems:
        seeds = found.seeds(p)
        cells = [
            str(mean(MOST[p] - found.losses(p, m, seeds))) if seeds and found.runs[p, m] else NONE
            for m in found.methods
        ]
        best, said = found.best_peer(p), NONE
        if best and found.runs[p, OURS] and seeds:
            # More is better: what the other one has left, less what ours has.
            more = mean(found.losses(p, best, seeds) - found.losses(p, OURS, seeds))
            said = f"{more} than {best}"
        rows.append([f"{p} ({len(seeds)} seeds)", f"{MOST[p]:,.5g}" if MOST[p] < 1000 else f"{MOST[p]:,.0f}"])
        rows[-1] += [*cells, said]
    head = ["hypervolume after the whole budget", "largest", *found.methods, "ours, more"]
    return _rows(head, rows)


def _seconds(found: Gathered) -> str:
    names = list(dict.fromkeys(base(p)[0] for p in found.part.problems))
    sizes = sorted({base(p)[1] for p in found.part.problems})
    rows = []
    for name in names:
        for m in found.methods:
            names_of = [f"{name}~{n}" for n in sizes]
            taken: list[Any] = [found.seconds(p, m) if (p, m) in found.runs else [] for p in names_of]
            if any(len(s) for s in taken):
                quartiles = [np.quantile(s, [0.5, 0.25, 0.75]) if len(s) else None for s in taken]
                cells = [NONE if q is None else f"{q[0]:.2g} ({q[1]:.2g} to {q[2]:.2g})" for q in quartiles]
                rows.append([name, m, *cells])
    return _rows(["median (quartiles) of seconds", "method", *(f"{n} known" for n in sizes)], rows)
