"""The two verdicts of a check, and how it ends."""

from __future__ import annotations

import pytest

from athanor.instruments.findings import Finding, Report, Status


@pytest.mark.parametrize(
    ("findings", "is_alive", "can_run", "code"),
    [
        ([], False, False, 1),
        ([("limits", "ok")], False, False, 1),
        ([("read-back", "ok")], True, True, 0),
        ([("read-back", "ok"), ("latch", "not now")], True, False, 2),
        ([("read-back", "ok"), ("limits", "fault")], True, False, 1),
        ([("read-back", "ok"), ("connecting", "fault"), ("latch", "not now")], False, False, 1),
        ([("read-back", "ok"), ("stop", "not checked")], True, True, 0),
    ],
)
def test_alive_and_able_to_run_are_two_things(
    findings: list[tuple[str, Status]], is_alive: bool, can_run: bool, code: int
) -> None:
    report = Report("bench", findings=[Finding(step, status) for step, status in findings])
    assert (report.is_alive, report.can_run, report.exit_code) == (is_alive, can_run, code)


def test_a_finding_says_what_where_why_and_what_helps() -> None:
    assert (
        str(Finding("stop", "fault", "stage", "stop", "no answer", "see to it"))
        == "stop: stage.stop: no answer; see to it"
    )
    assert str(Finding("latch", "ok", reason="not engaged")) == "latch: not engaged"
