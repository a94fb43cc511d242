"""Hypotheses: typed claims, frozen registrations, evidence that may be looked at any time, and family error control.

The way of one hypothesis: `claims` (what it says) → `contrast` (how to measure it) → `registration` (frozen before its
first run, with its share of α from `families`) → `verdicts` (runs to blocks to `evidence` to a verdict) → `advice`
(what the planner may lean on). Nothing in here knows the ledger, the loop or a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.agents.hypotheses.advice import compile_advice as compile_advice
    from athanor.agents.hypotheses.claims import InvalidClaim as InvalidClaim
    from athanor.agents.hypotheses.claims import check_claim as check_claim
    from athanor.agents.hypotheses.claims import parse_claim as parse_claim
    from athanor.agents.hypotheses.contrast import BlockDesign as BlockDesign
    from athanor.agents.hypotheses.contrast import compile_claim as compile_claim
    from athanor.agents.hypotheses.families import e_bh as e_bh
    from athanor.agents.hypotheses.registration import RegistrationBody as RegistrationBody
    from athanor.agents.hypotheses.registration import register as register
    from athanor.agents.hypotheses.statements import describe as describe
    from athanor.agents.hypotheses.verdicts import Assessment as Assessment
    from athanor.agents.hypotheses.verdicts import RunResult as RunResult
    from athanor.agents.hypotheses.verdicts import assess as assess
    from athanor.agents.hypotheses.verdicts import next_step as next_step

_HOMES = {
    "Assessment": "verdicts",
    "BlockDesign": "contrast",
    "InvalidClaim": "claims",
    "RegistrationBody": "registration",
    "RunResult": "verdicts",
    "assess": "verdicts",
    "check_claim": "claims",
    "compile_advice": "advice",
    "compile_claim": "contrast",
    "describe": "statements",
    "e_bh": "families",
    "next_step": "verdicts",
    "parse_claim": "claims",
    "register": "registration",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
