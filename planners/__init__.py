"""Which experiment next: problem, surrogate, acquisition, diagnostics. Pure: no files, clocks, network or ledger.

Importing this package stays light; the planners themselves are loaded when first asked for, since they bring torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from athanor.planners.advice import Advice
from athanor.planners.design_options import DesignImpossible, DesignOptions
from athanor.planners.input_constraints import Condition
from athanor.planners.problem import (
    Cardinality,
    Categorical,
    ConstraintViolated,
    Continuous,
    Exclusion,
    Integer,
    InvalidPoint,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Ordinal,
    OutcomeConstraint,
    Problem,
    Value,
)
from athanor.planners.protocol import Best, Candidate, Measured, Observation, Planner, Predicted, Why

if TYPE_CHECKING:
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.designs import DesignPlanner
    from athanor.planners.pool import Pool, PoolError, PoolExhausted
    from athanor.planners.random import RandomPlanner
    from athanor.planners.sobol import SobolPlanner

_LAZY = {
    "BayesianPlanner": "bayesian",
    "DesignPlanner": "designs",
    "Pool": "pool",
    "PoolError": "pool",
    "PoolExhausted": "pool",
    "RandomPlanner": "random",
    "SobolPlanner": "sobol",
}

__all__ = [
    "Advice",
    "BayesianPlanner",
    "Best",
    "Candidate",
    "Cardinality",
    "Categorical",
    "Condition",
    "ConstraintViolated",
    "Continuous",
    "DesignImpossible",
    "DesignOptions",
    "DesignPlanner",
    "Exclusion",
    "Integer",
    "InvalidPoint",
    "LinearConstraint",
    "Measured",
    "NonlinearConstraint",
    "Objective",
    "Observation",
    "Ordinal",
    "OutcomeConstraint",
    "Planner",
    "Pool",
    "PoolError",
    "PoolExhausted",
    "Predicted",
    "Problem",
    "RandomPlanner",
    "SobolPlanner",
    "Value",
    "Why",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"athanor.planners.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
