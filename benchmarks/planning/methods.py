"""The methods that are compared, by name.

`athanor`, `ax`, `baybe`, `optuna-gp`, `optuna-tpe`, `sobol` and `random` are planners. Added to a name, `+good`,
`+wrong`, `+adversarial` or `+permuted` gives the planner advice of that kind, and `@8` has eight workers evaluate at
the same time. Ours alone is told the budget, since its campaigns always have one: towards its end it collects what it
knows to be good.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from athanor.planners.problem import Categorical, Continuous, Problem, Value
from benchmarks.planning.asking import Asked, Method
from benchmarks.planning.peers import Ax, BayBE, Optuna

OURS = "athanor"
BASELINES = ("sobol", "random")
MOST_COMBINATIONS = 1_000_000
"""Of discrete values, that BayBE is asked to enumerate."""


class Ours:
    """A planner of Athanor's."""

    def __init__(self, kind: str, problem: Problem, seed: int, budget: int, advice: Sequence[Any] = ()) -> None:
        from athanor.planners import BayesianPlanner, RandomPlanner, SobolPlanner

        kinds: dict[str, Any] = {OURS: BayesianPlanner, "random": RandomPlanner, "sobol": SobolPlanner}
        self._planner = kinds[kind](problem, seed)
        if advice:
            self._planner.advise(advice)
        self._budget, self._begun = budget, 0

    def ask(self) -> Asked:
        if hasattr(self._planner, "progress"):
            self._planner.progress = min(1.0, self._begun / self._budget)
        [candidate] = self._planner.suggest()
        self._begun += 1
        return Asked(candidate.id, dict(candidate.values))

    def tell(self, asked: Asked, outcomes: Mapping[str, float]) -> None:
        self._ingest(asked.key, asked.values, outcomes)

    def learn(self, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        self._begun += 1
        self._ingest(None, values, outcomes)

    def _ingest(self, key: str | None, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        from athanor.planners import Observation

        self._planner.ingest([Observation(candidate_id=key, values=values, outcomes=outcomes)])


Make = Callable[[Problem, int, int], Method]

METHODS: dict[str, Make] = {
    OURS: lambda *given: Ours(OURS, *given),
    "ax": lambda problem, seed, budget: Ax(problem, seed),
    "baybe": lambda problem, seed, budget: BayBE(problem, seed),
    "optuna-gp": lambda problem, seed, budget: Optuna("gp", problem, seed),
    "optuna-tpe": lambda problem, seed, budget: Optuna("tpe", problem, seed),
    "sobol": lambda *given: Ours("sobol", *given),
    "random": lambda *given: Ours("random", *given),
}

PACKAGES = {"ax": "ax-platform", "baybe": "baybe", "optuna-gp": "optuna", "optuna-tpe": "optuna"}
"""What a method needs beside Athanor."""


@dataclass(frozen=True)
class Arm:
    """A method's name, taken apart."""

    planner: str
    advice: str | None
    workers: int

    @classmethod
    def parse(cls, method: str) -> Arm:
        """Raises `KeyError` naming the methods there are."""
        found = re.fullmatch(r"([a-z-]+)(?:\+([a-z]+))?(?:@([1-9]\d*))?", method)
        if found is None or found[1] not in METHODS:
            raise KeyError(f"no method {method!r}; there are {', '.join(METHODS)}, with +ADVICE or @WORKERS")
        if found[2] and found[1] != OURS:
            raise KeyError(f"{method!r}: only {OURS} takes advice")
        return cls(found[1], found[2], int(found[3] or 1))


def digest(folder: Path) -> str:
    """What tells one state of the planners' source from another, in hex."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:10]


def version(method: str) -> str:
    """Of the package that a method is from; ours with a digest of its source. Raises `PackageNotFoundError`."""
    planner = Arm.parse(method).planner
    if planner in PACKAGES:
        return importlib.metadata.version(PACKAGES[planner])
    import athanor.planners

    return f"{importlib.metadata.version('athanor-lab')}+{digest(Path(athanor.planners.__file__).parent)}"


def is_there(method: str) -> bool:
    """Whether what a method needs is installed."""
    try:
        version(method)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def cannot(method: str, problem: Problem) -> str | None:
    """Why a method cannot be given a problem, if it cannot."""
    if Arm.parse(method).planner != "baybe":
        return None
    if problem.outcome_constraints:
        return "knows no outcome constraints"
    discrete = [p for p in problem.parameters if not isinstance(p, Continuous | Categorical)]
    count = math.prod(len(p.levels) for p in discrete)
    return f"would enumerate {count:,} combinations" if count > MOST_COMBINATIONS else None


def make(method: str, problem: Problem, seed: int, budget: int, advice: Sequence[Any] = ()) -> Method:
    """A planner for a problem. Raises `KeyError` naming the methods there are."""
    planner = Arm.parse(method).planner
    warnings.simplefilter("ignore")  # what peers say about themselves is not what is measured
    if advice:
        return Ours(planner, problem, seed, budget, advice)
    return METHODS[planner](problem, seed, budget)
