"""What the figures mean for what is claimed: each claim with a bound, whether it holds, and by how much.

A claim is judged by the figure itself; the interval beside it tells how sure that is. What was not run is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.planning.advised import KINDS
from benchmarks.planning.constrained import CONSTRAINED, lapses
from benchmarks.planning.gathered import Figure, Gathered, mean
from benchmarks.planning.methods import OURS
from benchmarks.planning.parts import ONE, SIZES, TWO, WORKERS
from benchmarks.planning.several import MOST

SEEDS = 20
"""Paired seeds without which a verdict is marked as early."""
TSEMO = 5486.0
"""Published mean hypervolume of TSEMO after 50 experiments on the reaction as coded (standard deviation 2532)."""


@dataclass(frozen=True)
class Verdict:
    """A claim; whether it holds (None: not measured); and the figures."""

    claim: str
    holds: bool | None
    said: str

    def __str__(self) -> str:
        """As a line of Markdown."""
        word = {True: "holds", False: "**does not hold**", None: "not measured"}[self.holds]
        return f"- {self.claim}: {word}. {self.said}".rstrip()


def judge(found: Gathered) -> list[Verdict]:
    """The verdicts on a part."""
    judges: dict[str, Callable[[Gathered], list[Verdict]]] = {
        "single": _single,
        "constrained": _constrained,
        "several": _several,
        "advice": _advice,
        "asynchronous": _asynchronous,
        "latency": _latency,
        "sparse": _sparse,
    }
    return judges[found.part.name](found)


def _verdict(claim: str, said: Sequence[tuple[bool, str]], complete: bool, seeds: int | None = None) -> Verdict:
    """A claim about several figures, which holds where each does; of some alone it is not measured."""
    text = "; ".join(text for _, text in said)
    if not said or not complete:
        return Verdict(claim, None, f"So far: {text}." if text else "")
    early = "" if seeds is None or seeds >= SEEDS else f" Early: {seeds} paired seeds of {SEEDS}."
    return Verdict(claim, all(ok for ok, _ in said), f"{text}.{early}")


def _fewest(found: Gathered, methods: Sequence[str]) -> int:
    return min(len(found.seeds(p, methods)) for p in found.part.problems)


def _single(found: Gathered) -> list[Verdict]:
    problems = found.part.problems
    best = {p: peer for p in problems if found.runs[p, OURS] and (peer := found.best_peer(p))}
    ratios = {p: ratio for p, peer in best.items() if (ratio := found.ratio(p, OURS, peer))}
    complete = len(ratios) == len(problems) and len(found.peers) == 4
    needed = 3 * len(problems) // 4
    won = [p for p, ratio in ratios.items() if ratio.value <= 1.0]
    seeds = _fewest(found, found.methods) if complete else None
    text = ", ".join(f"{p} {ratio} of {best[p]}" for p, ratio in ratios.items())
    first = [(len(won) >= needed, f"{len(won)} of {len(ratios)}: {text}")] if ratios else []
    second = []
    if ratios:
        worst = max(ratios, key=lambda p: ratios[p].value)
        second = [(ratios[worst].value <= 1.5, f"at most {ratios[worst]}, on {worst}")]
    third = []
    for peer in found.peers:
        if overall := found.overall(OURS, peer):
            third.append((overall[0].value <= 0.7, f"{overall[0]} of {peer}"))
            complete = complete and overall[1] == len(problems)
    return [
        _verdict(f"At or below the best peer's regret on {needed} of {len(problems)}", first, complete, seeds),
        _verdict("Never above 1.5 times the best peer's", second, complete, seeds),
        _verdict("At most 0.7 times each peer's over all", third, complete, seeds),
    ]


def _against(found: Gathered, other: str, most: float, at: int | None = None) -> list[tuple[bool, str]]:
    said = []
    for p in found.part.problems:
        if ratio := found.ratio(p, OURS, other, at):
            said.append((ratio.value <= most, f"{p} {ratio}"))
    return said


def _constrained(found: Gathered) -> list[Verdict]:
    said = _against(found, "ax", 1.0)
    complete = len(said) == len(found.part.problems)
    seeds = _fewest(found, [OURS, "ax"])
    shares = []
    for p in found.part.problems:
        counts = [lapses(CONSTRAINED[p].problem, t.truths) for t in found.runs[p, OURS].values()]
        bad, after = (sum(c[i] for c in counts) for i in (0, 1))
        if after:
            shares.append((bad <= 0.1 * after, f"{p} {bad / after:.1%} ({bad} of {after})"))
    return [
        _verdict("Best feasible value at or ahead of Ax's (ratio of regrets)", said, complete, seeds),
        _verdict(
            "At most 10 % infeasible after the first feasible", shares, len(shares) == len(found.part.problems), seeds
        ),
    ]


def _several(found: Gathered) -> list[Verdict]:
    said = []
    for p in found.part.problems:
        if seeds := found.seeds(p, [OURS, "ax"]):
            more = mean(found.losses(p, "ax", seeds) - found.losses(p, OURS, seeds))
            share = Figure(*(100.0 * x / MOST[p] for x in (more.value, more.low, more.high)))
            said.append((more.value >= 0.0, f"{p} {share} % of the largest"))
    complete = len(said) == len(found.part.problems)
    ahead = []
    runs = sorted(found.runs["snar-as-coded", OURS])
    if runs:
        volume = mean(MOST["snar-as-coded"] - found.losses("snar-as-coded", OURS, runs))
        ahead = [(volume.low > TSEMO, f"{volume}, {volume.value / TSEMO:.2f} times")]
    return [
        _verdict("Hypervolume at or ahead of Ax's (ours, more)", said, complete, _fewest(found, [OURS, "ax"])),
        _verdict(f"The reaction as coded: above TSEMO's published mean of {TSEMO:g}", ahead, bool(ahead), len(runs)),
    ]


def _advice(found: Gathered) -> list[Verdict]:
    verdicts = []
    for at in found.part.at:
        for kind in KINDS:
            arm, most = f"{OURS}+{kind}", 0.5 if kind == "good" else 1.1
            overall = found.overall(arm, OURS, at)
            said = [(overall[0].value <= most, str(overall[0]))] if overall else []
            complete = overall is not None and overall[1] == len(found.part.problems)
            claim = f"Regret with {kind} advice at most {most} times that of none, after {at}"
            verdicts.append(_verdict(claim, said, complete, _fewest(found, [arm, OURS])))
    return verdicts


def _asynchronous(found: Gathered) -> list[Verdict]:
    arm = f"{OURS}@{WORKERS}"
    overall = found.overall(arm, OURS)
    said = [(overall[0].value <= 1.25, str(overall[0]))] if overall else []
    complete = overall is not None and overall[1] == len(found.part.problems)
    claim = f"Regret with {WORKERS} workers at most 1.25 times that of one, at equal evaluations"
    return [_verdict(claim, said, complete, _fewest(found, [arm, OURS]))]


def _latency(found: Gathered) -> list[Verdict]:
    verdicts = []
    for names, most, claim in (
        (ONE, 0.5, "One objective, up to 100 known: median at most half of Ax's"),
        (TWO, 1.0, "Two objectives, up to 100 known: median at most Ax's"),
    ):
        ratios = {}
        for problem in [f"{name}~{size}" for name in names for size in SIZES if size <= 100]:
            ours, other = (found.seconds(problem, m) for m in (OURS, "ax"))
            if len(ours) and len(other):
                ratios[problem] = float(np.median(ours) / np.median(other))
        said = []
        if ratios:
            worst = max(ratios, key=lambda p: ratios[p])
            middle = float(np.exp(np.mean(np.log(list(ratios.values())))))
            said = [(ratios[worst] <= most, f"{middle:.2f} on average, at most {ratios[worst]:.2f} ({worst})")]
        verdicts.append(_verdict(claim, said, len(ratios) == len(names) * sum(size <= 100 for size in SIZES)))
    return verdicts


def _sparse(found: Gathered) -> list[Verdict]:
    verdicts = []
    for other, whose in (("ax", "Ax's default"), ("sobol", "Sobol's")):
        said = _against(found, other, 1.0)
        complete = len(said) == len(found.part.problems)
        verdicts.append(_verdict(f"Regret below {whose}", said, complete, _fewest(found, [OURS, other])))
    return verdicts
