from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.memory import dialects
from athanor.memory.errors import LedgerError
from athanor.memory.heads import Head
from athanor.memory.journal import row_hash
from athanor.memory.ledger import Ledger
from athanor.memory.signing import GateKey
from athanor.memory.verify import Report, verify
from tests.memory.conftest import Maker

COLUMNS = ("chain", "seq", "kind", "body", "previous", "hash", "at", "position")
# Which columns of two rows change places.
SWAPPED = [
    ("position",),
    ("seq",),
    ("position", "seq"),
    ("kind", "body", "at"),
    ("body", "hash"),
    ("chain", "seq", "kind", "body", "previous", "hash", "at"),
]


@dataclass
class Specimen:
    """A finished ledger in one file, its heads and its keys; damaged copies are made of it."""

    path: Path
    keys: Path
    rows: list[dict[str, Any]]
    place: Path

    def damaged(self, how: Callable[[sqlite3.Connection], None]) -> Report:
        copy = self.place / "damaged.db"
        shutil.copyfile(self.path, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            how(connection)
            connection.commit()
        return self.verified(copy)

    def verified(self, copy: Path) -> Report:
        with Ledger.open(copy, anchor=None, keys=self.keys) as ledger:
            return verify(ledger)


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory, make: Maker) -> Specimen:
    place = tmp_path_factory.mktemp("specimen")
    with Ledger.create(place / "l.db", keys=place / "keys") as ledger:
        make.full(ledger)
        rows = [row.model_dump() for row in ledger.journal()]
    dialects.copy(place / "l.db", place / "one.db")
    dialects.leave_log(place / "one.db")
    return Specimen(place / "one.db", place / "keys", rows, place)


def named(report: Report) -> set[tuple[str, str | None, int | None]]:
    return {(problem.kind, problem.chain, problem.seq) for problem in report.problems}


def test_the_specimen_is_clean(specimen: Specimen) -> None:
    report = specimen.damaged(lambda connection: None)
    assert report.is_clean and {note.kind for note in report.notes} == {"no_gate"}
    assert report.rows == len(specimen.rows) and report.chains == 2


def test_verify_tells_of_nothing_in_a_live_ledger(ledger: Ledger, make: Maker) -> None:
    make.full(ledger)
    report = verify(ledger)
    assert report.is_clean and {note.kind for note in report.notes} == {"no_gate"}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_any_row_is_found_and_named(specimen: Specimen, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(specimen.rows))
    column = data.draw(st.sampled_from(COLUMNS))
    if isinstance(row[column], int):
        new: Any = row[column] ^ (1 << data.draw(st.integers(8, 40)))
    else:
        encoded = bytearray(row[column].encode())
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        new = bytes(encoded)

    def change(connection: sqlite3.Connection) -> None:
        # As text, even where it is no longer UTF-8: that is what a changed byte in the file looks like.
        value = "CAST(? AS TEXT)" if isinstance(new, bytes) else "?"
        connection.execute(f"UPDATE journal SET {column} = {value} WHERE position = ?", (new, row["position"]))  # noqa: S608

    report = specimen.damaged(change)
    assert not report.is_clean
    first = report.problems[0]
    assert first.kind == "altered"
    if column not in ("chain", "seq") and first.seq is not None:
        assert (first.chain, first.seq) == (row["chain"], row["seq"])
    else:
        assert str(new if column == "position" else row["position"]) in first.detail


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_removed_row_is_named(specimen: Specimen, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(specimen.rows))
    report = specimen.damaged(lambda c: c.execute("DELETE FROM journal WHERE position = ?", (row["position"],)))
    is_last = row["seq"] == max(other["seq"] for other in specimen.rows if other["chain"] == row["chain"])
    assert (("cut" if is_last else "missing"), row["chain"], row["seq"]) in named(report)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), columns=st.sampled_from(SWAPPED))
def test_two_swapped_rows_are_named(specimen: Specimen, data: st.DataObject, columns: tuple[str, ...]) -> None:
    own = [row for row in specimen.rows if row["chain"] == "campaign:c1"]
    pairs = st.lists(st.sampled_from(own), min_size=2, max_size=2, unique_by=lambda row: row["position"])
    one, other = data.draw(pairs)

    def swap(connection: sqlite3.Connection) -> None:
        rows = {}
        for row in (one, other):
            rows[row["position"]] = dict(row)
        for column in columns:
            rows[one["position"]][column], rows[other["position"]][column] = other[column], one[column]
        connection.execute("DELETE FROM journal WHERE position IN (?, ?)", (one["position"], other["position"]))
        for row in rows.values():
            connection.execute(
                "INSERT INTO journal (position, chain, seq, kind, body, previous, hash, at) "
                "VALUES (:position, :chain, :seq, :kind, :body, :previous, :hash, :at)",
                row,
            )

    report = specimen.damaged(swap)
    found = {(problem.kind, problem.chain) for problem in report.problems[:2]}
    # Rows of one kind and one instant differ in nothing else that their hash covers: they have changed places.
    if columns == ("body", "hash") and (one["kind"], one["at"]) != (other["kind"], other["at"]):
        assert {kind for kind, _ in found} == {"altered"}
    else:
        assert found == {("reordered", "campaign:c1")}
        named_seqs = {problem.seq for problem in report.problems[:2]}
        assert named_seqs == {one["seq"], other["seq"]}


def test_an_experiment_with_the_body_of_its_evidence_is_named(specimen: Specimen) -> None:
    own = {row["kind"]: row for row in specimen.rows if row["kind"] in ("experiment", "evidence")}
    body = own["evidence"]["body"]
    report = specimen.damaged(
        lambda c: c.execute("UPDATE journal SET body = ? WHERE position = ?", (body, own["experiment"]["position"]))
    )
    assert ("altered", own["experiment"]["chain"], own["experiment"]["seq"]) in named(report)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_cut_tail_is_named(specimen: Specimen, data: st.DataObject) -> None:
    own = [row for row in specimen.rows if row["chain"] == "campaign:c1"]
    cut = data.draw(st.sampled_from(own))
    report = specimen.damaged(
        lambda c: c.execute("DELETE FROM journal WHERE chain = 'campaign:c1' AND seq >= ?", (cut["seq"],))
    )
    assert ("cut", "campaign:c1", cut["seq"]) in named(report)


def rewrite(connection: sqlite3.Connection, rows: list[dict[str, Any]]) -> None:
    """Write a journal anew with hashes that fit: what somebody with the file, but without the keys, can do."""
    connection.execute("DELETE FROM journal")
    last: dict[str, tuple[int, str]] = {}
    for position, row in enumerate(rows, 1):
        seq, previous = last.get(row["chain"], (0, "0" * 64))
        whole = {**row, "position": position, "seq": seq + 1, "previous": previous}
        del whole["hash"]
        whole["hash"] = row_hash(**whole)
        last[row["chain"]] = (seq + 1, whole["hash"])
        connection.execute(
            "INSERT INTO journal (position, chain, seq, kind, body, previous, hash, at) "
            "VALUES (:position, :chain, :seq, :kind, :body, :previous, :hash, :at)",
            whole,
        )


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_journal_rewritten_with_fitting_hashes_differs_from_its_head(specimen: Specimen, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(specimen.rows) - 1))
    rows = [dict(row) for row in specimen.rows]
    if data.draw(st.booleans()):
        rows[index]["body"] = rows[index]["body"].replace(":", ": ", 1)
    else:
        del rows[index]
    report = specimen.damaged(lambda connection: rewrite(connection, rows))
    assert {problem.kind for problem in report.problems} & {"altered", "cut"}


def test_one_rewritten_row_is_named_by_the_row_after_it(specimen: Specimen) -> None:
    row = dict(next(row for row in specimen.rows if row["kind"] == "observation"))
    row["body"] = row["body"].replace('"mean":0.8', '"mean":0.9')
    row["hash"] = row_hash(**{name: value for name, value in row.items() if name != "hash"})
    report = specimen.damaged(
        lambda c: c.execute("UPDATE journal SET body = :body, hash = :hash WHERE position = :position", row)
    )
    assert (report.problems[0].kind, report.problems[0].seq) == ("altered", row["seq"])
    assert "rewritten" in report.problems[0].detail


TABLES = ("campaign", "hypothesis", "registration", "evidence", "experiment", "decision", "intent", "run", "document",
          "observation", "model_call", "event")  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_table_row_is_named(specimen: Specimen, table: str) -> None:
    """Every column of every table: no fact can be changed where the journal does not see it."""
    with closing(sqlite3.connect(specimen.path)) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    for column in columns:
        value = f"COALESCE({column}, '') || '7'"
        if column in ("position", "place"):
            value = "-7"
        elif column in ("simulated", "tainted"):
            value = f"1 - {column}"
        change = f"UPDATE {table} SET {column} = {value} WHERE rowid = (SELECT min(rowid) FROM {table})"  # noqa: S608
        report = specimen.damaged(lambda c, change=change: c.execute(change))  # type: ignore[misc]
        assert any(problem.kind == "table" and table in problem.detail for problem in report.problems), column


@pytest.mark.parametrize("table", TABLES)
def test_a_removed_table_row_is_named(specimen: Specimen, table: str) -> None:
    report = specimen.damaged(lambda c: c.execute(f"DELETE FROM {table}"))  # noqa: S608
    assert any(problem.kind == "table" and "not in its table" in problem.detail for problem in report.problems)


def test_a_row_put_in_by_hand_is_named(specimen: Specimen) -> None:
    report = specimen.damaged(
        lambda c: c.execute(
            "INSERT INTO decision SELECT 'forged', campaign_id, experiment_id, kind, revision, body, signature, "
            "decided_by, reason, expires_at, 'new nonce', created_at, 9999 FROM decision LIMIT 1"
        )
    )
    assert any("forged" in problem.detail and "by hand" in problem.detail for problem in report.problems)


def test_a_lease_or_a_name_changed_by_hand_is_named(specimen: Specimen) -> None:
    for change in ("UPDATE lease SET epoch = 99", "UPDATE lease SET holder = 'me'", "DELETE FROM lease"):
        report = specimen.damaged(lambda c, change=change: c.execute(change))  # type: ignore[misc]
        assert any("lease" in problem.detail for problem in report.problems)
    report = specimen.damaged(lambda c: c.execute("UPDATE meta SET value = 'ledger-other'"))
    assert any("ledger-other" in problem.detail for problem in report.problems)


def test_a_problem_changed_by_hand_is_named(specimen: Specimen) -> None:
    report = specimen.damaged(lambda c: c.execute("""UPDATE problem SET body = '{"parameters":["u"]}'"""))
    assert any("campaign c1" in problem.detail for problem in report.problems)


def logical(path: Path) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return every witnessed row of a file."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    try:
        return [
            (table, sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr))  # noqa: S608
            for table in ("journal", *TABLES, "problem", "meta")
        ]
    finally:
        connection.close()


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_the_file_is_found_unless_it_changes_no_row(specimen: Specimen, data: st.DataObject) -> None:
    content = bytearray(specimen.path.read_bytes())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= 1 << data.draw(st.integers(0, 7))
    copy = specimen.place / "byte.db"
    copy.write_bytes(bytes(content))
    try:
        if not specimen.verified(copy).is_clean:
            return
    except LedgerError:
        return
    before, after = logical(specimen.path), logical(copy)
    assert after == before, f"byte {offset} changed a row unseen"


def test_a_registration_after_its_run_is_named(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    ledger.add_hypothesis(make.hypothesis())
    make.dispatch(ledger, make.experiment(1))
    ledger.add_registration(make.registration())
    assert verify(ledger).is_clean
    ledger.add_evidence(make.evidence(experiments=("c1.1",)))
    report = verify(ledger)
    assert [problem.kind for problem in report.problems] == ["order"]
    assert "c1.1" in report.problems[0].detail


def test_evidence_from_an_experiment_that_was_never_to_be_run_is_named(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    ledger.add_hypothesis(make.hypothesis())
    ledger.add_registration(make.registration())
    ledger.add_experiment(make.experiment(1))
    ledger.add_evidence(make.evidence(experiments=("c1.1", "c1.2")))
    report = verify(ledger)
    assert [problem.kind for problem in report.problems] == ["order", "order"]
    assert "c1.1" in report.problems[0].detail and "c1.2" in report.problems[1].detail


def test_a_decision_that_the_gate_did_not_sign_is_named(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    make.approve(ledger, ledger.add_experiment(make.experiment()))
    assert [(note.kind, "1 decision" in note.detail) for note in verify(ledger).notes] == [("no_gate", True)]
    assert verify(ledger).is_clean
    GateKey.load_or_create(ledger.heads.keys)  # the maker's decisions are signed by nobody
    report = verify(ledger)
    assert [problem.kind for problem in report.problems] == ["decision"] and not report.notes


def test_decisions_are_not_held_against_another_ledgers_gate(ledger: Ledger, make: Maker, tmp_path: Path) -> None:
    """A copy from elsewhere is read beside our keys."""
    ledger.add_campaign(make.campaign())
    make.approve(ledger, ledger.add_experiment(make.experiment()))
    gate = GateKey.load_or_create(tmp_path / "elsewhere").public
    with Ledger.open(ledger.path, anchor=None, keys=tmp_path / "elsewhere") as opened:
        assert {note.kind for note in verify(opened).notes} == {"no_head", "no_gate"}
        assert [problem.kind for problem in verify(opened, gate=gate).problems] == ["decision"]


def test_a_head_signed_by_somebody_else_is_no_head(specimen: Specimen, ledger: Ledger) -> None:
    with Ledger.open(specimen.path, anchor=None, keys=specimen.keys) as opened:
        heads, _ = opened.heads.read()
        forged = {chain: Head(**{**vars(head), "seq": 1}) for chain, head in heads.items()}
        report = verify(opened, heads=forged)
    assert {problem.kind for problem in report.problems} == {"head"}


def test_without_heads_the_report_says_what_it_cannot_see(specimen: Specimen, tmp_path: Path) -> None:
    with Ledger.open(specimen.path, anchor=None, keys=tmp_path) as opened:
        report = verify(opened)
    assert report.is_clean
    assert {note.kind for note in report.notes} == {"no_head", "no_gate"}


WRITER = """
import sys
from athanor.memory.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
name, total = sys.argv[2], int(sys.argv[3])
for number in range(len(ledger.events(kinds=[name])), total):
    ledger.add_event("c1" if number % 2 else None, name, {"number": number})
"""


def write_and_kill(ledger: Ledger, writers: int, rows: int, kills: int) -> None:
    """Let several processes write, kill one at random again and again, and start it anew until all is written."""
    chance = random.Random(7)
    command = [sys.executable, "-c", WRITER, ledger.url]

    def start(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, f"w{number}", str(rows)], env=dict(os.environ))

    processes = [start(number) for number in range(writers)]
    deadline = time.monotonic() + 500
    total = writers * rows
    at = sorted(chance.randrange(total * 9 // 10) for _ in range(kills))
    base = ledger.changes()
    try:
        for mark in at:
            while ledger.changes() - base <= mark:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            victims = [number for number, process in enumerate(processes) if process.poll() is None]
            if victims:
                victim = chance.choice(victims)
                processes[victim].kill()
                assert processes[victim].wait() in (0, -9)
                processes[victim] = start(victim)
        assert [process.wait(timeout=deadline - time.monotonic()) for process in processes] == [0] * writers
    finally:
        for process in processes:
            process.kill()
            process.wait()


def check_written(ledger: Ledger, writers: int, rows: int) -> None:
    for number in range(writers):
        assert [event.body["number"] for event in ledger.events(kinds=[f"w{number}"])] == list(range(rows))
    report = verify(ledger)
    assert report.is_clean, report.problems[:3]
    assert report.rows == 2 + writers * rows
    assert {note.kind for note in report.notes} <= {"unanchored"}


def test_writers_killed_at_random_leave_a_clean_ledger(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    write_and_kill(ledger, writers=3, rows=60, kills=4)
    check_written(ledger, writers=3, rows=60)


@pytest.mark.slow
def test_eight_writers_of_a_thousand_rows_killed_at_random(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    write_and_kill(ledger, writers=8, rows=1000, kills=24)
    check_written(ledger, writers=8, rows=1000)
