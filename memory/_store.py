"""What all parts of the ledger stand on: reading, and writing together with the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Engine, Select, UnaryExpression, insert, select, update
from sqlalchemy.exc import IntegrityError

from athanor.memory import transitions
from athanor.memory.canonical import CanonicalError
from athanor.memory.dialects import reading, translated, writing
from athanor.memory.errors import (
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LedgerUnreadable,
    NoSuchPlace,
    NotFound,
    ReadOnlyLedger,
)
from athanor.memory.heads import Heads
from athanor.memory.journal import Journal, chain_of
from athanor.memory.records import Experiment, Problem, Record
from athanor.memory.rows import column_of, record_from, row_from, table_of
from athanor.memory.signing import AnchorKey

R = TypeVar("R", bound=Record)


class Writer:
    """One write transaction: rows and, with each, its line in the journal."""

    def __init__(self, connection: Connection, moment: datetime) -> None:
        self.connection = connection
        self.moment = moment
        self.journal = Journal(connection, moment)

    def insert(self, record: Record, campaign_id: str | None, kind: str, body: Any = None) -> None:
        """Insert a record and append `body` (default: the record itself) to the journal of its campaign.

        Raises:
            Duplicate: a row with this identity, or in this place, is there.
            NotFound: the record refers to something that is not there.
        """
        line = self.journal.append(chain_of(campaign_id), kind, record if body is None else body)
        self.put(record, line.position)

    def put(self, record: Record, position: int | None) -> None:
        """Insert a record whose line in the journal is written."""
        table = table_of(type(record))
        try:
            self.connection.execute(insert(table), row_from(record, position))
        except IntegrityError as error:
            identity = ", ".join(str(getattr(record, name, "")) for name in _identity(type(record)))
            if "FOREIGN KEY" in str(error.orig).upper():
                raise NotFound(f"row that {table.name} refers to:", identity) from error
            raise Duplicate(f"{table.name} {identity} is already in the ledger ({error.orig})") from error

    def change_state(
        self,
        kind: type[Record],
        identifier: str,
        new: str,
        *,
        campaign_id: str | None,
        body: dict[str, Any],
        columns: dict[str, Any],
        expect: set[str] | None = None,
    ) -> str:
        """Change a state by compare and set, with its line in the journal; return the state before.

        Raises:
            NotFound, IllegalTransition
        """
        table = table_of(kind)
        old = self.connection.execute(select(table.c.state).where(table.c.id == identifier)).scalar()
        if old is None:
            raise NotFound(table.name, identifier)
        if expect is not None and old not in expect:
            wanted = " or ".join(sorted(expect))
            raise IllegalTransition(table.name, identifier, str(old), new, f"it was expected to be {wanted}")
        transitions.check(table.name, identifier, str(old), new)
        done = self.connection.execute(
            update(table).where(table.c.id == identifier, table.c.state == old).values(state=new, **columns)
        )
        if done.rowcount != 1:
            raise IllegalTransition(table.name, identifier, str(old), new, "another writer was faster")
        line = {table.name: identifier, "from": str(old), "to": new, **body}
        self.journal.append(chain_of(campaign_id), f"{table.name}_state", line)
        return str(old)


class Store:
    """The open ledger file, its heads and its clock."""

    def __init__(
        self,
        engine: Engine,
        path: Path,
        ledger_id: str,
        heads: Heads,
        anchor: AnchorKey | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._anchor = anchor
        self._clock = clock
        self._moment = threading.local()
        self.path = path
        self.ledger_id = ledger_id
        self.heads = heads

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        if self._anchor is None:
            raise ReadOnlyLedger(f"{self.path} was opened for reading; open it with an anchor key to write")
        with writing(self._engine) as connection:
            writer = Writer(connection, self._clock())
            yield writer
        self.heads.advance(writer.journal.appended, self._anchor)

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """All that this thread reads within is of one moment, and what is written meanwhile is not seen.

        Cheaper, too, where much is read. Not to be held for long: the file cannot be tidied up meanwhile.
        """
        if getattr(self._moment, "connection", None) is not None:
            yield
            return
        with reading(self._engine) as connection:
            self._moment.connection = connection
            try:
                yield
            finally:
                self._moment.connection = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if (connection := getattr(self._moment, "connection", None)) is not None:
            with translated(self._engine):
                yield connection
            return
        with reading(self._engine) as connection:
            yield connection

    def _find(self, kind: type[R], *where: ColumnElement[bool]) -> R | None:
        with self._reading() as connection:
            return find(connection, kind, *where)

    def _list(self, kind: type[R], query: Select[Any]) -> list[R]:
        with self._reading() as connection:
            return [build(kind, row) for row in connection.execute(query).mappings()]

    def _part(
        self,
        kind: type[R],
        within: Sequence[ColumnElement[bool]],
        order: ColumnElement[Any],
        *,
        only: Sequence[ColumnElement[bool]] = (),
        after: str | None = None,
        limit: int | None = None,
    ) -> list[R]:
        """Return records of the list `within` that meet `only`, beyond the one with the id `after`, `limit` at most.

        `order` is a unique column of the list, ascending or descending. What `after` names needs to be in the list, and
        not to meet `only`: it may have changed since the part before.

        Raises:
            NoSuchPlace: it is not in the list.
        """
        table = table_of(kind)
        column = order.element if isinstance(order, UnaryExpression) else order
        query = select(table).where(*within, *only).order_by(order)
        with self._reading() as connection:
            if after is not None:
                place = connection.execute(select(column).where(*within, table.c.id == after)).scalar()
                if place is None:
                    raise NoSuchPlace(after)
                query = query.where(column > place if order is column else column < place)
            if limit is not None:
                query = query.limit(limit)
            return [build(kind, row) for row in connection.execute(query).mappings()]


def find(connection: Connection, kind: type[R], *where: ColumnElement[bool]) -> R | None:
    """Return the one record that meets the conditions, or None."""
    row = connection.execute(select(table_of(kind)).where(*where)).mappings().first()
    return None if row is None else build(kind, row)


def need(connection: Connection, kind: type[R], identifier: str) -> R:
    """Return the record with this id.

    Raises:
        NotFound: there is none.
    """
    table = table_of(kind)
    found = find(connection, kind, table.c.id == identifier)
    if found is None:
        raise NotFound(table.name, identifier)
    return found


def campaign_of(connection: Connection, experiment_id: str) -> str:
    """Return the campaign of an experiment.

    Raises:
        NotFound: there is no such experiment.
    """
    table = table_of(Experiment)
    found = connection.execute(select(table.c.campaign_id).where(table.c.id == experiment_id)).scalar()
    if found is None:
        raise NotFound("experiment", experiment_id)
    return str(found)


def build(kind: type[R], row: Any, **elsewhere: Any) -> R:
    """Return the record of a row.

    Raises:
        LedgerUnreadable: the row was not written by the ledger, or was changed.
    """
    try:
        return record_from(kind, row, **elsewhere)
    except (ValidationError, CanonicalError, ValueError) as error:
        raise LedgerUnreadable(
            f"a row of {table_of(kind).name} is damaged; run `athanor ledger verify`: {error}"
        ) from error


def problem_body(connection: Connection, problem_hash: str) -> dict[str, Any]:
    """Return the problem with this hash.

    Raises:
        NotFound: there is none.
    """
    table = table_of(Problem)
    found = find(connection, Problem, table.c.hash == problem_hash)
    if found is None:
        raise NotFound("problem", problem_hash)
    return found.body


def refuse(condition: bool, message: str) -> None:
    """Raise InvalidRecord with `message` if `condition` holds."""
    if condition:
        raise InvalidRecord(message)


def _identity(kind: type[Record]) -> list[str]:
    table = table_of(kind)
    keys = {column.name for column in table.primary_key.columns}
    return [name for name in kind.model_fields if column_of(kind, name) in keys]
