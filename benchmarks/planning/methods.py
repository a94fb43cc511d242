"""The planners that are compared, each as its own documentation says to use it and with its own defaults.

None is told the budget but ours, whose campaigns always have one: towards its end it collects what it knows to be good.
Peers are imported where they are used; `make bench-peers` installs them into an environment of their own.
"""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from athanor.planners.problem import Categorical, Continuous, Integer, Ordinal, Problem, Value


class Method(Protocol):
    """A planner of one objective, the first of the problem, that is to be minimised."""

    def ask(self) -> dict[str, Value]:
        """The next point."""
        ...

    def tell(self, values: Mapping[str, Value], outcome: float) -> None:
        """What was measured at the point that was asked for last."""
        ...


class Ours:
    """A planner of Athanor's."""

    def __init__(self, kind: str, problem: Problem, seed: int, budget: int) -> None:
        from athanor.planners import BayesianPlanner, RandomPlanner, SobolPlanner

        kinds: dict[str, Any] = {"athanor": BayesianPlanner, "random": RandomPlanner, "sobol": SobolPlanner}
        self._planner = kinds[kind](problem, seed)
        self._outcome = problem.objectives[0].name
        self._budget, self._told = budget, 0

    def ask(self) -> dict[str, Value]:
        if hasattr(self._planner, "progress"):
            self._planner.progress = self._told / self._budget
        [self._candidate] = self._planner.suggest()
        return dict(self._candidate.values)

    def tell(self, values: Mapping[str, Value], outcome: float) -> None:
        from athanor.planners import Observation

        self._told += 1
        body = {
            "values": dict(values),
            "outcomes": {self._outcome: {"mean": outcome}},
            "status": "completed",
            "candidate_id": self._candidate.id,
        }
        self._planner.ingest([Observation.model_validate(body)])


class Ax:
    """Ax's client with the generation strategy that it chooses by itself."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
        from ax.utils.common.logger import set_ax_logger_levels

        set_ax_logger_levels(logging.ERROR)
        parameters: list[Any] = []
        for p in problem.parameters:
            if isinstance(p, Continuous):
                scaling = "log" if p.log else "linear"
                parameters.append(RangeParameterConfig(p.name, (p.low, p.high), "float", scaling=scaling))
            elif isinstance(p, Integer):
                parameters.append(RangeParameterConfig(p.name, (p.low, p.high), "int"))
            elif isinstance(p, Ordinal):
                parameters.append(ChoiceParameterConfig(p.name, [float(v) for v in p.values], "float", is_ordered=True))
            else:
                parameters.append(ChoiceParameterConfig(p.name, list(p.values), "str", is_ordered=False))
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(parameters=parameters)
        self._outcome = problem.objectives[0].name
        self._client.configure_optimization(objective=f"-{self._outcome}")
        self._trial = -1

    def ask(self) -> dict[str, Value]:
        [(self._trial, values)] = self._client.get_next_trials(max_trials=1).items()
        return dict(values)  # type: ignore[arg-type]

    def tell(self, values: Mapping[str, Value], outcome: float) -> None:
        self._client.complete_trial(self._trial, raw_data={self._outcome: outcome})


class BayBE:
    """BayBE's campaign with its default recommender."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        from baybe import Campaign
        from baybe.parameters import CategoricalParameter, NumericalContinuousParameter, NumericalDiscreteParameter
        from baybe.searchspace import SearchSpace
        from baybe.targets import NumericalTarget
        from baybe.utils.random import set_random_seed

        set_random_seed(seed)
        parameters: list[Any] = []
        for p in problem.parameters:
            if isinstance(p, Continuous):
                parameters.append(NumericalContinuousParameter(p.name, bounds=(p.low, p.high)))
            elif isinstance(p, Categorical):
                parameters.append(CategoricalParameter(p.name, values=p.values, encoding="OHE"))
            else:
                parameters.append(NumericalDiscreteParameter(p.name, values=[float(v) for v in p.levels]))
        self._outcome = problem.objectives[0].name
        target = NumericalTarget(self._outcome, minimize=True)
        self._campaign = Campaign(SearchSpace.from_product(parameters), target.to_objective())
        self._names = problem.names

    def ask(self) -> dict[str, Value]:
        self._row = self._campaign.recommend(batch_size=1)
        [found] = self._row.to_dict("records")
        return {name: found[name] for name in self._names}

    def tell(self, values: Mapping[str, Value], outcome: float) -> None:
        self._campaign.add_measurements(self._row.assign(**{self._outcome: outcome}))


class Optuna:
    """A sampler of Optuna's."""

    def __init__(self, sampler: str, problem: Problem, seed: int, budget: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        of = optuna.distributions
        self._space: dict[str, Any] = {}
        for p in problem.parameters:
            if isinstance(p, Continuous):
                self._space[p.name] = of.FloatDistribution(p.low, p.high, log=p.log)
            elif isinstance(p, Integer):
                self._space[p.name] = of.IntDistribution(p.low, p.high)
            else:
                self._space[p.name] = of.CategoricalDistribution(list(p.levels))
        kinds: dict[str, Any] = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
        self._study = optuna.create_study(sampler=kinds[sampler](seed=seed), direction="minimize")

    def ask(self) -> dict[str, Value]:
        self._trial = self._study.ask(self._space)
        return dict(self._trial.params)

    def tell(self, values: Mapping[str, Value], outcome: float) -> None:
        self._study.tell(self._trial, outcome)


Make = Callable[[Problem, int, int], Method]

METHODS: dict[str, Make] = {
    "athanor": lambda *given: Ours("athanor", *given),
    "ax": Ax,
    "baybe": BayBE,
    "optuna-gp": lambda *given: Optuna("gp", *given),
    "optuna-tpe": lambda *given: Optuna("tpe", *given),
    "sobol": lambda *given: Ours("sobol", *given),
    "random": lambda *given: Ours("random", *given),
}

PACKAGES = {"ax": "ax-platform", "baybe": "baybe", "optuna-gp": "optuna", "optuna-tpe": "optuna"}
"""What a method needs beside Athanor."""


def version(method: str) -> str:
    """Of the package that a method is from. Raises `PackageNotFoundError`."""
    return importlib.metadata.version(PACKAGES.get(method, "athanor-lab"))


def is_there(method: str) -> bool:
    """Whether what a method needs is installed."""
    try:
        version(method)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def make(method: str, problem: Problem, seed: int, budget: int) -> Method:
    """A planner for a problem. Raises `KeyError` naming the methods there are."""
    if method not in METHODS:
        raise KeyError(f"no method {method!r}; there are {', '.join(METHODS)}")
    warnings.simplefilter("ignore")  # what peers say about themselves is not what is measured
    return METHODS[method](problem, seed, budget)
