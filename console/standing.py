"""How an instrument stands at one moment: who may move it, what it runs, what keeps it from running anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.agents.doubt import RunFacts
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Experiment, Lease
    from athanor.memory.resources import Reservation

ANSWER_S = 2.0
"""Seconds that the worker or the queue's manager may take to say how it stands."""


@dataclass(frozen=True)
class WorkerView:
    """The worker: its state, or why it says nothing. `held_by` are the campaigns that hold it."""

    is_running: bool
    state: str | None = None
    pid: int | None = None
    is_pausing: bool = False
    is_preparing: bool = False
    experiment: str | None = None
    campaign: str | None = None
    held_by: tuple[str, ...] = ()
    refusals: Mapping[str, int] | None = None
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueView:
    """The manager of a queue server, where the instrument's experiments go through one."""

    state: str | None
    items: int | None
    is_locked: bool | None
    has_environment: bool | None
    trouble: str | None = None


@dataclass(frozen=True)
class Holds:
    """A reservation of an experiment under way: what it keeps from others until it has ended."""

    reservation: Reservation
    samples: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Everything together. `run` is of the experiment in hand; `doubts` and `campaigns` are of this ledger.

    `unattended` are experiments that count as under way while no worker is there to run them: a crash left them behind.
    """

    worker: WorkerView
    in_hand: Experiment | None
    run: RunFacts | None
    lease: Lease | None
    reservations: tuple[Holds, ...]
    campaigns: tuple[tuple[Campaign, bool], ...]
    doubts: tuple[Experiment, ...]
    unattended: tuple[Experiment, ...]
    queue: QueueView | None


def look(ledger: Ledger, place: InstrumentPlace) -> View:
    """Look once; asks the worker and the queue's manager, for `ANSWER_S` each at most."""
    from athanor.agents.doubt import run_facts
    from athanor.agents.holders import is_gone
    from athanor.console.commands.decisions import OVER, is_driven

    worker = worker_of(place)
    campaigns = [campaign for campaign in ledger.campaigns() if campaign.instrument == place.name]
    experiment = _experiment(ledger, worker.experiment)
    lease = ledger.lease(f"instrument:{place.name}")
    is_leased = (
        lease is not None and bool(lease.holder) and lease.expires_at > datetime.now(UTC) and not is_gone(lease.holder)
    )
    return View(
        worker=worker,
        in_hand=experiment,
        run=None if experiment is None else run_facts(ledger, experiment),
        lease=lease if is_leased else None,
        reservations=_reservations(ledger, place.name, {campaign.id for campaign in campaigns}),
        campaigns=tuple((item, is_driven(ledger, item.id)) for item in campaigns if item.state not in OVER),
        doubts=tuple(one for item in campaigns for one in ledger.experiments(item.id, states=["in_doubt"])),
        unattended=() if worker.is_running else _under_way(ledger, campaigns),
        queue=queue_of(place),
    )


def worker_of(place: InstrumentPlace) -> WorkerView:
    """What the worker says of itself."""
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.instruments.words import Refused

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        return WorkerView(error.hung, "hung" if error.hung else None, troubles=(str(error),) if error.hung else ())
    try:
        facts = client.call("status", timeout_s=ANSWER_S)
    except (WorkerLost, Refused) as error:
        is_hung = isinstance(error, WorkerLost) and error.hung
        return WorkerView(is_hung, "hung" if is_hung else None, troubles=(str(error),))
    finally:
        client.close()
    return _worker(facts)


def _worker(facts: Mapping[str, Any]) -> WorkerView:
    unstored = [f"{name}: the ledger does not take its documents: {why}" for name, why in facts["unstored"].items()]
    troubles = [facts["recovery"], facts["writes"], facts["ledger"] and f"the ledger: {facts['ledger']}", *unstored]
    return WorkerView(
        is_running=True,
        state=facts["state"],
        pid=facts.get("pid"),
        is_pausing=facts["is_pausing"],
        is_preparing=facts["is_preparing"],
        experiment=facts["experiment"],
        campaign=facts["campaign"],
        held_by=tuple(facts.get("held_by", ())),
        refusals=dict(facts["refusals"]),
        troubles=tuple(str(trouble) for trouble in troubles if trouble),
    )


def queue_of(place: InstrumentPlace) -> QueueView | None:
    """How the queue stands through which the instrument's experiments go; None without one."""
    from athanor.instruments.queueserver.settings import Settings, has_queue, manager_of

    if not has_queue(place):
        return None
    from athanor.instruments.queueserver.manager import ManagerRefused, ManagerSilent

    try:
        status = manager_of(place, Settings.read(place)).call("status", ANSWER_S)
    except (ManagerSilent, ManagerRefused, OSError, ValueError) as error:
        return QueueView(None, None, None, None, str(error))
    lock = status.get("lock") or {}
    return QueueView(
        state=str(status.get("manager_state")),
        items=status.get("items_in_queue"),
        is_locked=bool(lock.get("environment") and lock.get("queue")),
        has_environment=bool(status.get("worker_environment_exists")),
    )


def _under_way(ledger: Ledger, campaigns: Sequence[Campaign]) -> tuple[Experiment, ...]:
    return tuple(one for item in campaigns for one in ledger.experiments(item.id, states=["dispatched", "running"]))


def _experiment(ledger: Ledger, name: str | None) -> Experiment | None:
    from athanor.memory.errors import NotFound

    if name is None:
        return None
    try:
        return ledger.experiment(name)
    except NotFound:  # it belongs to another ledger
        return None


def _reservations(ledger: Ledger, instrument: str, campaigns: set[str]) -> tuple[Holds, ...]:
    found = [
        item
        for item in ledger.reservations(is_open=True)
        if item.campaign_id in campaigns or instrument in item.devices
    ]
    labels = {sample.id: sample.label for sample in ledger.samples(with_retired=True)} if found else {}
    return tuple(Holds(item, tuple(labels.get(one, one) for one in item.samples)) for item in found)
