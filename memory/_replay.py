"""What the tables should hold, according to the journal, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Table, func, select

from athanor.memory import decisions, transitions
from athanor.memory._measurements import model_call_line
from athanor.memory._store import build, problem_body
from athanor.memory.canonical import CanonicalError, canonical, digest_text, parse
from athanor.memory.dialects import guarded
from athanor.memory.errors import IllegalTransition, LedgerError
from athanor.memory.records import (
    Campaign,
    Decision,
    Document,
    Event,
    Evidence,
    Experiment,
    Hypothesis,
    Intent,
    Lease,
    ModelCall,
    Observation,
    Record,
    Registration,
    Run,
)
from athanor.memory.resources import Consumable, Reservation, Sample
from athanor.memory.rows import row_from, table_of
from athanor.memory.signing import PublicKey
from athanor.memory.tables import METADATA

Found = tuple[str, str | None, int | None, str]
_CHUNK = 500

# The journal's kinds that insert a record, and the fields that later lines may change.
_RECORDS: Mapping[str, type[Record]] = {
    "campaign": Campaign,
    "hypothesis": Hypothesis,
    "registration": Registration,
    "evidence": Evidence,
    "experiment": Experiment,
    "decision": Decision,
    "intent": Intent,
    "run": Run,
    "document": Document,
    "observation": Observation,
    "model_call": ModelCall,
    "event": Event,
    "sample": Sample,
    "consumable": Consumable,
    "reservation": Reservation,
}
_MUTABLE = ("campaign", "hypothesis", "experiment", "run", "sample", "consumable", "reservation")


def scan(connection: Connection, table: Table) -> Iterator[tuple[Any, Mapping[Any, Any] | str]]:
    """Give (position, row) for every row of a table by position; a row that cannot be read is the reason instead."""
    position = table.c.position
    last: Any = None
    seen = 0
    while True:
        query = select(position).order_by(position).limit(_CHUNK)
        keys = [row[0] for row in connection.execute(query if last is None else query.where(position > last))]
        if not keys:
            break
        rows = select(table).where(position >= keys[0], position <= keys[-1]).order_by(position)
        try:
            with guarded():
                chunk: list[tuple[Any, Mapping[Any, Any] | str]] = [
                    (row["position"], row) for row in connection.execute(rows).mappings()
                ]
        except (LedgerError, ValueError, TypeError):
            chunk = [(key, _one(connection, table, key)) for key in keys]
        yield from chunk
        seen += len(chunk)
        last = keys[-1]
    total = connection.execute(select(func.count()).select_from(table)).scalar() or 0
    if total != seen:
        yield None, f"{total - seen} of {total} rows have no position"


def _one(connection: Connection, table: Table, key: Any) -> Mapping[Any, Any] | str:
    try:
        with guarded():
            row = connection.execute(select(table).where(table.c.position == key)).mappings().first()
    except (LedgerError, ValueError, TypeError) as error:
        return str(error)
    return "it is in an index but not in the table" if row is None else row


class Replay:
    """Takes the journal line by line, then compares with the tables.

    Args:
        gate: the gate's public key; with it, decisions are checked against their signatures.

    Attributes:
        unchecked: Decisions that were not, for want of the key.
    """

    def __init__(self, gate: PublicKey | None) -> None:
        self._gate = gate
        self.unchecked = 0
        self._found: list[Found] = []
        # For each record its journal position and what its row says: whole if it may change, as a hash if it may not.
        self._fixed: dict[tuple[str, str], tuple[int, str]] = {}
        self._changing: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self._leases: dict[str, tuple[str, int]] = {}
        self._ledger_id: str | None = None
        self._registered: dict[str, int] = {}
        self._intended: dict[str, int] = {}
        self._counted: list[tuple[str, str, str]] = []
        self._cited: list[tuple[str, int, str, list[str]]] = []

    def add(self, position: int, chain: str, seq: int, kind: str, text: str) -> None:
        """Take a line of the journal. One that cannot be read is passed over: its hash has named it already."""
        try:
            body = parse(text)
            self._take(position, chain, seq, kind, body, text)
        except (CanonicalError, KeyError, TypeError, AttributeError):
            detail = f"the journal's line {position} ({kind}) does not read as what it is"
            self._found.append(("altered", chain, seq, detail))

    def _take(self, position: int, chain: str, seq: int, kind: str, body: dict[str, Any], text: str) -> None:
        if kind in _RECORDS:
            identity = f"{body['run_uid']}/{body['position']}" if kind == "document" else body.get("id") or body["uid"]
            if kind in _MUTABLE:
                self._changing[kind, identity] = (position, body)
            else:
                self._fixed[kind, identity] = (position, digest_text(text))
            self._note(position, chain, seq, kind, body)
        elif kind == "ledger":
            self._ledger_id = body["ledger"]
        elif kind == "lease":
            self._leases[body["resource"]] = (body["holder"], body["epoch"])
        elif kind == "request":
            self._changing["campaign", body["campaign"]][1]["requested"] = body["verb"]
        elif kind == "run_stop":
            end = {name: body[name] for name in ("stopped_at", "exit_status", "reason", "num_events")}
            self._changing["run", body["run"]][1].update(end)
        elif kind == "sample_move":
            self._changing["sample", body["sample"]][1]["location"] = body["location"]
        elif kind == "stock":
            level = {name: body[name] for name in ("amount", "low")}
            self._changing["consumable", body["consumable"]][1].update(level)
        else:
            self._change(chain, seq, kind, body)

    def _note(self, position: int, chain: str, seq: int, kind: str, body: dict[str, Any]) -> None:
        if kind == "experiment" and body["registration_id"] is not None:
            self._counted.append((body["registration_id"], body["id"], f"campaign:{body['campaign_id']}"))
        elif kind == "registration":
            self._registered[body["id"]] = position
        elif kind == "intent":
            self._intended[body["experiment_id"]] = position
        elif kind == "evidence":
            self._cited.append((chain, seq, body["registration_id"], body["experiments"]))

    def _change(self, chain: str, seq: int, kind: str, body: dict[str, Any]) -> None:
        entity = kind.removesuffix("_state")
        if entity not in transitions.TABLES:
            self._found.append(("altered", chain, seq, f"the journal knows no lines of kind {kind!r}"))
            return
        record = self._changing[entity, body[entity]][1]
        try:
            transitions.check(entity, body[entity], record["state"], body["to"])
            wrong = (
                "" if record["state"] == body["from"] else f"{body[entity]} was {record['state']}, not {body['from']}"
            )
        except IllegalTransition as error:
            wrong = str(error)
        if wrong:
            self._found.append(("transition", chain, seq, wrong))
        if entity == "experiment" and body["decision"] is not None and body["from"] != "in_doubt":
            record["decision_id"] = body["decision"]
        if entity == "hypothesis" and body["verdict"] is not None:
            record["verdict"] = body["verdict"]
        if entity == "sample":
            record["experiment_id"] = body["experiment"]
        if entity == "campaign":
            record["finished_at"] = body["finished_at"]
        record["state"] = body["to"]
        record["reason"] = body["reason"]

    def finish(self, connection: Connection, ledger_id: str) -> list[Found]:
        """Compare with the tables, and return everything that was found."""
        if self._ledger_id != ledger_id:
            self._found.append(
                ("table", "site", 1, f"the ledger calls itself {ledger_id}, its journal {self._ledger_id}")
            )
        self._order()
        for kind, record in _RECORDS.items():
            self._compare(connection, kind, record)
        for kind, identity in [*self._fixed, *self._changing]:
            self._found.append(("table", None, None, f"the {kind} {identity} is in the journal but not in its table"))
        self._compare_leases(connection)
        return self._found

    def _order(self) -> None:
        for registration, experiment, chain in self._counted:
            self._after(registration, experiment, chain, None)
        for chain, seq, registration, experiments in self._cited:
            for experiment in experiments:
                self._after(registration, experiment, chain, seq)
                if experiment not in self._intended:
                    detail = f"{experiment} counts for the registration {registration} but was never to be run"
                    self._found.append(("order", chain, seq, detail))

    def _after(self, registration: str, experiment: str, chain: str, seq: int | None) -> None:
        registered = self._registered.get(registration)
        intended = self._intended.get(experiment)
        if intended is not None and (registered is None or intended < registered):
            detail = f"the intent to run {experiment} came before the registration {registration} that it counts for"
            if ("order", chain, seq, detail) not in self._found:
                self._found.append(("order", chain, seq, detail))

    def _compare(self, connection: Connection, kind: str, record: type[Record]) -> None:
        table = table_of(record)
        for key, row in scan(connection, table):
            if isinstance(row, str):
                self._found.append(("table", None, None, f"a row of {kind} (journal line {key}) cannot be read: {row}"))
                continue
            try:
                self._compare_row(connection, kind, record, row)
            except (LedgerError, ValidationError, CanonicalError, ValueError, TypeError) as error:
                self._found.append(("table", None, None, f"a row of {kind} (journal line {key}) is damaged: {error}"))

    def _compare_row(self, connection: Connection, kind: str, record: type[Record], row: Mapping[Any, Any]) -> None:
        elsewhere = {"problem": problem_body(connection, row["problem_hash"])} if kind == "campaign" else {}
        found = build(record, row, **elsewhere)
        identity = _identity(found)
        line = canonical(_line(found))
        if kind in _MUTABLE:
            position, body = self._changing.pop((kind, identity), (None, None))
            expected = None if body is None else digest_text(canonical(body))
        else:
            position, expected = self._fixed.pop((kind, identity), (None, None))
        if position is None:
            self._found.append(("table", None, None, f"the {kind} {identity} is not in the journal: put in by hand"))
        elif digest_text(line) != expected or row_from(found, position) != dict(row):
            self._found.append(("table", None, None, f"the {kind} {identity} differs from journal line {position}"))
        elif isinstance(found, Document) and digest_text(found.body) != found.sha256:
            self._found.append(("table", None, None, f"the document {identity} differs from its hash"))
        if isinstance(found, Decision):
            self._check_signature(found)

    def _check_signature(self, found: Decision) -> None:
        if self._gate is None:
            self.unchecked += 1
            return
        try:
            decisions.check(found, self._gate)
        except decisions.ForgedDecision as error:
            self._found.append(("decision", None, None, str(error)))

    def _compare_leases(self, connection: Connection) -> None:
        lease = METADATA.tables[table_of(Lease).name]
        rows = {row["resource"]: (row["holder"], row["epoch"]) for row in connection.execute(select(lease)).mappings()}
        for resource in sorted({*rows, *self._leases}):
            if rows.get(resource) != self._leases.get(resource):
                detail = f"the lease on {resource} is {rows.get(resource)}, by the journal {self._leases.get(resource)}"
                self._found.append(("table", None, None, detail))


def _identity(record: Record) -> str:
    if isinstance(record, Document):
        return f"{record.run_uid}/{record.position}"
    name = "uid" if isinstance(record, Run) else "id"
    return str(getattr(record, name))


def _line(record: Record) -> Any:
    """Return what the journal holds of a record."""
    if isinstance(record, Document):
        return record.model_dump(exclude={"body"})
    return model_call_line(record) if isinstance(record, ModelCall) else record
