"""How a planner is asked and told in a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from athanor.planners.problem import Value


@dataclass(frozen=True)
class Asked:
    """A suggestion: the planner's own handle of it, and the point."""

    key: Any
    values: dict[str, Value]


class NotYet(Exception):
    """A planner that suggests nothing more before it is told what came of some of its suggestions."""


class Method(Protocol):
    """A planner of one problem."""

    def ask(self) -> Asked:
        """The next point, while the outcomes of others may be out. Raises `NotYet` when these are too many."""
        ...

    def tell(self, asked: Asked, outcomes: Mapping[str, float]) -> None:
        """What was measured at a point that was asked for."""
        ...

    def learn(self, values: Mapping[str, Value], outcomes: Mapping[str, float]) -> None:
        """What was measured at a point that was not asked for."""
        ...
