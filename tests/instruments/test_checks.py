"""What stands between an intent and the devices, checked without a worker; the rest is in tests/system."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import POINT, Rig

from athanor.instruments.checks import Fence, Rows, check, read_rows
from athanor.instruments.dispatch import header_of
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.spool import StartedLog
from athanor.instruments.words import Refused
from athanor.memory.decisions import GRANT_ENDED

PROFILE = load("snar-flow").profile()


def judge(rig: Rig, rows: Rows, now: datetime | None = None) -> str | None:
    """The code of the refusal, or None."""
    try:
        check(
            rows,
            profile=PROFILE,
            public=rig.key.public,
            latch=Latch(rig.place).read(),
            started=StartedLog(rig.place),
            now=now or datetime.now(UTC),
        )
    except Refused as error:
        return error.code
    return None


def test_what_is_approved_may_run_until_it_expires(rig: Rig) -> None:
    rows = read_rows(rig.ledger, rig.intent().id)
    assert judge(rig, rows) is None
    expires = rows.decision.expires_at
    assert expires is not None
    assert judge(rig, rows, expires - timedelta(seconds=1)) is None
    assert judge(rig, rows, expires) == "decision.expired"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "cancelled"}, "campaign.ended"),
        ({"state": "succeeded"}, "campaign.ended"),
        ({"instrument": "other"}, "instrument.wrong"),
        ({"simulated": False}, "instrument.wrong"),
        ({"problem_hash": "q" * 64}, "revision.changed"),
    ],
)
def test_the_campaign_must_be_this_one_and_alive(rig: Rig, changes: dict[str, Any], code: str) -> None:
    rows = read_rows(rig.ledger, rig.intent().id)
    altered = Rows(**{**vars(rows), "campaign": rows.campaign.model_copy(update=changes)})
    assert judge(rig, altered) == code


@given(
    name=st.sampled_from([*POINT, "unknown"]),
    value=st.one_of(st.floats(allow_nan=True), st.integers(), st.text(max_size=5), st.booleans(), st.none()),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_signed_value_outside_the_limits_passes(rig: Rig, name: str, value: Any) -> None:
    rows = _signed(rig, {**POINT, name: value})
    code = judge(rig, rows)
    limit = PROFILE.limits().get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if limit is None or not is_number or not limit.minimum <= value <= limit.maximum:  # type: ignore[operator]
        assert code is not None
    else:
        assert code is None


def _signed(rig: Rig, values: dict[str, Any]) -> Rows:
    """Rows with these values, their own revision and the gate's true signature over it."""
    from athanor.memory.canonical import canonical, parse

    if not hasattr(rig, "base"):
        rig.base = read_rows(rig.ledger, rig.intent().id)  # type: ignore[attr-defined]
    base: Rows = rig.base  # type: ignore[attr-defined]
    experiment = base.experiment.model_copy(update={"values": values})
    revision = experiment.expected_revision(base.campaign.problem_hash)
    experiment = experiment.model_copy(update={"revision": revision})
    body = canonical({**parse(base.decision.body), "revision": revision})
    decision = base.decision.model_copy(update={"body": body, "signature": rig.key.sign(body), "revision": revision})
    return Rows(**{**vars(base), "experiment": experiment, "decision": decision})


def test_the_fence_remembers_across_workers_and_ledgers(rig: Rig) -> None:
    rows = read_rows(rig.ledger, rig.intent().id)
    rig.place.directory.mkdir(parents=True, exist_ok=True)
    epoch = rig.lease.epoch
    fence = Fence(rig.place)
    fence.check(rows, epoch)
    fence.raise_to(rows, epoch)
    later = rows.lease.model_copy(update={"epoch": epoch + 1})  # type: ignore[union-attr]
    fence.raise_to(Rows(**{**vars(rows), "lease": later}), epoch + 1)
    with pytest.raises(Refused, match=r"lease\.fenced"):
        Fence(rig.place).check(rows, epoch)
    Fence(rig.place).check(Rows(**{**vars(rows), "ledger_id": "another"}), epoch)


def granted(rig: Rig, replicates: int = 1, values: dict[str, Any] | None = None) -> Rows:
    """Rows of an intent under a grant for one experiment."""
    envelope = {name: {"low": value * 0.9, "high": value * 1.1} for name, value in POINT.items()}
    grant = rig.gate.grant(rig.campaign, rig.place.name, Latch(rig.place).read().count, envelope, 1)
    experiment = rig.propose(values, replicates=replicates)
    rig.ledger.set_experiment_state(experiment.id, "approved", decision_id=grant.id)
    return read_rows(rig.ledger, rig.commit(experiment, grant).id)


def test_a_grant_copied_under_another_name_is_used_up_all_the_same(rig: Rig) -> None:
    rows = granted(rig)
    assert judge(rig, rows) is None
    StartedLog(rig.place).mark(header_of(rows))
    # The id of a decision is in its row alone; what was signed has the nonce.
    copied = rows.decision.model_copy(update={"id": "decision-copied"})
    other = rows.experiment.model_copy(update={"id": "camp.9"})
    intent = rows.intent.model_copy(update={"id": "intent-9", "experiment_id": "camp.9", "decision_id": copied.id})
    again = Rows(**{**vars(rows), "decision": copied, "experiment": other, "intent": intent})
    assert judge(rig, again) == "grant.exhausted"


def test_a_grant_that_a_person_ended_starts_nothing(rig: Rig) -> None:
    rows = granted(rig)
    assert judge(rig, rows) is None
    body = {"grant": rows.decision.id, "nonce": rows.decision.nonce, "by": "ada", "reason": "enough"}
    rig.ledger.add_event(rig.campaign, GRANT_ENDED, body)
    assert judge(rig, read_rows(rig.ledger, rows.intent.id)) == "grant.ended"


def test_a_grant_covers_no_more_readings_than_the_campaign_asked_for(rig: Rig) -> None:
    assert judge(rig, granted(rig, replicates=1)) is None
    assert judge(rig, granted(rig, replicates=2)) == "grant.envelope"


def test_a_grant_covers_whole_points_only(rig: Rig) -> None:
    # What is left out stays where a person may have put it: outside the envelope.
    part = {name: value for name, value in POINT.items() if name != "temperature"}
    assert judge(rig, granted(rig, values=part)) == "grant.envelope"


@pytest.mark.parametrize("change", [{"reason": "another"}, {"decided_by": "somebody"}, {"nonce": "n"}])
def test_every_column_of_a_decision_is_what_was_signed(rig: Rig, change: dict[str, Any]) -> None:
    rows = read_rows(rig.ledger, rig.intent().id)
    altered = Rows(**{**vars(rows), "decision": rows.decision.model_copy(update=change)})
    assert judge(rig, altered) == "decision.mismatch"
