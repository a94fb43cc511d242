"""What the statistical reasoner's questions are made of: claims with what speaks for them, and how sure it is."""

from __future__ import annotations

from typing import NamedTuple

from athanor.agents.hypotheses.claims import AnyClaim
from athanor.agents.hypotheses.statements import quantity
from athanor.agents.reasoners.picture import Change

SHRINK = 0.9
"""How much of the surrogate's certainty is believed: a probability p becomes ½ + 0.9 (p − ½), within 0.05..0.95."""


class Draft(NamedTuple):
    """A claim with what speaks for it."""

    claim: AnyClaim
    prior: float
    rationale: str
    cites: tuple[str, ...]
    tainted: bool = False


def shrunk(probability: float) -> float:
    """A surrogate's probability as a prior: shrunk towards one half, within 0.05 to 0.95, three digits."""
    return round(min(0.95, max(0.05, 0.5 + SHRINK * (probability - 0.5))), 3)


def expectation(change: Change, unit: str | None, observations: int) -> str:
    """Say what is expected of a change, by whom and after how many observations; `unit` is the outcome's."""
    return (
        f"After {observations} observations {change.source} expects {quantity(change.change, unit, sign=True)} "
        f"± {quantity(change.sd, unit)} for this change"
    )
