"""One experiment on its way through a RunEngine, and the plan that carries it out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp

from athanor.instruments.laboratory import RunContext
from athanor.instruments.plans import LOOK_S, Plan, measure
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
    is_aborting: bool = False
    """The RunEngine is being told to abort."""
    is_leaving: bool = False
    """The plan has ended, or is about to: the RunEngine is not told to abort any more."""
    bounds: list[tuple[str, str]] = field(default_factory=list)
    """Its start and stop documents, as far as they are spooled."""
    over: threading.Event = field(default_factory=threading.Event)
    turn: Any = None
    """Whose turn it is run in, where another program calls the RunEngine."""


def plan_of(
    job: Job,
    profile: Profile,
    axes: Mapping[str, Any],
    detectors: Sequence[Any],
    *,
    begins_pause: Callable[[], bool],
    stopped: Callable[[], str | None],
    may_leave: Callable[[], bool],
) -> Plan:
    """The measuring plan of a job on an instrument, which does not end before it may.

    `begins_pause` and `stopped` as for `measure`; `may_leave` is asked at the end until it is true.
    """

    def leave() -> Plan:
        while not may_leave():
            yield from bps.sleep(LOOK_S)

    plan = measure(
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
        stopped=stopped,
    )
    return (yield from bpp.finalize_wrapper(plan, leave))
