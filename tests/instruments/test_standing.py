"""What a check learns of a real worker: idle, held by a campaign, ended for the exercise."""

from __future__ import annotations

from rig import Rig

from athanor.instruments.checking import Check
from athanor.instruments.findings import Report
from athanor.instruments.laboratory import load
from athanor.instruments.sight import sight_of


def check(rig: Rig, exercise: bool = False) -> Report:
    sight = sight_of(load(rig.laboratory).profile(), rig.laboratory)
    return Check(sight, rig.place, rig.options, timeout_s=20.0, exercise=exercise).run()


def worker(report: Report) -> tuple[str, str]:
    [found] = [finding for finding in report.findings if finding.step == "worker"]
    return found.status, found.reason


def test_a_worker_is_asked_and_only_an_idle_one_makes_way(rig: Rig) -> None:
    idle = rig.executor()
    idle.ensure()
    report = check(rig)
    assert (report.exit_code, worker(report)[0]) == (0, "ok"), report.as_dict()["reasons"]
    assert "idle" in worker(report)[1]
    holding = rig.executor(rig.campaign)
    holding.ensure()
    report = check(rig, exercise=True)
    assert (report.exit_code, worker(report)[0]) == (2, "not now")
    assert rig.campaign in worker(report)[1]
    assert [finding.status for finding in report.findings if finding.step == "exercise"] == ["not checked"]
    assert idle.status() is not None, "it has not been ended"
    holding.close()
    report = check(rig, exercise=True)
    assert report.exit_code == 0, report.as_dict()["reasons"]
    assert "ended for the exercise" in worker(report)[1]
    assert idle.status() is None
