"""The comparisons there are: which methods on which problems, and what each is to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.planning.advised import KINDS
from benchmarks.planning.constrained import CONSTRAINED
from benchmarks.planning.methods import BASELINES, OURS
from benchmarks.planning.problems import TASKS
from benchmarks.planning.several import SEVERAL

PEERS = ("ax", "baybe", "optuna-gp", "optuna-tpe")
WORKERS = 8
SIZES = (10, 25, 50, 100, 200, 500)
ONE = ("branin", "hartmann6", "levy10")
TWO = ("branin-currin", "zdt1")


@dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
        name: as on the command line.
        title: as a heading.
        measured: what its figures are, in a sentence or two.
        problems: by name.
        methods: by name, ours first.
        seeds: how many, from 0.
        at: numbers of evaluations at which results are told; the whole budget where there are none.
        unit: of its figures: regret, hypervolume, or seconds.
    """

    name: str
    title: str
    measured: str
    problems: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int = 20
    at: tuple[int, ...] = ()
    unit: Literal["regret", "hypervolume", "seconds"] = "regret"


_REGRET = (
    "Geometric mean over seeds of the regret without noise of the best evaluation so far, with the bootstrap interval "
    "of 95 % over seeds."
)

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part("single", "One objective", _REGRET, tuple(TASKS), (OURS, *PEERS, *BASELINES)),
        Part(
            "constrained",
            "Constrained outcomes",
            f"{_REGRET} Evaluations count that truly keep every bound; a run without one counts as the worst feasible "
            "point. Ours is told to keep every bound with a probability of 0.95.",
            tuple(CONSTRAINED),
            (OURS, "ax", "optuna-gp", "optuna-tpe", *BASELINES),
        ),
        Part(
            "several",
            "Two objectives",
            "Mean over seeds of the hypervolume of all evaluations, without noise, with the bootstrap interval of 95 % "
            "over seeds.",
            tuple(SEVERAL),
            (OURS, *PEERS, *BASELINES),
            unit="hypervolume",
        ),
        Part(
            "advice",
            "Advice",
            f"{_REGRET} The advice is one region, given before the first experiment.",
            tuple(TASKS),
            (OURS, *(f"{OURS}+{kind}" for kind in KINDS)),
            at=(20, 40),
        ),
        Part(
            "asynchronous",
            "Eight workers",
            f"{_REGRET} With `@{WORKERS}` as many evaluations run at the same time, each 0.5 to 1.5 units long, and "
            "the next is asked for when one ends.",
            tuple(TASKS),
            (OURS, f"{OURS}@{WORKERS}", "ax", f"ax@{WORKERS}", "optuna-gp", f"optuna-gp@{WORKERS}"),
        ),
        Part(
            "latency",
            "Seconds for a suggestion",
            "Median seconds from asking to the suggestion, fit included, with so many random points known (N); four "
            "suggestions for each seed, one thread.",
            tuple(f"{name}~{size}" for name in (*ONE, *TWO) for size in SIZES),
            (OURS, "ax", "baybe", "optuna-gp"),
            seeds=5,
            unit="seconds",
        ),
        Part(
            "sparse",
            "A hundred axes of which few matter",
            _REGRET,
            ("branin-in-100", "hartmann6-in-100"),
            (OURS, "ax", *BASELINES),
        ),
    )
}
