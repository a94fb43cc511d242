"""Drive a campaign: hold its leases, run the graph, wait for people, leave a clean state behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.agents.context import ENDED, Context
from athanor.agents.fitting import resolve
from athanor.agents.holders import holder, is_gone
from athanor.agents.opening import instrument_place
from athanor.agents.spec import Spec
from athanor.memory import places
from athanor.memory.records import Campaign, Lease
from athanor.planners.problem import Problem

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

log = logging.getLogger(__name__)

OVER = ("succeeded", "failed", "cancelled")
"""States a campaign does not leave."""

UNDER_WAY = ("dispatched", "running")
"""States of an experiment that the instrument has in hand."""

LEASE_SECONDS = 10.0
"""How long a campaign stays taken after its process last renewed the lease."""


OnWait = Callable[[str | None], None]
"""Told for whom a campaign waits, and None when the wait is over."""


class CampaignOver(RuntimeError):
    """The campaign has ended; it cannot be run again."""


class CampaignBusy(RuntimeError):
    """Another process drives this campaign or its instrument."""


def run_campaign(
    campaign_id: str,
    ledger: Ledger,
    *,
    on_change: Callable[[], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: Path | None = None,
    wait: bool = False,
    on_wait: OnWait = lambda why: None,
) -> str:
    """Drive a campaign until it ends, pauses, or `should_stop` turns true; return its state.

    Holds only the gate's public key. Running a paused or interrupted campaign again resumes it: everything is looked
    up in the ledger, and what the worker finished meanwhile is taken in. With `wait` it waits for an instrument that
    somebody else is using; `on_wait` is told for whom, and None when the wait is over.

    Raises:
        CampaignOver: it has already ended.
        CampaignBusy: another process drives it, or, without `wait`, its instrument.
        InstrumentUnavailable: the instrument cannot be connected; nothing moved.
        PoolChanged: its pool is not the file that it began with; nothing moved.
    """
    from athanor.agents.planning import PlannerProcess
    from athanor.agents.pools import check_unchanged

    campaign = ledger.campaign(campaign_id)
    if campaign.state in OVER:
        raise CampaignOver(f"campaign {campaign_id} has {campaign.state}: {campaign.reason}")
    spec = Spec.model_validate(campaign.spec)
    if spec.pool is not None:
        check_unchanged(spec.pool)
    planner = PlannerProcess()
    planner.start()
    try:
        with _driving(ledger, campaign, spec, planner, wait) as context:
            context.should_stop = should_stop or context.should_stop
            context.on_change = on_change or context.on_change
            try:
                _drive(context, checkpoints, on_wait if wait else None)
            except (Exception, KeyboardInterrupt) as error:
                _pause_after(context, error)
                raise
            finally:
                ledger.add_event(campaign_id, "sitting", {"seconds": time.monotonic() - context.started})
    finally:
        planner.close()
    return ledger.campaign(campaign_id).state


def _pause_after(context: Context, error: BaseException) -> None:
    """Leave the cause of an unexpected end in the ledger, unless somebody else drives the campaign by now."""
    from athanor.memory.errors import LeaseLost as Gone

    try:
        # Asked anew: the error may be the first that this process hears of having lost the campaign.
        context.ledger.renew_lease(context.lease)
    except Gone:
        context.is_lost = True
    if context.is_lost or context.refresh().state != "running":
        return
    what = f"stopped by an error: {type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"
    context.pause(f"{what}. Resume with: athanor resume {context.id}")


@contextmanager
def _driving(ledger: Ledger, campaign: Campaign, spec: Spec, planner: Any, wait: bool) -> Iterator[Context]:
    """Hold the campaign and, unless it is to wait for it, its instrument while they are driven."""
    from athanor.agents.reasoners import LanguageModelReasoner, make_reasoner
    from athanor.instruments.executors import executor_for
    from athanor.memory.errors import LeaseHeld

    _, profile = resolve(spec)
    place = instrument_place(campaign, ledger)
    reasoner = make_reasoner(spec.reasoner)
    me = holder()
    try:
        lease = ledger.acquire_lease(f"campaign:{campaign.id}", me, LEASE_SECONDS, is_gone)
    except LeaseHeld as held:
        raise CampaignBusy(f"campaign {campaign.id} is being driven by another process: {held}") from held
    instrument_lease: Lease | None = None
    try:
        instrument_lease = ledger.acquire_lease(f"instrument:{place.name}", me, LEASE_SECONDS, is_gone)
    except LeaseHeld as held:
        # One that is only to be cancelled needs no instrument.
        if not wait and campaign.requested != "cancel":
            ledger.release_lease(lease)
            raise CampaignBusy(f"instrument {place.name} is in use: {held}") from held
    executor = executor_for(
        profile, spec.laboratory.options, place, ledger.url, places.keys_dir() / "gate.pub", campaign.id
    )
    context = Context(
        ledger=ledger,
        campaign=campaign,
        spec=spec,
        problem=Problem.model_validate(campaign.problem),
        profile=profile,
        place=place,
        executor=executor,
        planner=planner,
        reasoner=reasoner,
        lease=lease,
        instrument_lease=instrument_lease,
    )
    if isinstance(reasoner, LanguageModelReasoner):
        reasoner.should_cancel = context.should_abandon
    done = threading.Event()
    keeper = threading.Thread(target=_keep_leases, args=(context, done), name="leases", daemon=True)
    keeper.start()
    try:
        yield context
    finally:
        done.set()
        keeper.join()
        # What needs no ledger first: one that cannot be written must not keep the instrument held.
        executor.close()
        if isinstance(reasoner, LanguageModelReasoner):
            reasoner.close()
        if not context.is_lost:
            if context.instrument_lease is not None:
                ledger.release_lease(context.instrument_lease)
            ledger.release_lease(context.lease)


def _keep_leases(context: Context, done: threading.Event) -> None:
    """Renew both leases; when one is gone, say so and stop renewing.

    A ledger that cannot be written now is tried again: a lease that nobody has taken is still ours past its time.
    """
    from athanor.memory.errors import LeaseLost as Gone
    from athanor.memory.errors import LedgerError

    while not done.wait(LEASE_SECONDS / 4):
        try:
            context.lease = context.ledger.renew_lease(context.lease)
            if context.instrument_lease is not None:
                context.instrument_lease = context.ledger.renew_lease(context.instrument_lease)
        except Gone:
            context.is_lost = True
            return
        except (LedgerError, OSError) as error:
            log.warning("the leases of %s were not renewed: %s", context.id, error)


def _drive(context: Context, checkpoints: Path | None, on_wait: OnWait | None) -> None:
    """Run the graph until it stops, waiting for people where it interrupts."""
    from langgraph.types import Command

    from athanor.agents import doubt, graph, watch
    from athanor.agents.nodes import Nodes

    ledger, campaign_id = context.ledger, context.id
    campaign = context.refresh()
    if campaign.state == "paused":
        ledger.add_event(campaign_id, "resumed", {"after": campaign.reason})
    if campaign.requested != "cancel":
        ledger.clear_request(campaign_id)
    if campaign.state != "running":
        ledger.set_campaign_state(campaign_id, "running", reason=None)
    context.refresh()
    context.notify()
    if _was_cancelled(context):
        return
    if not _reserve(context, on_wait):
        return
    context.executor.reconcile(ledger)
    doubt.note(ledger, [item for item in ledger.campaigns() if item.instrument == context.place.name])
    if cause := context.doubt() or context.doubt_of_others():
        context.pause(cause)
        return
    for experiment in ledger.experiments(campaign_id, states=ENDED):
        context.observe(experiment)
    watch.review(context)
    if _was_cancelled(context):
        return
    if cause := watch.cause(context):
        context.pause(cause)
        return
    file = checkpoints or context.place.directory / "checkpoints" / f"{campaign_id}.db"
    thread = f"{campaign_id}:{context.lease.epoch}"
    config = {
        "configurable": {"thread_id": thread},
        "recursion_limit": graph.recursion_limit(context.spec.budget.experiments),
    }
    with graph.checkpoints(file) as saver:
        nodes = Nodes(context)
        nodes.inquiry.test()  # the last process may have ended between an observation and what it proves
        app = graph.build(nodes, saver)
        step: Any = {"campaign": campaign_id, "experiment": "", "route": "go"}
        while True:
            result = app.invoke(step, config, durability="sync")
            if "__interrupt__" not in result:
                return
            [waiting] = result["__interrupt__"]
            if not _await_decision(context, waiting.value["experiment"]):
                return
            step = Command(resume=True)


def _reserve(context: Context, on_wait: OnWait | None) -> bool:
    """Hold the instrument, waiting for it if `on_wait` is given; False when the campaign stopped meanwhile.

    What may be waited for: another campaign of this ledger, one of another ledger that the worker serves, and a run
    that the worker still has in hand for a campaign whose process is dead.

    Raises:
        CampaignBusy, InstrumentUnavailable: it is not to be had now, and is not to be waited for.
    """
    from athanor.instruments.executor import InstrumentBusy
    from athanor.memory.errors import LeaseHeld

    ledger, name = context.ledger, context.place.name
    told: str | None = None
    while True:
        try:
            if context.instrument_lease is None:
                resource = f"instrument:{name}"
                context.instrument_lease = ledger.acquire_lease(resource, context.lease.holder, LEASE_SECONDS, is_gone)
            context.executor.ensure()
            break
        except LeaseHeld as held:
            why = _user_of(ledger, held.holder)
            if on_wait is None:
                raise CampaignBusy(f"instrument {name} is in use: {held}") from held
        except InstrumentBusy as busy:
            why = busy.detail
            if on_wait is None:
                raise
        if why != told:
            told = why
            ledger.add_event(context.id, "waiting", {"instrument": name, "for": why})
            on_wait(f"Waiting for {name}: {why}")
        requested = context.refresh().requested
        if _was_cancelled(context):
            return False
        if requested not in ("none", "cancel"):
            context.pause(f"paused by a person while it waits for {name}: {why}")
            return False
        if context.should_stop():
            context.pause(f"paused: the command was interrupted while it waits for {name}: {why}")
            return False
        context.check_lease()
        time.sleep(0.2)
    context.started = time.monotonic()  # waiting is not running: it does not count against the budget
    if told is not None and on_wait is not None:
        on_wait(None)
    return True


def _user_of(ledger: Ledger, holder_name: str) -> str:
    """Who has an instrument, as people call it: the campaign that the same process drives, else the process."""
    for campaign in ledger.campaigns():
        lease = ledger.lease(f"campaign:{campaign.id}")
        if lease is not None and lease.holder == holder_name:
            return f"campaign {campaign.id} is using it"
    return f"{holder_name} is using it"


def _was_cancelled(context: Context) -> bool:
    """End a campaign that was cancelled while nobody drove it, unless a run of it is still under way."""
    from athanor.agents.nodes import Nodes

    if context.campaign.requested != "cancel" or context.ledger.experiments(context.id, states=UNDER_WAY):
        return False
    Nodes(context).decide({})
    return True


def _await_decision(context: Context, experiment_id: str) -> bool:
    """Wait until a person has decided; False when the campaign was paused or cancelled meanwhile."""
    ledger = context.ledger
    context.notify()
    seen = -1
    while True:
        changes = ledger.changes()
        if changes != seen:
            seen = changes
            experiment = ledger.experiment(experiment_id)
            if experiment.state != "proposed" or context.grant(experiment) is not None:
                return True
            campaign = context.refresh()
            if campaign.requested == "cancel":
                ledger.set_experiment_state(experiment_id, "withdrawn", reason="the campaign was cancelled")
                return True
            if campaign.requested != "none":
                context.pause(f"paused by a person while experiment {experiment_id} waits for approval")
                return False
        if cause := context.standstill():  # not in the ledger, so no change of it says so
            context.pause(cause)
            return False
        context.check_lease()
        if context.should_stop():
            context.pause(f"paused: the command was interrupted while experiment {experiment_id} waits for approval")
            return False
        time.sleep(0.2)


def shut_down_laboratory(ledger: Ledger, campaign_id: str) -> None:
    """End the worker and the controller of a simulated campaign; a real instrument's worker stays."""
    campaign = ledger.campaign(campaign_id)
    if not campaign.simulated:
        return
    from athanor.instruments.executors import executor_for

    spec = Spec.model_validate(campaign.spec)
    _, profile = resolve(spec)
    place = instrument_place(campaign, ledger)
    executor = executor_for(profile, spec.laboratory.options, place, ledger.url, places.keys_dir() / "gate.pub")
    executor.shutdown()
