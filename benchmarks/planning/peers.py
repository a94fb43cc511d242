"""The planners that Athanor is compared with, each as its own documentation says to use it and with its own defaults.

They are imported where they are used; `make bench-peers` installs them into an environment of their own. None is told
the budget, a reference point or that results are free of noise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from athanor.planners.problem import Categorical, Continuous, Integer, Ordinal, Problem, Value
from benchmarks.planning.asking import Asked, NotYet


class Ax:
    """Ax's client with the generation strategy that it chooses by itself."""

    def __init__(self, problem: Problem, seed: int) -> None:
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
        signs = {"maximize": "", "minimize": "-"}
        objective = ", ".join(f"{signs[str(o.goal)]}{o.name}" for o in problem.objectives)
        limits = [f"{c.name} <= {c.upper}" for c in problem.outcome_constraints if c.upper is not None]
        limits += [f"{c.name} >= {c.lower}" for c in problem.outcome_constraints if c.lower is not None]
        if limits:
            self._client.configure_optimization(objective=objective, outcome_constraints=limits)
        else:
            self._client.configure_optimization(objective=objective)

    def ask(self) -> Asked:
        from ax.exceptions.core import DataRequiredError

        try:
            [(trial, values)] = self._client.get_next_trials(max_trials=1).items()
        except DataRequiredError as error:  # its design is out, and its model has nothing to learn from
            raise NotYet(str(error)) from error
        return Asked(trial, dict(values))

    def tell(self, asked: Asked, outcomes: Mapping[str, float]) -> None:
        self._client.complete_trial(asked.key, raw_data=dict(outcomes))

    def learn(self, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        self.tell(Asked(self._client.attach_trial(dict(values)), dict(values)), outcomes)


class BayBE:
    """BayBE's campaign with its default recommender."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from baybe import Campaign
        from baybe.objectives import ParetoObjective
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
        targets = [NumericalTarget(o.name, minimize=o.goal == "minimize") for o in problem.objectives]
        objective = targets[0].to_objective() if len(targets) == 1 else ParetoObjective(targets)
        self._campaign = Campaign(SearchSpace.from_product(parameters), objective)
        self._names = problem.names
        self._pending: dict[int, Any] = {}
        self._asked = 0

    def ask(self) -> Asked:
        import pandas as pd

        pending = pd.concat(self._pending.values(), ignore_index=True) if self._pending else None
        row = self._campaign.recommend(batch_size=1, pending_experiments=pending)
        [found] = row.to_dict("records")
        self._asked += 1
        self._pending[self._asked] = row
        return Asked(self._asked, {name: found[name] for name in self._names})

    def tell(self, asked: Asked, outcomes: Mapping[str, float]) -> None:
        self._campaign.add_measurements(self._pending.pop(asked.key).assign(**outcomes))

    def learn(self, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        import pandas as pd

        self._campaign.add_measurements(pd.DataFrame([{**values, **outcomes}]))


class Optuna:
    """A sampler of Optuna's."""

    def __init__(self, sampler: str, problem: Problem, seed: int) -> None:
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
        self._study = optuna.create_study(
            sampler=kinds[sampler](seed=seed), directions=[str(o.goal) for o in problem.objectives]
        )
        self._problem = problem

    def ask(self) -> Asked:
        trial = self._study.ask(self._space)
        return Asked(trial, dict(trial.params))

    def tell(self, asked: Asked, outcomes: Mapping[str, float]) -> None:
        for c in self._problem.outcome_constraints:
            if c.upper is not None:
                asked.key.set_constraint(f"{c.name} high", outcomes[c.name] - c.upper)
            if c.lower is not None:
                asked.key.set_constraint(f"{c.name} low", c.lower - outcomes[c.name])
        self._study.tell(asked.key, [outcomes[o.name] for o in self._problem.objectives])

    def learn(self, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        self._study.enqueue_trial(dict(values))
        self.tell(self.ask(), outcomes)
