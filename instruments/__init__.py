"""How an experiment is run: profiles, limits, plans, the worker process and the stop that is independent of it.

Names load on first use, so that ``athanor.instruments.stop`` starts with the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.instruments.executor import InstrumentBusy, LocalExecutor, Refused, WorkerLost
    from athanor.instruments.laboratory import (
        Challenge,
        Devices,
        InstrumentLost,
        InstrumentUnavailable,
        Laboratory,
        ProcessFailed,
        Reference,
        RunContext,
        Simulated,
        UnknownLaboratory,
    )
    from athanor.instruments.limits import Limit, LimitedAxis, LimitViolation
    from athanor.instruments.profile import (
        AxisSpec,
        DetectorSpec,
        OutcomeSpec,
        Profile,
        ProfileError,
        load_profile,
        parse_profile,
    )
    from athanor.instruments.reductions import Reduced, ReductionFailed, reduce

_HOMES = {
    "executor": "InstrumentBusy LocalExecutor Refused WorkerLost",
    "laboratory": (
        "Challenge Devices InstrumentLost InstrumentUnavailable Laboratory ProcessFailed Reference RunContext Simulated"
        " UnknownLaboratory"
    ),
    "limits": "Limit LimitedAxis LimitViolation",
    "reductions": "Reduced ReductionFailed reduce",
    "profile": "AxisSpec DetectorSpec OutcomeSpec Profile ProfileError load_profile parse_profile",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AxisSpec",
    "Challenge",
    "DetectorSpec",
    "Devices",
    "InstrumentBusy",
    "InstrumentLost",
    "InstrumentUnavailable",
    "Laboratory",
    "Limit",
    "LimitViolation",
    "LimitedAxis",
    "LocalExecutor",
    "OutcomeSpec",
    "ProcessFailed",
    "Profile",
    "ProfileError",
    "Reduced",
    "ReductionFailed",
    "Reference",
    "Refused",
    "RunContext",
    "Simulated",
    "UnknownLaboratory",
    "WorkerLost",
    "load_profile",
    "parse_profile",
    "reduce",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        return getattr(import_module(f"athanor.instruments.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
