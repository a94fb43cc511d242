"""Interlocks, the write switch, take-over and moves by hand bind a queue's worker as they bind one of our own.

The very same tests, with a real manager. Those that would only repeat another's way through it are left out.
"""
# ruff: noqa: F401 - what is imported is collected here

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.queueing import QueuedRig, queued_rigs
from tests.system.test_interlocks import (
    test_a_pause_is_watched_too,
    test_a_worker_whose_configuration_is_not_the_one_on_disk_sets_nothing,
    test_an_interlock_that_opens_between_approval_and_dispatch_refuses,
    test_an_interlock_that_trips_during_a_motion_ends_the_run_and_stops_the_axes,
    test_with_writes_off_nothing_is_set_and_nothing_is_lost,
    test_writes_turned_off_during_a_walk_end_it,
)
from tests.system.test_moves_by_hand import (
    _ada,
    test_an_emergency_release_halts_it,
    test_an_order_holds_for_its_holder_here_and_now_and_once,
    test_it_does_not_begin_while_a_run_is_in_hand,
    test_nobody_else_moves_meanwhile,
    test_stop_all_halts_it,
    test_the_holder_moves_an_axis_and_it_is_written_down,
    test_when_the_worker_dies_the_axis_is_halted,
)
from tests.system.test_takeover import (
    _patience,
    be,
    test_a_dispatch_that_is_being_checked_does_not_slip_through,
    test_a_paused_run_must_end_first,
    test_a_run_in_motion_is_aborted_by_choice,
    test_a_run_in_motion_is_waited_for,
    test_it_outlives_the_worker,
    test_nothing_is_started_until_it_is_handed_back,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def make_rig(home: Path) -> Iterator[Callable[..., QueuedRig]]:
    with queued_rigs(home) as make:
        yield make


@pytest.fixture
def rig(make_rig: Callable[..., QueuedRig]) -> QueuedRig:
    return make_rig()
