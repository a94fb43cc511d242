"""What an experiment has to itself while it runs: samples, amounts of consumables, other instruments.

A reservation is made in the transaction that commits the intent, and ends in the transaction that ends the experiment,
whoever writes it. So there is no moment at which a process could die and leave one behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from athanor.memory._resources import (
    ROUNDING,
    change_sample,
    change_stock,
    find_sample,
    open_reservations,
    promised_amounts,
    tell_if_low,
)
from athanor.memory._store import Writer, find, need, refuse
from athanor.memory.errors import ResourceShort, ResourceTaken
from athanor.memory.journal import SITE
from athanor.memory.records import Experiment, Intent, Lease, new_id
from athanor.memory.resources import Consumable, Level, Needs, Reservation
from athanor.memory.rows import table_of

_RESERVATION = table_of(Reservation)
_LEASE = table_of(Lease)
_INTENT = table_of(Intent)
_EXPERIMENT = table_of(Experiment)

USED = frozenset({"completed", "failed", "aborted", "stopped_early"})
"""States of an experiment that ran: what it was to use is used, whatever came of it."""
UNUSED = frozenset({"refused", "not_started", "withdrawn", "expired"})
UNDER_WAY = ("dispatched", "running", "in_doubt")


def reserve(writer: Writer, experiment_id: str, campaign_id: str, needs: Needs, holder: str) -> None:
    """Give an experiment everything that it needs, or nothing. `holder` is who holds the campaign's instrument.

    Raises:
        NotFound: a sample or a stock is not there.
        ResourceShort: not enough is left of a consumable.
        ResourceTaken: another experiment has a sample or a device.
    """
    connection = writer.connection
    samples = [find_sample(connection, name) for name in needs.samples]
    for sample in samples:
        if sample.state != "free":
            by = f"experiment {sample.experiment_id} has it" if sample.experiment_id else f"it is {sample.state}"
            raise ResourceTaken(f"sample {sample.label}", by, waits=sample.state == "reserved")
    promised = promised_amounts(connection)
    was_low: set[str] = set()
    for name, amount in needs.amounts.items():
        refuse(not (math.isfinite(amount) and amount >= 0), f"{experiment_id}: it cannot use {amount} of {name}")
        stock = need(connection, Consumable, name)
        level = Level(stock, promised.get(name, 0.0))
        if amount > level.available * (1 + ROUNDING):
            raise ResourceShort(name, amount, level.available, stock.unit)
        if level.is_low:
            was_low.add(name)
    _check_devices(writer, needs.devices, holder)
    reservation = Reservation(
        id=new_id("reservation"),
        experiment_id=experiment_id,
        campaign_id=campaign_id,
        samples=[sample.id for sample in samples],
        amounts={name: float(amount) for name, amount in needs.amounts.items()},
        devices=list(needs.devices),
        created_at=writer.moment,
    )
    writer.insert(reservation, None, "reservation")
    for sample in samples:
        change_sample(writer, sample.id, "reserved", None, experiment_id, "")
    for name in sorted(needs.amounts.keys() - was_low):
        tell_if_low(writer, name)


def conclude(writer: Writer, experiment_id: str, state: str) -> None:
    """End what an experiment has to itself as it reaches `state`: drawn when it ran, released when it did not."""
    if state not in USED and state not in UNUSED:
        return
    found = find(writer.connection, Reservation, _RESERVATION.c.experiment_id == experiment_id)
    if found is None or found.state != "reserved":
        return
    has_run = state in USED
    writer.change_state(
        Reservation,
        found.id,
        "drawn" if has_run else "released",
        campaign_id=None,
        body={"reason": state},
        columns={"reason": state},
    )
    for sample in found.samples:
        change_sample(writer, sample, "free", None if has_run else "not used", None, "", used_by=experiment_id)
    if has_run:
        for name, amount in found.amounts.items():
            stock = need(writer.connection, Consumable, name)
            change_stock(writer, stock, stock.amount - amount, stock.low, "drawn", "", state, experiment_id)


def device_taken(connection: Connection, device: str) -> str | None:
    """Return the experiment that has an instrument to itself beside its own; None when it is free."""
    return next((item.experiment_id for item in open_reservations(connection) if device in item.devices), None)


def _check_devices(writer: Writer, devices: Sequence[str], holder: str) -> None:
    """Raises `ResourceTaken` for an instrument that somebody uses; fences off whoever drove it and has gone silent."""
    for device in devices:
        what = f"instrument {device}"
        if (by := device_taken(writer.connection, device)) is not None:
            raise ResourceTaken(what, f"experiment {by} has it", waits=True)
        if (by := _run_on(writer.connection, device)) is not None:
            raise ResourceTaken(what, f"experiment {by} is being run on it, or in doubt", waits=True)
        lease = find(writer.connection, Lease, _LEASE.c.resource == f"instrument:{device}")
        if lease is None or lease.holder in ("", holder):
            continue
        if lease.expires_at > writer.moment:
            raise ResourceTaken(what, f"{lease.holder} drives it", waits=True)
        free = {"resource": lease.resource, "holder": "", "epoch": lease.epoch + 1}
        where = _LEASE.c.resource == lease.resource
        writer.connection.execute(update(_LEASE).where(where).values(holder="", epoch=lease.epoch + 1))
        writer.journal.append(SITE, "lease", free)


def _run_on(connection: Connection, device: str) -> str | None:
    """The experiment that an instrument has in hand, or had when it was last heard of."""
    query = (
        select(_EXPERIMENT.c.id)
        .join(_INTENT, _INTENT.c.experiment_id == _EXPERIMENT.c.id)
        .where(_INTENT.c.instrument == device, _EXPERIMENT.c.state.in_(UNDER_WAY))
    )
    found = connection.execute(query.limit(1)).scalar()
    return None if found is None else str(found)
