"""What the checks of a health check look at, and how they write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from athanor.planners.bayesian import BayesianPlanner
from athanor.planners.explanations import Calibration
from athanor.planners.hyperparameters import Matrix
from athanor.planners.problem import Level
from athanor.planners.protocol import Observation
from athanor.planners.surrogate import Surrogate

Label = Callable[[Observation], str]
"""How a measurement is called in a finding."""


@dataclass(frozen=True)
class Seen:
    """What the checks look at."""

    planner: BayesianPlanner
    surrogate: Surrogate
    calibrations: Mapping[str, Calibration]
    label: Label

    def named(self, places: Sequence[int]) -> tuple[str, ...]:
        """Return the labels of observations by their place."""
        return tuple(self.label(self.surrogate.observations[i]) for i in places)

    def is_constant(self, outcome: str) -> bool:
        """Whether an outcome read the same in every measurement: one check says so, the others have nothing to say."""
        y = self.measured(outcome)
        return float(y.max()) == float(y.min())

    def measured(self, outcome: str) -> Matrix:
        """Return the measured means of one outcome."""
        return np.array([o.outcomes[outcome].mean for o in self.surrogate.observations if outcome in o.outcomes])


def default_label(observation: Observation) -> str:
    """Call a measurement by its candidate's id, or by its values."""
    if observation.candidate_id is not None:
        return observation.candidate_id
    return ", ".join(f"{name} {value_text(value)}" for name, value in observation.values.items())


def value_text(value: Level | str) -> str:
    """Write a parameter's value."""
    return value if isinstance(value, str) else f"{value:.4g}"


def listed(names: Sequence[str]) -> str:
    """Write `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
