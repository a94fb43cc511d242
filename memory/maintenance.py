"""Looking after a ledger: back it up, put a backup back, bring it to a newer schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from athanor.memory import dialects, schema
from athanor.memory.canonical import CanonicalError, canonical, parse
from athanor.memory.errors import LedgerError, NotFound
from athanor.memory.filesystems import refuse_network
from athanor.memory.heads import Head
from athanor.memory.ledger import Ledger
from athanor.memory.records import now
from athanor.memory.verify import Report, verify


class BackupProblem(LedgerError):
    """A backup that cannot be made or trusted."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made and verified: the copy, the heads signed when it was made, what verifying it gave."""

    path: Path
    heads: Path
    report: Report


@dataclass(frozen=True)
class Restored:
    """What putting a backup back cost: by chain the first and last row lost; `kept` is the ledger as it was before."""

    lost: Mapping[str, tuple[int, int]]
    kept: Path | None


@dataclass(frozen=True)
class SchemaStatus:
    """The schema revision that a ledger has (None: none), the one this release uses, and how they compare."""

    found: str | None
    current: str
    state: Literal["current", "older", "newer", "none"]


@dataclass(frozen=True)
class Upgraded:
    """The revisions before and after; the copy made first, None where there was nothing to do."""

    before: str | None
    after: str
    backup: Path | None


def backup(url: str | Path, target: Path) -> Backup:
    """Copy a ledger, while it is in use, into one file and verify the copy. The signed heads go beside it.

    Raises:
        BackupProblem: there is a file already, or the copy is not clean (no copy is left then).
        LedgerError: the ledger cannot be read.
    """
    beside = _heads_beside(target)
    for path in (target, beside):
        if path.exists():
            raise BackupProblem(f"{path} is there already; give another name, so that no backup is lost")
    # Not a ledger in use, so it may lie on another computer's disk.
    with Ledger.open(url, anchor=None) as ledger:
        heads, _ = ledger.heads.read()
        part = target.with_name(f"{target.name}.part")
        try:
            dialects.copy(ledger.path, part)
            dialects.leave_log(part)
            with Ledger.open(part, anchor=None) as copied:
                report = verify(copied, heads=heads)
            if not report.is_clean:
                raise BackupProblem(f"the copy of {ledger.path} is not clean: {report.problems[0].detail}")
            text = canonical({chain: asdict(head) for chain, head in heads.items()})
            beside.write_text(text, encoding="utf-8")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return Backup(path=target, heads=beside, report=report)


def verify_backup(path: Path) -> Report:
    """Verify a backup against the heads that were signed when it was made.

    Raises:
        BackupProblem: the heads beside it are missing or cannot be read.
    """
    beside = _heads_beside(path)
    try:
        stored: dict[str, Any] = parse(beside.read_text(encoding="utf-8"))
        heads = {chain: Head.read(head) for chain, head in stored.items()}
    except (OSError, CanonicalError, ValueError, AttributeError) as error:
        raise BackupProblem(f"the heads of the backup cannot be read from {beside}: {error}") from error
    with Ledger.open(path, anchor=None) as copied:
        return verify(copied, heads=heads)


def restore(source: Path, url: str | Path, reason: str, by: str) -> Restored:
    """Put a backup in the place of a ledger, and say in the journal what was lost by it.

    The ledger as it was is kept beside it. The heads, which are ahead now, are retired and new ones signed: this is the
    one way to take a ledger back, and it leaves an event of kind `restored`.

    Raises:
        BackupProblem: the backup is not clean.
        LedgerBusy: a process is writing the ledger.
    """
    report = verify_backup(source)
    if not report.is_clean:
        raise BackupProblem(f"{source} is not clean: {report.problems[0].detail}")
    path = dialects.path_of(url)
    refuse_network(path)
    stamp = now().strftime("%Y%m%dT%H%M%S.%fZ")
    kept: Path | None = None
    if path.exists():
        kept = path.with_name(f"{path.name}.before-{stamp}")
        dialects.copy(path, kept)
        dialects.leave_log(kept)
    else:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    dialects.copy(source, path)
    with Ledger.open(path) as ledger:
        heads, _ = ledger.heads.read()
        tails = {row.chain: row for row in ledger.journal()}
        lost = {
            chain: (tails[chain].seq + 1 if chain in tails else 1, head.seq)
            for chain, head in sorted(heads.items())
            if chain not in tails or head.seq > tails[chain].seq
        }
        ledger.heads.retire(f"retired-{stamp}")
        body = {"reason": reason, "by": by, "lost": {chain: list(rows) for chain, rows in lost.items()}}
        ledger.sign_heads()
        ledger.add_event(None, "restored", body)
    return Restored(lost=lost, kept=kept)


def upgrade(url: str | Path) -> Upgraded:
    """Bring a ledger to the present schema, after copying it to `<file>.<revision>.bak`. The journal is not touched.

    Raises:
        SchemaTooNew: a newer Athanor wrote it.
        NotFound, LedgerUnreadable, BackupProblem
    """
    path = dialects.path_of(url)
    status = schema_status(url)
    if status.state == "current":
        return Upgraded(before=status.found, after=status.current, backup=None)
    engine = dialects.make_engine(path)
    try:
        if status.state != "older":
            with dialects.reading(engine) as connection:
                schema.check(connection, str(path))
        saved = path.with_name(f"{path.name}.{status.found}.bak")
        if saved.exists():
            raise BackupProblem(f"{saved} is there from an earlier attempt; move it away first")
        dialects.copy(path, saved)
        dialects.leave_log(saved)
        before, after = schema.migrate(engine)
    finally:
        engine.dispose()
    return Upgraded(before=before, after=after, backup=saved)


def schema_status(url: str | Path) -> SchemaStatus:
    """Return how a ledger's schema compares with this release's.

    Raises:
        NotFound: there is no file.
        LedgerUnreadable: it is no database.
    """
    path = dialects.path_of(url)
    if not path.is_file():
        raise NotFound("ledger at", str(path))
    engine = dialects.make_engine(path, read_only=True)
    try:
        with dialects.reading(engine) as connection:
            found = schema.version_of(connection)
    finally:
        engine.dispose()
    current = schema.current()
    if found is None:
        return SchemaStatus(found, current, "none")
    if found == current:
        return SchemaStatus(found, current, "current")
    return SchemaStatus(found, current, "older" if found in schema.REVISIONS else "newer")


def _heads_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.heads.json")
