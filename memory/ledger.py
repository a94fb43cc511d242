"""The ledger: the truth about every campaign. All writing goes through here.

Each write is one transaction that also appends the journal's line for it; once it is committed the journal's head is
signed. A ledger may be used from several threads and by many processes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from sqlalchemy import Connection, Engine, func, insert, inspect, select

from athanor.memory import dialects, schema
from athanor.memory import journal as journal_module
from athanor.memory._campaigns import Campaigns
from athanor.memory._experiments import Experiments
from athanor.memory._leases import Leases
from athanor.memory._measurements import Measurements
from athanor.memory._resources import Resources
from athanor.memory._store import Writer
from athanor.memory.errors import LedgerUnreadable, ReadOnlyLedger
from athanor.memory.filesystems import refuse_network
from athanor.memory.heads import Heads
from athanor.memory.places import keys_dir
from athanor.memory.records import JournalRow, new_id, now
from athanor.memory.rows import table_of
from athanor.memory.signing import AnchorKey
from athanor.memory.tables import METADATA

_META = METADATA.tables["meta"]
_JOURNAL = table_of(JournalRow)
Anchor = AnchorKey | Literal["default"] | None


class Ledger(Campaigns, Experiments, Leases, Measurements, Resources):
    """An open ledger.

    Attributes:
        path: the ledger's file.
        ledger_id: the id it was given when it was made; its signed heads are kept under it.
    """

    @classmethod
    def create(
        cls,
        url: str | Path,
        anchor: Anchor = "default",
        keys: Path | None = None,
        clock: Callable[[], datetime] = now,
    ) -> Self:
        """Make a ledger, or open the one that is there; see `open`."""
        return cls.open(url, create=True, anchor=anchor, keys=keys, clock=clock)

    @classmethod
    def open(
        cls,
        url: str | Path,
        create: bool = False,
        anchor: Anchor = "default",
        keys: Path | None = None,
        clock: Callable[[], datetime] = now,
    ) -> Self:
        """Open the ledger at `url` (`sqlite:///PATH` or a path).

        Args:
            url: where it is.
            create: make it, if it is not there.
            anchor: the key that signs the journal's heads; by default the one in `keys`; None opens for reading only.
            keys: the folder of keys and heads, by default `places.keys_dir()`.
            clock: gives the present time in UTC.

        Raises:
            NotFound: there is no file, and `create` is not set.
            NetworkFilesystem, UnsupportedDatabase: no ledger may be there (a copy may be read anywhere).
            SchemaTooNew, SchemaTooOld, LedgerUnreadable: it cannot be used as it is.
            KeyProblem: the folder of keys cannot be written, so nothing stored could be signed.
        """
        path = dialects.path_of(url)
        if anchor is not None:
            refuse_network(path)
        folder = keys_dir() if keys is None else keys
        key = AnchorKey.load_or_create(folder) if anchor == "default" else anchor
        if create and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if create and key is not None:
            dialects.prepare_file(path)
        engine = dialects.make_engine(path, read_only=key is None)
        try:
            first: list[JournalRow] = []
            if create and key is not None:
                first = _found(engine, clock())
            with dialects.reading(engine) as connection:
                schema.check(connection, str(path))
                ledger_id = _ledger_id(connection, path)
            if key is not None and not create:
                # Not before it is known to be a ledger: a file of somebody else's is left as it is.
                dialects.prepare_file(path)
            heads = Heads(folder, ledger_id)
            if key is not None:
                heads.prepare()
                heads.advance(first, key)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, path, ledger_id, heads, key, clock)

    @property
    def url(self) -> str:
        """The ledger's URL."""
        return dialects.url_of(self.path)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> datetime:
        """Return the present time by the ledger's clock, in UTC."""
        return self._clock()

    def sign_heads(self) -> None:
        """Sign the last row of every chain that is not signed that far."""
        if self._anchor is None:
            raise ReadOnlyLedger(f"{self.path} was opened for reading; open it with an anchor key to sign")
        self.heads.advance(self.journal(), self._anchor)

    def changes(self) -> int:
        """Return a number that grows with every change worth showing (not when a lease is renewed). Cheap: poll it."""
        with self._reading() as connection:
            return int(connection.execute(select(func.max(_JOURNAL.c.position))).scalar() or 0)

    def lines(self, after: int, limit: int) -> list[journal_module.Line]:
        """Return what the journal's rows beyond the position `after` are about, in order: `limit` of them at most."""
        with self._reading() as connection:
            return journal_module.lines(connection, after, limit)

    def journal(self, chain: str | None = None, after: int = 0) -> list[JournalRow]:
        """Return the journal's rows beyond the position `after`, of one chain or of all, in order."""
        with self._reading() as connection:
            return list(journal_module.rows(connection, chain=chain, after=after))


def _found(engine: Engine, moment: datetime) -> list[JournalRow]:
    """Make schema and identity, if they are not there; two processes may try at once. Return the rows written."""
    with dialects.reading(engine) as connection:
        if schema.version_of(connection) is not None:
            return []
    with dialects.writing(engine) as connection:
        if schema.version_of(connection) is not None:
            return []
        if others := inspect(connection).get_table_names():
            raise LedgerUnreadable(
                f"{engine.url.database} is a database with other tables ({others[0]}, ...); give another path"
            )
        schema.migrate_within(connection, str(engine.url.database))
        writer = Writer(connection, moment)
        ledger_id = new_id("ledger")
        connection.execute(insert(_META), {"name": "ledger_id", "value": ledger_id})
        writer.journal.append(journal_module.SITE, "ledger", {"ledger": ledger_id})
        return writer.journal.appended


def _ledger_id(connection: Connection, path: Path) -> str:
    found = connection.execute(select(_META.c.value).where(_META.c.name == "ledger_id")).scalar()
    if found is None:
        raise LedgerUnreadable(f"{path} has lost its id; restore a backup")
    return str(found)
