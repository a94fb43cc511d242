"""One experiment on its way through a RunEngine, and the plan that carries it out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from athanor.instruments.laboratory import RunContext
from athanor.instruments.plans import Plan, measure
from athanor.instruments.profile import Profile
from athanor.instruments.spool import Ending, RunSpool

MARGIN_S = 1.0


@dataclass
class Job:
    """One experiment on its way through the RunEngine."""

    context: RunContext
    values: Mapping[str, float | int | str]
    metadata: Mapping[str, Any]
    spool: RunSpool
    on_document: Callable[[Job, str, str, int], None]
    on_end: Callable[[Job, Ending], None]
    ends: str | None = None
    """Why it is to end before its time."""
    lost: str | None = None
    wants_pause: bool = False
    is_pausing: bool = False
    """The plan is about to pause the RunEngine: until it has, an abort is left to the RunEngine's own thread."""
    bounds: list[tuple[str, str]] = field(default_factory=list)
    """Its start and stop documents, as far as they are spooled."""
    over: threading.Event = field(default_factory=threading.Event)
    turn: Any = None
    """Whose turn it is run in, where another program calls the RunEngine."""


def plan_of(
    job: Job, profile: Profile, axes: Mapping[str, Any], detectors: Sequence[Any], begins_pause: Callable[[], bool]
) -> Plan:
    """The measuring plan of a job on an instrument; `begins_pause` as for `measure`."""
    return measure(
        axes,
        detectors,
        job.values,
        job.context.replicates,
        max(profile.axes[name].settle_s for name in job.values),
        job.metadata,
        tolerances={name: axis.tolerance for name, axis in profile.axes.items()},
        # A little longer than the devices' own, whose messages say more.
        move_timeout=MARGIN_S + max(profile.axes[name].longest_move_s for name in job.values),
        read_timeout=MARGIN_S + max(detector.timeout_s for detector in profile.detectors.values()),
        wants_pause=lambda: job.wants_pause,
        begins_pause=begins_pause,
    )
