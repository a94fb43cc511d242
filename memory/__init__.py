"""Memory: what happened. The ledger, its journal and recall; it stores and reads, nothing leaves from here.

Names are imported on first use, so that `import athanor.memory` (and `athanor.memory.places`, which the software stop
needs) costs nothing but the standard library.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "places": ("InstrumentPlace", "home", "keys_dir", "runtime_dir"),
    "canonical": ("CanonicalError", "digest", "parse"),
    "signing": ("AnchorKey", "GateKey", "KeyProblem", "load_public", "verify_signature"),
    "decisions": ("ForgedDecision",),
    "errors": (
        "DecisionRequired",
        "Duplicate",
        "IllegalTransition",
        "InvalidRecord",
        "LeaseHeld",
        "LeaseLost",
        "LedgerBusy",
        "LedgerError",
        "LedgerUnreadable",
        "NetworkFilesystem",
        "NotFound",
        "ReadOnlyLedger",
        "ResourceShort",
        "ResourceTaken",
        "SchemaTooNew",
        "SchemaTooOld",
        "StaleRevision",
        "UnsupportedDatabase",
    ),
    "ledger": ("Ledger",),
    "records": (
        "Campaign",
        "Decision",
        "Document",
        "Event",
        "Evidence",
        "Experiment",
        "Hypothesis",
        "Intent",
        "JournalRow",
        "Lease",
        "ModelCall",
        "Observation",
        "Problem",
        "Registration",
        "Run",
        "SpooledDocument",
        "new_campaign_id",
        "new_id",
        "now",
        "revision_of",
    ),
    "resources": ("Consumable", "Needs", "Reservation", "Sample"),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
