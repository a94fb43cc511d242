"""What holds for a worker of our own holds for one in a queue's manager: the very same tests, with a real manager.

Left out of these three files: that a worker ends when it is not used (the manager ends this one), and what a worker's
own socket answers to a dispatch (this one's takes none: `test_queueserver.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.queueing import QueuedRig, queued_rigs
from tests.system.test_worker import (
    test_abort_pause_resume_and_park,
    test_an_abort_while_a_dispatch_is_being_checked_ends_it,
    test_an_experiment_is_run_and_recorded,
    test_an_idle_worker_is_restarted_under_a_new_configuration,
    test_both_device_families_run_through_the_same_worker,
    test_no_process_of_the_instrument_knows_the_model_s_key,
    test_sockets_are_private,
    test_two_campaigns_cannot_hold_one_instrument,
    test_what_it_reduces_to_is_what_the_laboratory_simulates,
    test_why_a_worker_does_not_start_is_said,
)
from tests.system.test_worker_loss import (
    test_a_dead_controller_is_seen_within_a_second,
    test_a_disconnect_in_a_measurement_leaves_the_outcome_unknown,
    test_a_dying_recovery_process_is_replaced,
    test_a_frozen_worker_is_seen_within_two_seconds_and_nothing_is_decided,
    test_it_finishes_alone_and_the_ledger_has_it,
    test_it_outlives_the_campaign_and_is_found_again,
    test_killed_in_the_middle_the_experiment_is_in_doubt_within_a_second,
    test_what_a_dead_worker_left_is_stored_by_the_next,
)
from tests.system.test_worker_refusals import (
    test_a_grant_lets_so_many_run_inside_its_envelope_and_no_more,
    test_a_locked_ledger_is_a_refusal_and_not_a_hang,
    test_an_executor_with_a_key_of_its_own_moves_nothing,
    test_nothing_moves_that_is_not_approved,
    test_nothing_moves_while_the_stop_is_latched,
    test_points_outside_the_limits_do_not_reach_the_controller_however_well_signed,
    test_refusals_are_counted_in_the_journal_beyond_the_life_of_a_worker,
    test_rows_put_in_by_hand_move_nothing,
    test_who_has_lost_the_instrument_cannot_move_it,
)

__all__ = [
    "test_a_dead_controller_is_seen_within_a_second",
    "test_a_disconnect_in_a_measurement_leaves_the_outcome_unknown",
    "test_a_dying_recovery_process_is_replaced",
    "test_a_frozen_worker_is_seen_within_two_seconds_and_nothing_is_decided",
    "test_a_grant_lets_so_many_run_inside_its_envelope_and_no_more",
    "test_a_locked_ledger_is_a_refusal_and_not_a_hang",
    "test_abort_pause_resume_and_park",
    "test_an_abort_while_a_dispatch_is_being_checked_ends_it",
    "test_an_executor_with_a_key_of_its_own_moves_nothing",
    "test_an_experiment_is_run_and_recorded",
    "test_an_idle_worker_is_restarted_under_a_new_configuration",
    "test_both_device_families_run_through_the_same_worker",
    "test_it_finishes_alone_and_the_ledger_has_it",
    "test_it_outlives_the_campaign_and_is_found_again",
    "test_killed_in_the_middle_the_experiment_is_in_doubt_within_a_second",
    "test_no_process_of_the_instrument_knows_the_model_s_key",
    "test_nothing_moves_that_is_not_approved",
    "test_nothing_moves_while_the_stop_is_latched",
    "test_points_outside_the_limits_do_not_reach_the_controller_however_well_signed",
    "test_refusals_are_counted_in_the_journal_beyond_the_life_of_a_worker",
    "test_rows_put_in_by_hand_move_nothing",
    "test_sockets_are_private",
    "test_two_campaigns_cannot_hold_one_instrument",
    "test_what_a_dead_worker_left_is_stored_by_the_next",
    "test_what_it_reduces_to_is_what_the_laboratory_simulates",
    "test_who_has_lost_the_instrument_cannot_move_it",
    "test_why_a_worker_does_not_start_is_said",
]

pytestmark = pytest.mark.slow


@pytest.fixture
def make_rig(home: Path) -> Iterator[Callable[..., QueuedRig]]:
    with queued_rigs(home) as make:
        yield make


@pytest.fixture
def rig(make_rig: Callable[..., QueuedRig]) -> QueuedRig:
    return make_rig()
