"""Open, run, resume and read a campaign. What a command line, a notebook or a server calls."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.agents.context import Context, LeaseLost, is_feasible, propose
from athanor.agents.spec import Spec, check, load, resolve
from athanor.memory import places
from athanor.memory.canonical import digest_text
from athanor.memory.records import Campaign, Experiment, Observation, Value, new_campaign_id, new_id, now

if TYPE_CHECKING:
    from athanor.instruments.laboratory import Laboratory
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger

OVER = ("succeeded", "failed", "cancelled")
"""States a campaign does not leave."""

LEASE_SECONDS = 10.0
"""How long a campaign stays taken after its process last renewed the lease."""


class CampaignOver(RuntimeError):
    """The campaign has ended; it cannot be run again."""


class CampaignBusy(RuntimeError):
    """Another process drives this campaign or its instrument."""


# -- opening ------------------------------------------------------------------------------------------------------------


def open_campaign(
    source: Spec | Path, ledger: Ledger, *, data: Path | None = None, seed: int | None = None, budget: int | None = None
) -> str:
    """Check a campaign, write it to the ledger as `queued`, and return its id. Nothing moves.

    Args:
        source: a spec, or the path of a campaign file.
        ledger: where the campaign is kept.
        data: CSV of earlier measurements; columns are `name [unit]`, units are converted.
        seed, budget: replace the spec's own.

    Raises:
        SpecError: the file is wrong, or does not fit the instrument.
        DataError: the CSV is wrong.
    """
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) and source.exists() else ""
    spec = load(source) if isinstance(source, Path) else source
    if seed is not None:
        spec = spec.model_copy(update={"seed": seed})
    if budget is not None:
        spec = Spec.model_validate({**spec.model_dump(), "budget": {**spec.budget.model_dump(), "experiments": budget}})
    _, profile = resolve(spec)
    check(spec, profile, str(source) if isinstance(source, Path) else "<spec>", text)
    problem = spec.problem()
    history = _history(data, spec, profile) if data is not None else []
    campaign = Campaign(
        id=new_campaign_id(spec.laboratory.name or profile.name),
        name=spec.name,
        question=spec.question,
        spec=spec.model_dump(mode="json"),
        problem=problem.model_dump(mode="json"),
        problem_hash=problem.digest(),
        laboratory=profile.laboratory,
        instrument=profile.name,
        simulated=profile.simulated,
        seed=spec.seed,
        autonomy=spec.policy.autonomy,
    )
    ledger.add_campaign(campaign)
    for index, (values, outcomes) in enumerate(history, 1):
        ledger.add_observation(
            Observation(
                id=f"{campaign.id}/h{index}",
                campaign_id=campaign.id,
                values=values,
                outcomes={name: {"mean": mean, "sem": None} for name, mean in outcomes.items()},
                source="historical",
                reduction="imported",
                reduction_hash=digest_text(data.read_text(encoding="utf-8")) if data else "none",
            )
        )
    return campaign.id


def _history(path: Path, spec: Spec, profile: Profile) -> list[tuple[dict[str, Value], dict[str, float]]]:
    from athanor.agents.history import read_history

    outcomes = {name: profile.outcomes[name].unit for name in spec.problem().outcomes}
    return read_history(path, spec.problem(), outcomes)


def envelope(spec: Spec) -> dict[str, Any]:
    """What a grant of autonomy covers: the spec's own ranges, and no more experiments than its budget."""
    ranges: dict[str, Any] = {}
    for name, p in spec.parameters.items():
        ranges[name] = {"allowed": list(p.values)} if p.values is not None else {"low": p.low, "high": p.high}
    return ranges


def instrument_place(campaign: Campaign, ledger: Ledger) -> places.InstrumentPlace:
    """Where the campaign's instrument keeps its files: beside the ledger when simulated, else with the user."""
    base = ledger.path.resolve().parent if campaign.simulated and ledger.path is not None else None
    return places.InstrumentPlace.of(campaign.instrument, base)


def propose_experiment(ledger: Ledger, campaign_id: str, values: Mapping[str, Value], by: str) -> Experiment:
    """Put up an operator's own point for decision.

    The instrument's limits hold as for anyone; the problem's narrower ranges do not bind a person.

    Raises:
        LimitViolation, InvalidPoint: the instrument cannot go there, or a parameter is missing or unknown.
    """
    campaign = ledger.campaign(campaign_id)
    spec = Spec.model_validate(campaign.spec)
    _, profile = resolve(spec)
    problem = spec.problem()
    missing = [name for name in problem.names if name not in values]
    if missing:
        from athanor.planners.problem import InvalidPoint

        raise InvalidPoint(missing[0], None, "has no value", "give every parameter a value")
    profile.check(values)
    experiment = propose(
        ledger,
        campaign,
        values=dict(values),
        purpose="operator",
        source="operator",
        candidate={"why": {"method": "operator", "detail": f"proposed by {by}"}},
        replicates=spec.replicates,
    )
    ledger.add_experiment(experiment)
    return experiment


# -- running ------------------------------------------------------------------------------------------------------------


def run_campaign(
    campaign_id: str,
    ledger: Ledger,
    *,
    on_change: Callable[[], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: Path | None = None,
) -> str:
    """Drive a campaign until it ends, pauses, or `should_stop` turns true; return its state.

    Holds only the gate's public key. Running a paused or interrupted campaign again resumes it: everything is looked
    up in the ledger, and what the worker finished meanwhile is taken in.

    Raises:
        CampaignOver: it has already ended.
        CampaignBusy: another process drives it, or its instrument.
        InstrumentUnavailable: the instrument cannot be connected; nothing moved.
    """
    from athanor.agents.planning import PlannerProcess

    campaign = ledger.campaign(campaign_id)
    if campaign.state in OVER:
        raise CampaignOver(f"campaign {campaign_id} has {campaign.state}: {campaign.reason}")
    spec = Spec.model_validate(campaign.spec)
    planner = PlannerProcess()
    planner.start()
    try:
        with _driving(ledger, campaign, spec, planner) as context:
            context.should_stop = should_stop or context.should_stop
            context.on_change = on_change or context.on_change
            started = time.monotonic()
            try:
                _drive(context, checkpoints)
            finally:
                ledger.add_event(campaign_id, "sitting", {"seconds": time.monotonic() - started})
    finally:
        planner.close()
    return ledger.campaign(campaign_id).state


@contextmanager
def _driving(ledger: Ledger, campaign: Campaign, spec: Spec, planner: Any) -> Iterator[Context]:
    """Hold the campaign and its instrument while they are driven."""
    from athanor.agents.reasoners import make_reasoner
    from athanor.instruments.executor import LocalExecutor
    from athanor.memory.ledger import LeaseHeld

    _, profile = resolve(spec)
    place = instrument_place(campaign, ledger)
    holder = f"{socket.gethostname()}:{os.getpid()}:{new_id('h')[-6:]}"
    try:
        lease = ledger.acquire_lease(f"campaign:{campaign.id}", holder, LEASE_SECONDS)
    except LeaseHeld as held:
        raise CampaignBusy(f"campaign {campaign.id} is being driven by another process: {held}") from held
    try:
        instrument_lease = ledger.acquire_lease(f"instrument:{place.name}", holder, LEASE_SECONDS)
    except LeaseHeld as held:
        ledger.release_lease(lease)
        raise CampaignBusy(f"instrument {place.name} is in use: {held}") from held
    executor = LocalExecutor(profile, spec.laboratory.options, place, ledger.url, places.keys_dir() / "gate.pub")
    context = Context(
        ledger=ledger,
        campaign=campaign,
        spec=spec,
        problem=spec.problem(),
        profile=profile,
        place=place,
        executor=executor,
        planner=planner,
        reasoner=make_reasoner(spec.reasoner),
        lease=lease,
        instrument_lease=instrument_lease,
    )
    done = threading.Event()
    keeper = threading.Thread(target=_keep_leases, args=(context, done), name="leases", daemon=True)
    keeper.start()
    try:
        yield context
    finally:
        done.set()
        keeper.join()
        if not context.is_lost:
            ledger.release_lease(context.instrument_lease)
            ledger.release_lease(context.lease)
        executor.close()


def _keep_leases(context: Context, done: threading.Event) -> None:
    """Renew both leases; when one is gone, say so and stop renewing."""
    from athanor.memory.ledger import LeaseLost as Gone

    while not done.wait(LEASE_SECONDS / 4):
        try:
            context.lease = context.ledger.renew_lease(context.lease)
            context.instrument_lease = context.ledger.renew_lease(context.instrument_lease)
        except Gone:
            context.is_lost = True
            return


def _drive(context: Context, checkpoints: Path | None) -> None:
    """Run the graph until it stops, waiting for people where it interrupts."""
    from athanor.agents import graph
    from athanor.agents.nodes import Nodes

    from langgraph.types import Command

    ledger, campaign_id = context.ledger, context.id
    campaign = context.refresh()
    if campaign.state == "paused":
        ledger.add_event(campaign_id, "resumed", {"after": campaign.reason})
    ledger.clear_request(campaign_id)
    if campaign.state != "running":
        ledger.set_campaign_state(campaign_id, "running", reason=None)
    context.refresh()
    context.notify()
    context.executor.ensure()
    context.executor.reconcile(ledger)
    file = checkpoints or context.place.directory / "checkpoints" / f"{campaign_id}.db"
    thread = f"{campaign_id}:{context.lease.epoch}"
    config = {
        "configurable": {"thread_id": thread},
        "recursion_limit": graph.recursion_limit(context.spec.budget.experiments),
    }
    with graph.checkpoints(file) as saver:
        app = graph.build(Nodes(context), saver)
        step: Any = {"campaign": campaign_id, "experiment": "", "route": "go"}
        while True:
            result = app.invoke(step, config, durability="sync")
            if "__interrupt__" not in result:
                return
            [waiting] = result["__interrupt__"]
            if not _await_decision(context, waiting.value["experiment"]):
                return
            step = Command(resume=True)


def _await_decision(context: Context, experiment_id: str) -> bool:
    """Wait until a person has decided; False when the campaign was paused or cancelled meanwhile."""
    ledger = context.ledger
    context.notify()
    seen = -1
    while True:
        changes = ledger.changes()
        if changes != seen:
            seen = changes
            if ledger.experiment(experiment_id).state != "proposed":
                return True
            campaign = context.refresh()
            if campaign.requested == "cancel":
                ledger.set_experiment_state(experiment_id, "withdrawn", reason="the campaign was cancelled")
                return True
            if campaign.requested != "none":
                context.pause(f"paused by a person while experiment {experiment_id} waits for approval")
                return False
            if latch := context.latch_problem():
                context.pause(latch)
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
    from athanor.instruments.executor import LocalExecutor

    spec = Spec.model_validate(campaign.spec)
    _, profile = resolve(spec)
    place = instrument_place(campaign, ledger)
    executor = LocalExecutor(profile, spec.laboratory.options, place, ledger.url, places.keys_dir() / "gate.pub")
    executor.shutdown()


# -- reading ------------------------------------------------------------------------------------------------------------


def best(ledger: Ledger, campaign_id: str) -> list[dict[str, Any]]:
    """The planner's incumbent, or its Pareto set, from everything observed so far.

    Kept as an event, so that it is computed once per state of knowledge.
    """
    campaign = ledger.campaign(campaign_id)
    observations = ledger.observations(campaign_id)
    measured = [o for o in observations if o.outcomes]
    if not measured:
        return []
    for event in reversed(ledger.events(campaign_id)):
        if event.kind == "best" and event.body["observations"] == len(observations):
            stored: list[dict[str, Any]] = event.body["best"]
            return stored
    from athanor.agents.planning import PlannerProcess

    spec = Spec.model_validate(campaign.spec)
    by_experiment = {e.id: e for e in ledger.experiments(campaign_id)}
    items = [
        {
            "candidate_id": by_experiment[o.experiment_id].candidate.get("id") if o.experiment_id else None,
            "values": o.values,
            "outcomes": o.outcomes,
            "status": o.status,
        }
        for o in observations
    ]
    planner = PlannerProcess()
    try:
        request = {
            "op": "best",
            "planner": "bayesian",
            "problem": campaign.problem,
            "seed": spec.seed,
            "observations": items,
        }
        found: list[dict[str, Any]] = planner.ask(request)["best"]
    finally:
        planner.close()
    ledger.add_event(campaign_id, "best", {"observations": len(observations), "best": found})
    return found


def results(ledger: Ledger, campaign_id: str) -> dict[str, Any]:
    """The whole campaign as one JSON-ready object: `campaign state best hypotheses experiments`."""
    campaign = ledger.campaign(campaign_id)
    observations = {o.experiment_id: o for o in ledger.observations(campaign_id) if o.experiment_id}
    registrations = {r.hypothesis_id: r for r in ledger.registrations(campaign_id)}
    experiments = []
    for e in ledger.experiments(campaign_id):
        run = ledger.run_for(e.id)
        o = observations.get(e.id)
        experiments.append(
            {
                "id": e.id,
                "values": e.values,
                "outcomes": o.outcomes if o else {},
                "state": e.state,
                "reason": (o.reason if o else None) or e.reason,
                "source": e.source,
                "purpose": e.purpose,
                "run": run.uid if run else None,
                "why": e.candidate.get("why"),
            }
        )
    hypotheses = []
    for h in ledger.hypotheses(campaign_id):
        registration = registrations.get(h.id)
        rows = ledger.evidence(registration_id=registration.id) if registration else []
        hypotheses.append(
            {
                "id": h.id,
                "statement": h.statement,
                "kind": h.kind,
                "proposer": h.proposer,
                "prior": h.prior,
                "state": h.state,
                "reason": h.reason,
                "verdict": h.verdict,
                "log_e_support": rows[-1].log_e_support if rows else 0.0,
                "log_e_refute": rows[-1].log_e_refute if rows else 0.0,
                "blocks": len(rows),
            }
        )
    return {
        "campaign": campaign.id,
        "name": campaign.name,
        "state": campaign.state,
        "reason": campaign.reason,
        "simulated": campaign.simulated,
        "seed": campaign.seed,
        "best": best(ledger, campaign_id),
        "hypotheses": hypotheses,
        "experiments": experiments,
    }


__all__ = [
    "CampaignBusy",
    "CampaignOver",
    "LeaseLost",
    "best",
    "envelope",
    "instrument_place",
    "open_campaign",
    "propose_experiment",
    "results",
    "run_campaign",
    "shut_down_laboratory",
]
