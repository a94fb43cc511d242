"""The spool and the started marks: what is said to be on disk is there, and what is torn is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.spool import (
    AlreadyStarted,
    Backlog,
    Ending,
    Header,
    RunSpool,
    SpoolFailed,
    StartedLog,
    mark_path,
    outcome_of,
    spool_folder,
    spooled,
    was_started,
)
from athanor.memory.canonical import canonical, parse
from athanor.memory.places import InstrumentPlace

HEADER = Header("intent-1", "camp.1", "camp", "decision-1", "reactor", True)


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    return InstrumentPlace.of("reactor", home)


def spool(place: InstrumentPlace, backlog: Backlog | None = None, intent: str = "intent-1") -> RunSpool:
    header = Header(intent, "camp.1", "camp", "decision-1", "reactor", True)
    return RunSpool(spool_folder(place) / f"{intent}.jsonl", header, backlog or Backlog())


def test_what_is_appended_is_read_back_in_order(place: InstrumentPlace) -> None:
    run = spool(place)
    bodies = [run.append(name, {"uid": name, "x": [1.0, float("nan")]})[0] for name in ("start", "event", "stop")]
    run.end(Ending("completed", None))
    run.close()
    [found] = spooled(place)
    assert found.header == HEADER
    assert found.documents == list(zip(("start", "event", "stop"), bodies, strict=True))
    assert found.ending == Ending("completed", None)


@given(cut=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_wherever_a_crash_cuts_it_whole_documents_remain(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    place = InstrumentPlace("reactor", folder, folder)
    run = spool(place)
    bodies = [run.append("event", {"n": n})[0] for n in range(5)]
    run.close()
    data = run.path.read_bytes()
    run.path.write_bytes(data[: max(0, len(data) - cut)])
    found = spooled(place)
    if found:
        got = [body for _, body in found[0].documents]
        assert got == bodies[: len(got)]
    else:
        assert not run.path.exists(), "without a header nothing was started, and the file is removed"


def test_a_run_is_spooled_once(place: InstrumentPlace) -> None:
    spool(place).close()
    with pytest.raises(SpoolFailed):
        spool(place)


def test_an_overfull_spool_takes_no_more_until_the_ledger_has_caught_up(place: InstrumentPlace) -> None:
    backlog = Backlog(limit=200)
    run = spool(place, backlog)
    _, size = run.append("event", {"data": "x" * 200})
    with pytest.raises(SpoolFailed, match="wait for the ledger"):
        run.append("event", {})
    backlog.add(-size)
    run.append("event", {})
    run.close()


def test_a_full_disk_fails_the_document_and_leaves_the_file_whole(place: InstrumentPlace) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from athanor.instruments.spool import Backlog, Header, RunSpool, SpoolFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunSpool(Path(sys.argv[1]), Header("intent-1", "camp.1", "camp", "decision-1", "reactor", True), Backlog())
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
taken = 0
for n in range(100):
    try:
        run.append("event", {"n": n, "data": "x" * 50})
        taken += 1
    except SpoolFailed as error:
        assert "File too large" in str(error), error
print(taken)
"""
    path = spool_folder(place) / "intent-1.jsonl"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    taken = int(done.stdout)
    assert 0 < taken < 20
    [found] = spooled(place)
    assert [parse(body)["n"] for _, body in found.documents] == list(range(taken))
    assert path.read_bytes().endswith(b"\n")


def bounds(status: str, events: int, replicates: int = 3, reason: str = "") -> list[tuple[str, str]]:
    start = {"uid": "u", "replicates": replicates}
    stop = {"exit_status": status, "num_events": {"primary": events} if events else {}, "reason": reason}
    return [("start", canonical(start)), ("stop", canonical(stop))]


@pytest.mark.parametrize(
    ("documents", "ending"),
    [
        (bounds("success", 3), Ending("completed", None)),
        (bounds("success", 0), Ending("stopped_early", "0 of 3 readings taken")),
        (bounds("success", 2), Ending("stopped_early", "2 of 3 readings taken")),
        (bounds("abort", 1, reason="enough"), Ending("aborted", "enough")),
        (bounds("abort", 1, reason="aborted: enough"), Ending("aborted", "enough")),
        (bounds("fail", 1, reason="boom"), Ending("failed", "boom")),
        (bounds("fail", 1), Ending("failed", "the run failed without a reason")),
        (bounds("fail", 1, reason="instrument lost: gone"), Ending("in_doubt", "instrument lost: gone")),
        (bounds("abort", 1, reason="instrument lost: gone"), Ending("in_doubt", "instrument lost: gone")),
        (bounds("success", 3)[:1], None),
        ([], None),
    ],
)
def test_what_became_of_a_run_is_read_from_its_documents(documents: Any, ending: Ending | None) -> None:
    assert outcome_of(documents) == ending


def test_an_intent_is_marked_once_and_counted(place: InstrumentPlace) -> None:
    log = StartedLog(place)
    assert not log.has_intent("intent-1") and not was_started(place, "intent-1")
    log.mark(HEADER)
    with pytest.raises(AlreadyStarted):
        log.mark(HEADER)
    for found in (log, StartedLog(place)):
        assert found.has_intent("intent-1") and found.has_experiment("camp.1")
        assert found.uses("decision-1") == 1 and found.uses("decision-2") == 0
    assert was_started(place, "intent-1")
    assert json.loads((place.directory / "started" / "intent-1").read_text())["experiment"] == "camp.1"


def test_another_process_s_mark_counts(place: InstrumentPlace) -> None:
    first, second = StartedLog(place), StartedLog(place)
    first.mark(HEADER)
    assert second.has_intent("intent-1")
    with pytest.raises(AlreadyStarted):
        second.mark(HEADER)


@pytest.mark.parametrize("intent", ["", ".", "..", "a/b", "a\0b", "x" * 300])
def test_an_intent_s_id_is_no_path(intent: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an intent id"):
        mark_path(tmp_path, intent)
