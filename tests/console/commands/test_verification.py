"""Verification as a job: one at a time, in a process of its own, and an end to it whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.console.commands import verification
from athanor.console.commands.refused import Refused
from athanor.console.commands.verification import Verification, check
from athanor.memory.ledger import Ledger
from benchmarks.large_ledger import fill
from tests.freezing import freeze


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    made = Ledger.create(home / "ledger.db")
    fill(made, experiments=20, campaigns=2)
    yield made
    made.close()


def test_a_job_is_one_at_a_time_and_can_be_ended(ledger: Ledger) -> None:
    told: list[Any] = []
    job = Verification(ledger.path, lambda kind, body: told.append((kind, body)))
    assert job.standing().state == "none" and job.standing().of == 0
    try:
        assert job.start("ada").state == "running"
        process = job._process
        assert process is not None
        freeze(process.pid)
        with pytest.raises(Refused, match="ada is having the record verified already"):
            job.start("eve")
        assert (job.standing().state, job.standing().by) == ("running", "ada")
    finally:
        job.stop()
    assert job.wait(60.0)
    standing = job.standing()
    assert standing.state == "failed" and standing.detail and "status -9" in standing.detail
    assert process.poll() is not None and told == [], "nothing was found, so nothing is told"
    job.start("eve")
    assert job.wait(60.0) and (job.standing().state, job.standing().by) == ("whole", "eve"), job.standing()
    assert [kind for kind, _ in told] == ["audit_verified"]
    job.stop()  # after its end: nothing


def test_a_ledger_that_cannot_be_read_is_said_to_be_so(ledger: Ledger, home: Path) -> None:
    job = Verification(home / "none.db", lambda *_: None)
    job.start("ada")
    assert job.wait(60.0)
    assert job.standing().state == "failed" and "none.db" in str(job.standing().detail)


def test_progress_grows_up_to_the_result(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "EVERY", 50)
    said: list[dict[str, Any]] = []
    check(ledger.path, said.append)
    *progress, result = said
    assert result["ok"] and result["rows"] == ledger.changes() and result["first"] is None
    assert [item["rows"] for item in progress] == list(range(0, ledger.changes() + 1, 50))


def test_of_what_is_wrong_the_first_row_is_named(ledger: Ledger) -> None:
    rows = ledger.journal()
    with ledger._writing() as writer:
        writer.connection.exec_driver_sql("DELETE FROM journal WHERE position = 40")
        writer.connection.exec_driver_sql("UPDATE journal SET body = '{}' WHERE position IN (60, 30)")
    said: list[dict[str, Any]] = []
    check(ledger.path, said.append)
    first = said[-1]["first"]
    assert (first["position"], first["chain"], first["kind"]) == (30, rows[29].chain, "altered")
    missing = [item for item in said[-1]["problems"] if item["kind"] == "missing"]
    assert [(item["seq"], item["position"]) for item in missing] == [(rows[39].seq, None)]


def test_it_ends_when_nobody_listens(ledger: Ledger) -> None:
    command = [sys.executable, "-m", "athanor.console.commands.verification", str(ledger.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        try:
            assert process.wait(60.0) == 1
        finally:
            process.kill()
