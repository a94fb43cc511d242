"""The ledger's part on resources: samples and stocks, where they are, what became of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from athanor.memory._store import Store, Writer, find, need, refuse
from athanor.memory.canonical import parse
from athanor.memory.errors import Duplicate, NotFound
from athanor.memory.journal import SITE
from athanor.memory.records import Event, JournalRow, new_id
from athanor.memory.resources import Change, Consumable, Level, Reservation, Sample
from athanor.memory.rows import record_from, table_of

_SAMPLE = table_of(Sample)
_CONSUMABLE = table_of(Consumable)
_RESERVATION = table_of(Reservation)
_JOURNAL = table_of(JournalRow)

ROUNDING = 1e-9
"""Relative part of an amount that is the sum's and not the bottle's."""


class Resources(Store):
    """Samples, consumables, reservations."""

    def add_sample(self, sample: Sample) -> Sample:
        """Add a sample.

        Raises:
            Duplicate: another sample that is not retired has the label.
            NotFound: there is no such parent.
        """
        with self._writing() as writer:
            _add_sample(writer, sample)
        return sample

    def sample(self, name: str) -> Sample:
        """Return the sample with this id or label; of retired samples with one label, the newest.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return find_sample(connection, name)

    def samples(self, with_retired: bool = False) -> list[Sample]:
        """Return the samples in the order in which they were added."""
        query = select(_SAMPLE).order_by(_SAMPLE.c.position)
        return self._list(Sample, query if with_retired else query.where(_SAMPLE.c.state != "retired"))

    def move_sample(self, name: str, location: str, by: str, reason: str = "") -> Sample:
        """Note where a sample is now.

        Raises:
            NotFound: there is none.
            InvalidRecord: it is retired, or an experiment has it.
        """
        with self._writing() as writer:
            sample = _idle(writer.connection, name, "moved")
            moved = sample.model_copy(update={"location": location})
            Sample.model_validate(moved.model_dump())
            writer.connection.execute(update(_SAMPLE).where(_SAMPLE.c.id == sample.id).values(location=location))
            line = {"sample": sample.id, "location": location, "by": by, "reason": reason}
            writer.journal.append(SITE, "sample_move", line)
        return moved

    def split_sample(self, name: str, labels: Sequence[str], by: str, reason: str = "") -> list[Sample]:
        """Make several samples of one, all or none; they lie where it lies, and it stays.

        Raises:
            NotFound, Duplicate
            InvalidRecord: no labels, or it is retired or an experiment has it.
        """
        refuse(not labels, f"sample {name}: say what its parts are called")
        with self._writing() as writer:
            parent = _idle(writer.connection, name, "split")
            parts = [
                Sample(
                    id=new_id("sample"),
                    label=label,
                    description=parent.description,
                    location=parent.location,
                    parent_id=parent.id,
                    created_at=writer.moment,
                )
                for label in labels
            ]
            for part in parts:
                _add_sample(writer, part)
        return parts

    def retire_sample(self, name: str, by: str, reason: str) -> None:
        """Take a sample out of use for good; its history stays.

        Raises:
            NotFound: there is none.
            InvalidRecord: an experiment has it, or it is retired already.
        """
        with self._writing() as writer:
            sample = _idle(writer.connection, name, "retired")
            change_sample(writer, sample.id, "retired", reason, None, by)

    def sample_history(self, name: str) -> list[Change]:
        """Return everything that happened to a sample, as the journal has it."""
        sample = self.sample(name)
        kinds = ("sample", "sample_move", "sample_state")
        with self._reading() as connection:
            return _history(connection, kinds, sample.id, ("id", "parent_id", "sample"))

    # -- stocks --------------------------------------------------------------------------------------------------------

    def add_consumable(self, consumable: Consumable) -> Consumable:
        """Add a stock.

        Raises:
            Duplicate: there is one of that name.
        """
        with self._writing() as writer:
            writer.insert(consumable, None, "consumable")
            tell_if_low(writer, consumable.id)
        return consumable

    def consumable(self, name: str) -> Consumable:
        """Return a stock.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as connection:
            return need(connection, Consumable, name)

    def levels(self, names: Sequence[str] | None = None) -> list[Level]:
        """Return how the stocks stand, all or those named, by name."""
        with self._reading() as connection:
            promised = promised_amounts(connection)
            rows = connection.execute(select(_CONSUMABLE).order_by(_CONSUMABLE.c.id)).mappings()
            found = [record_from(Consumable, row) for row in rows]
        return [Level(item, promised.get(item.id, 0.0)) for item in found if names is None or item.id in names]

    def refill(self, name: str, amount: float, by: str, reason: str = "") -> Consumable:
        """Add to a stock.

        Raises:
            NotFound, InvalidRecord
        """
        refuse(not (math.isfinite(amount) and amount > 0), f"{name}: an amount to add is above 0, not {amount}")
        with self._writing() as writer:
            found = need(writer.connection, Consumable, name)
            return change_stock(writer, found, found.amount + amount, found.low, "added", by, reason)

    def set_stock(
        self, name: str, by: str, reason: str, amount: float | None = None, low: float | None = None
    ) -> Consumable:
        """Correct what is there, or the level at which people are told.

        Raises:
            NotFound, InvalidRecord
        """
        for value in (amount, low):
            refuse(value is not None and not (math.isfinite(value) and value >= 0), f"{name} cannot be {value}")
        with self._writing() as writer:
            found = need(writer.connection, Consumable, name)
            was_low = Level(found, promised_amounts(writer.connection).get(name, 0.0)).is_low
            new = found.amount if amount is None else amount
            changed = change_stock(writer, found, new, found.low if low is None else low, "set", by, reason)
            if not was_low:
                tell_if_low(writer, name)
            return changed

    def stock_history(self, name: str) -> list[Change]:
        """Return everything that happened to a stock, as the journal has it."""
        self.consumable(name)
        with self._reading() as connection:
            return _history(connection, ("consumable", "stock"), name, ("id", "consumable"))

    # -- reservations --------------------------------------------------------------------------------------------------

    def reservation_for(self, experiment_id: str) -> Reservation | None:
        """Return what an experiment has, or had, to itself."""
        return self._find(Reservation, _RESERVATION.c.experiment_id == experiment_id)

    def reservations(self, campaign_id: str | None = None, *, is_open: bool = False) -> list[Reservation]:
        """Return the reservations in order, all or a campaign's, or only those that are open."""
        query = select(_RESERVATION).order_by(_RESERVATION.c.position)
        if campaign_id is not None:
            query = query.where(_RESERVATION.c.campaign_id == campaign_id)
        if is_open:
            query = query.where(_RESERVATION.c.state == "reserved")
        return self._list(Reservation, query)


def open_reservations(connection: Connection) -> list[Reservation]:
    """Return the reservations of experiments that have not ended."""
    query = select(_RESERVATION).where(_RESERVATION.c.state == "reserved")
    return [record_from(Reservation, row) for row in connection.execute(query).mappings()]


def promised_amounts(connection: Connection) -> dict[str, float]:
    """Return what experiments under way may still use, by stock."""
    found: dict[str, float] = {}
    for reservation in open_reservations(connection):
        for name, amount in reservation.amounts.items():
            found[name] = found.get(name, 0.0) + amount
    return found


def _add_sample(writer: Writer, sample: Sample) -> None:
    refuse(sample.state != "free", f"sample {sample.label}: a new one is free")
    there = find(writer.connection, Sample, _SAMPLE.c.label == sample.label, _SAMPLE.c.state != "retired")
    if there is not None:
        raise Duplicate(f"there is a sample {sample.label} already; retire it, or take another label")
    writer.insert(sample, None, "sample")


def find_sample(connection: Connection, name: str) -> Sample:
    """Return the sample with this id or label, one in use before a retired one. Raises `NotFound`."""
    query = select(_SAMPLE).where((_SAMPLE.c.id == name) | (_SAMPLE.c.label == name))
    rows = connection.execute(query.order_by(_SAMPLE.c.state == "retired", _SAMPLE.c.position.desc())).mappings()
    row = rows.first()
    if row is None:
        raise NotFound("sample", name)
    return record_from(Sample, row)


def _idle(connection: Connection, name: str, verb: str) -> Sample:
    sample = find_sample(connection, name)
    refuse(sample.state == "retired", f"sample {sample.label} is retired and cannot be {verb}")
    refuse(sample.state == "reserved", f"sample {sample.label} cannot be {verb}: {sample.experiment_id} has it")
    return sample


def change_sample(
    writer: Writer,
    identifier: str,
    state: str,
    reason: str | None,
    experiment_id: str | None,
    by: str,
    used_by: str | None = None,
) -> None:
    """Change a sample's state and who has it; `used_by` is the experiment that was done on it."""
    writer.change_state(
        Sample,
        identifier,
        state,
        campaign_id=None,
        body={"reason": reason, "experiment": experiment_id, "used_by": used_by, "by": by},
        columns={"reason": reason, "experiment_id": experiment_id},
    )


def change_stock(
    writer: Writer,
    stock: Consumable,
    amount: float,
    low: float | None,
    how: str,
    by: str,
    reason: str,
    experiment_id: str | None = None,
) -> Consumable:
    """Change a stock, with its line in the journal: `how` is `added`, `set` or `drawn`."""
    # What is left of a difference of sums is not less than nothing.
    amount = 0.0 if amount < ROUNDING * max(1.0, stock.amount) else amount
    changed = Consumable.model_validate({**stock.model_dump(), "amount": float(amount), "low": low})
    writer.connection.execute(
        update(_CONSUMABLE).where(_CONSUMABLE.c.id == stock.id).values(amount=changed.amount, low=changed.low)
    )
    line = {
        "consumable": stock.id,
        "how": how,
        "amount": changed.amount,
        "low": changed.low,
        "change": changed.amount - stock.amount,
        "experiment": experiment_id,
        "by": by,
        "reason": reason,
    }
    writer.journal.append(SITE, "stock", line)
    return changed


def tell_if_low(writer: Writer, name: str) -> None:
    """Add an event when a stock is low; to be called only where it was not before."""
    stock = need(writer.connection, Consumable, name)
    level = Level(stock, promised_amounts(writer.connection).get(name, 0.0))
    if not level.is_low:
        return
    body = {"consumable": name, "available": level.available, "low": stock.low, "unit": stock.unit}
    event = Event(id=new_id("event"), campaign_id=None, kind="stock_low", body=body, created_at=writer.moment)
    writer.insert(event, None, "event")


def _history(connection: Connection, kinds: Sequence[str], name: str, keys: Sequence[str]) -> list[Change]:
    query = select(_JOURNAL.c.kind, _JOURNAL.c.body, _JOURNAL.c.at).where(
        _JOURNAL.c.chain == SITE, _JOURNAL.c.kind.in_(kinds), _JOURNAL.c.body.contains(name, autoescape=True)
    )
    found = []
    for kind, text, at in connection.execute(query.order_by(_JOURNAL.c.position)):
        body: Mapping[str, Any] = parse(text)
        if name in (body.get(key) for key in keys):
            found.append(Change(datetime.fromisoformat(at), kind, body))
    return found
