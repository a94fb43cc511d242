"""Which state may follow which. The ledger refuses everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from athanor.memory.errors import IllegalTransition
from athanor.memory.records import CampaignState, ExperimentState, HypothesisState
from athanor.memory.resources import ReservationState, SampleState

CAMPAIGN: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"paused", "succeeded", "failed", "cancelled"}),
    "paused": frozenset({"running", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

EXPERIMENT: Mapping[str, frozenset[str]] = {
    "proposed": frozenset({"approved", "rejected", "expired", "superseded", "withdrawn"}),
    "approved": frozenset({"dispatched", "expired", "withdrawn", "refused"}),
    "dispatched": frozenset({"running", "refused", "in_doubt"}),
    "running": frozenset({"completed", "failed", "aborted", "stopped_early", "in_doubt"}),
    # Only by a person's signed decision: the ledger asks for it.
    "in_doubt": frozenset({"completed", "failed", "aborted", "not_started"}),
    "rejected": frozenset(),
    "expired": frozenset(),
    "superseded": frozenset(),
    "withdrawn": frozenset(),
    "refused": frozenset(),
    "completed": frozenset(),
    "failed": frozenset(),
    "aborted": frozenset(),
    "stopped_early": frozenset(),
    "not_started": frozenset(),
}

HYPOTHESIS: Mapping[str, frozenset[str]] = {
    "draft": frozenset({"reviewed", "void"}),
    "reviewed": frozenset({"registered", "void"}),
    "registered": frozenset({"testing", "void"}),
    "testing": frozenset({"supported", "refuted", "inconclusive", "void"}),
    "supported": frozenset(),
    "refuted": frozenset(),
    "inconclusive": frozenset(),
    "void": frozenset(),
}

SAMPLE: Mapping[str, frozenset[str]] = {
    "free": frozenset({"reserved", "retired"}),
    "reserved": frozenset({"free"}),
    "retired": frozenset(),
}

RESERVATION: Mapping[str, frozenset[str]] = {
    "reserved": frozenset({"drawn", "released"}),
    "drawn": frozenset(),
    "released": frozenset(),
}

TABLES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "campaign": CAMPAIGN,
    "experiment": EXPERIMENT,
    "hypothesis": HYPOTHESIS,
    "sample": SAMPLE,
    "reservation": RESERVATION,
}
STATES: Mapping[str, tuple[str, ...]] = {
    "campaign": get_args(CampaignState),
    "experiment": get_args(ExperimentState),
    "hypothesis": get_args(HypothesisState),
    "sample": get_args(SampleState),
    "reservation": get_args(ReservationState),
}

# What a signed decision makes of an experiment that is `proposed`.
DECIDES: Mapping[str, str] = {"approve": "approved", "reject": "rejected", "edit": "superseded"}


def check(entity: str, identifier: str, old: str, new: str) -> None:
    """Return if `entity` may go from `old` to `new`.

    Raises:
        IllegalTransition: no rule allows it.
    """
    if new not in TABLES[entity].get(old, frozenset()):
        raise IllegalTransition(entity, identifier, old, new)


def is_terminal(entity: str, state: str) -> bool:
    """Return whether nothing can follow `state`."""
    return not TABLES[entity][state]


__all__ = [
    "CAMPAIGN",
    "DECIDES",
    "EXPERIMENT",
    "HYPOTHESIS",
    "RESERVATION",
    "SAMPLE",
    "STATES",
    "TABLES",
    "IllegalTransition",
    "check",
    "is_terminal",
]
