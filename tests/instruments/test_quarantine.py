"""What the ledger cannot take is set aside whole, told of, and in nobody's way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import Rig, until
from test_writer import header_of, leave

from athanor.instruments.quarantine import aside, quarantine_folder, set_aside, take_back
from athanor.instruments.spool import Backlog, Header, RunSpool, StartedLog, spool_folder, spooled
from athanor.instruments.writer import Writer, drain
from athanor.memory.canonical import canonical
from athanor.memory.places import InstrumentPlace
from athanor.memory.records import Intent


def path_of(rig: Rig, intent: Intent) -> Path:
    return spool_folder(rig.place) / f"{intent.id}.jsonl"


def spoil(path: Path, line: int) -> bytes:
    """Overwrite one line (from 0) in the middle of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = b"\x00\xff no JSON\n"
    path.write_bytes(b"".join(lines))
    return path.read_bytes()


def foreign(rig: Rig, intent: str = "intent-of-another-ledger", instrument: str | None = None) -> Path:
    """A run that a worker of another ledger left in the spool."""
    header = Header(intent, "other.1", "other", "decision", instrument or rig.place.name, True)
    run = RunSpool(spool_folder(rig.place) / f"{intent}.jsonl", header, Backlog())
    run.append("start", {"uid": "foreign", "time": 1.0, "replicates": 1})
    run.close()
    return run.path


def drain_by_writer(rig: Rig) -> None:
    writer = Writer(lambda: rig.ledger, rig.place, Backlog(), lambda *_: None)
    writer.start()
    assert writer.finish(20)
    assert writer.trouble is None and not writer.unstored


@pytest.mark.parametrize("by", [lambda rig: drain(rig.ledger, rig.place), drain_by_writer])
def test_what_is_damaged_or_foreign_does_not_block_the_rest(rig: Rig, by: Callable[[Rig], object]) -> None:
    damaged, whole = rig.intent(), rig.intent()
    leave(rig, damaged, "success")
    spoil(path_of(rig, damaged), 2)
    foreign(rig)
    headless = spool_folder(rig.place) / "no-such-run.jsonl"
    headless.write_bytes(b"[1, 2]\n{}\n")
    leave(rig, whole, "success")
    content = {path.name: path.read_bytes() for path in spool_folder(rig.place).iterdir()}

    by(rig)

    assert rig.state(whole) == "completed"
    assert rig.state(damaged) == "in_doubt"
    assert "cannot be read whole (line 3" in str(rig.ledger.experiment(damaged.experiment_id).reason)
    assert list(spool_folder(rig.place).iterdir()) == []
    kept = {item.file: item for item in aside(rig.place)}
    assert {name: item.kind for name, item in kept.items()} == {
        f"{damaged.id}.jsonl": "damaged",
        "intent-of-another-ledger.jsonl": "foreign",
        "no-such-run.jsonl": "damaged",
    }
    for name in kept:
        assert (quarantine_folder(rig.place) / name).read_bytes() == content[name]
    told = rig.ledger.events(kinds=("spool_set_aside",))
    assert {event.body["file"] for event in told} == set(kept)
    # What stood before the damage is in the ledger: the person who settles it can see it.
    run = rig.ledger.run_for(damaged.experiment_id)
    assert run is not None and [d.name for d in rig.ledger.documents(run.uid)] == ["start"]


def test_a_run_of_another_instrument_is_set_aside(rig: Rig) -> None:
    foreign(rig, instrument="another-reactor")
    assert drain(rig.ledger, rig.place) == {}
    [item] = aside(rig.place)
    assert item.kind == "foreign" and "another-reactor" in item.detail


def test_a_run_goes_back_when_its_own_ledger_comes(rig: Rig) -> None:
    intent = rig.intent()
    leave(rig, intent, "success")
    set_aside(rig.place, path_of(rig, intent), "foreign", "of another ledger", intent.id, intent.experiment_id)
    assert spooled(rig.place) == []
    assert drain(rig.ledger, rig.place) == {intent.experiment_id: "completed"}
    assert aside(rig.place) == []
    assert list(quarantine_folder(rig.place).iterdir()) == []


def test_documents_that_the_ledger_refuses_are_set_aside_and_tried_again_when_asked(rig: Rig) -> None:
    intent = rig.intent()
    leave(rig, intent, None)
    drain(rig.ledger, rig.place)
    header = header_of(rig, intent)
    run = RunSpool(path_of(rig, intent), header, Backlog())
    run.append("start", {"uid": f"run-of-{intent.experiment_id}", "time": 1.0, "replicates": 1, "other": True})
    run.close()
    assert drain(rig.ledger, rig.place) == {intent.experiment_id: "in_doubt"}
    [item] = aside(rig.place)
    assert item.kind == "refused" and "other contents" in item.detail
    assert drain(rig.ledger, rig.place) == {}
    assert take_back(rig.place, lambda _: True, ("refused",)) == 1
    assert len(spooled(rig.place)) == 1


def test_an_empty_file_of_a_started_run_is_not_taken_for_one_that_never_began(rig: Rig) -> None:
    started, never = rig.intent(), rig.intent()
    StartedLog(rig.place).mark(header_of(rig, started))
    spool_folder(rig.place).mkdir(parents=True)
    for intent in (started, never):
        path_of(rig, intent).write_bytes(b"")
    assert drain(rig.ledger, rig.place) == {started.experiment_id: "in_doubt"}
    assert [item.intent for item in aside(rig.place)] == [started.id]
    assert rig.state(never) == "dispatched"


def test_names_that_are_taken_are_kept_apart(rig: Rig) -> None:
    for _ in range(3):
        set_aside(rig.place, foreign(rig), "foreign", "again", "i", "e")
    assert sorted(item.file for item in aside(rig.place)) == [
        "intent-of-another-ledger.2.jsonl",
        "intent-of-another-ledger.3.jsonl",
        "intent-of-another-ledger.jsonl",
    ]


def test_a_file_without_its_note_is_still_told_of(rig: Rig) -> None:
    quarantine_folder(rig.place).mkdir(parents=True)
    (quarantine_folder(rig.place) / "left.jsonl").write_text("?")
    [item] = aside(rig.place)
    assert (item.kind, item.file) == ("damaged", "left.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_where_nothing_can_be_moved_it_stays_and_the_rest_is_stored(rig: Rig) -> None:
    path = foreign(rig)
    quarantine_folder(rig.place).mkdir(mode=0o500)
    whole = rig.intent()
    leave(rig, whole, "success")
    drain(rig.ledger, rig.place)
    assert rig.state(whole) == "completed" and path.exists()


@given(data=st.binary(max_size=400))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_of_a_spool_file_makes_reading_fail(data: bytes, tmp_path: Path) -> None:
    place = InstrumentPlace("reactor", tmp_path / "place", tmp_path)
    folder = spool_folder(place)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "x.jsonl"
    head = {"kind": "header", **vars(Header("x", "camp.1", "camp", "d", "reactor", True))}
    for content in (data, json.dumps(head).encode() + b"\n" + data, canonical({"kind": "document"}).encode() + b"\n"):
        path.write_bytes(content)
        for run in spooled(place):
            assert run.header is not None or run.damage is not None


def test_the_next_worker_is_not_kept_from_working(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    intent = rig.intent()
    leave(rig, intent, "success")
    spoil(path_of(rig, intent), 0)
    foreign(rig)
    executor = rig.executor()
    executor.ensure()
    until(lambda: rig.state(intent) == "in_doubt")
    following = rig.intent()
    executor.dispatch(following)
    executor.wait(following.experiment_id, rig.ledger)
    assert rig.state(following) == "completed"
    assert {item.kind for item in aside(rig.place)} == {"damaged", "foreign"}
