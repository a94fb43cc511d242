"""A ledger with as many experiments as years of work leave, and how long the console takes to read it.

    python -m benchmarks large_ledger --experiments 10000 --campaigns 10
    python -m benchmarks large_ledger --keep DIRECTORY        # leave it there, for a load test

`fill` writes what a real campaign leaves, row by row through the ledger's own writer, so that the journal is whole and
`athanor ledger verify` finds nothing; only many experiments share one transaction. Nothing in it was ever measured.

What is read is compared with the same read on a ledger of a hundredth of the size. Exit status 1 when a page of a list
takes more than five times as long on the large one: a page must not grow with the ledger. Searches do, up to the rows
that they look at; they are shown, and not judged.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

BATCH = 250
"""Experiments in one transaction."""
DOCUMENTS = 4
MOST_GROWTH = 5.0
SEARCHES = frozenset({"audit, refusals", "audit, by nobody", "memory, a word", "memory, a range"})
STATES = ("completed",) * 18 + ("failed", "expired")


def fill(
    ledger: Any, experiments: int = 10_000, campaigns: int = 10, seed: int = 1, laboratory: str = "snar-flow"
) -> list[str]:
    """Add campaigns with this many experiments in all, and return their ids.

    Every experiment leaves 13 rows in the journal, unless it expired.
    """
    from athanor.agents.campaign import envelope, open_campaign
    from athanor.agents.spec import Spec, parse
    from athanor.governance.gate import Gate
    from athanor.instruments.laboratory import load
    from athanor.memory.places import keys_dir
    from athanor.memory.signing import GateKey

    found: Any = load(laboratory)
    spec = parse(found.campaign_file().read_text())
    gate = Gate(ledger, GateKey.load_or_create(keys_dir()), "made-up person")
    dice = random.Random(seed)
    made = []
    for index in range(campaigns):
        count = experiments // campaigns + (index < experiments % campaigns)
        named = {"name": f"Made-up campaign {index + 1}", "seed": index, "budget": {"experiments": max(1, count)}}
        campaign = ledger.campaign(open_campaign(Spec.model_validate({**spec.model_dump(), **named}), ledger))
        grant = gate.grant(campaign.id, campaign.instrument, 0, envelope(spec), max(1, count), timedelta(days=1))
        ledger.set_campaign_state(campaign.id, "running")
        _hypothesis(ledger, campaign.id, index)
        for first in range(1, count + 1, BATCH):
            with ledger._writing() as writer:
                for ordinal in range(first, min(first + BATCH, count + 1)):
                    _experiment(writer, campaign, spec.problem(), gate, grant.id, ordinal, dice)
        made.append(campaign.id)
    return made


def _hypothesis(ledger: Any, campaign: str, index: int) -> None:
    from athanor.memory.records import Hypothesis

    claim = {"kind": "effect", "parameter": "temperature", "outcome": "sty", "direction": "increase"}
    ledger.add_hypothesis(
        Hypothesis(
            id=f"{campaign}.H1",
            campaign_id=campaign,
            ordinal=1,
            kind="effect",
            statement=f"Raising temperature by {index + 1} degC raises sty",
            rationale="Made up; nothing was measured.",
            claim=claim,
            proposer="made-up person",
            prior=0.5,
        )
    )


def _experiment(
    writer: Any, campaign: Any, problem: Any, gate: Any, grant: str, ordinal: int, dice: random.Random
) -> None:
    from sqlalchemy import insert

    from athanor.memory.records import Experiment, Intent, Observation, Run, SpooledDocument, new_id, revision_of
    from athanor.memory.rows import row_from, table_of

    identity = f"{campaign.id}.{ordinal}"
    values = {p.name: p.from_unit(dice.random()) for p in problem.parameters}
    terms: dict[str, Any] = {
        "ordinal": ordinal,
        "values": values,
        "purpose": "explore",
        "registration_id": None,
        "block": None,
        "arm": None,
        "replicates": 1,
    }
    revision = revision_of(campaign=campaign.id, problem_hash=campaign.problem_hash, **terms)
    experiment = Experiment(
        id=identity,
        campaign_id=campaign.id,
        revision=revision,
        candidate={"why": {"method": "made up", "detail": "balances what is known against what is not"}},
        created_at=writer.moment,
        **terms,
    )
    writer.insert(experiment, campaign.id, "experiment")

    def change(new: str, decision: str | None = None, reason: str | None = None) -> None:
        columns = {"reason": reason} if decision is None else {"reason": reason, "decision_id": decision}
        body = {"reason": reason, "decision": decision}
        writer.change_state(Experiment, identity, new, campaign_id=campaign.id, body=body, columns=columns)

    state = STATES[dice.randrange(len(STATES))]
    if state == "expired":
        change("expired", reason="nobody looked in time")
        return
    change("approved", grant)
    intent = Intent(
        id=new_id("intent"),
        key=f"{identity}@{revision}",
        campaign_id=campaign.id,
        experiment_id=identity,
        decision_id=grant,
        instrument=campaign.instrument,
        epoch=1,
        created_at=writer.moment,
    )
    writer.insert(intent, campaign.id, "intent")
    change("dispatched")
    run = Run(
        uid=str(uuid.uuid4()),
        experiment_id=identity,
        intent_id=intent.id,
        instrument=campaign.instrument,
        simulated=True,
        started_at=writer.moment,
    )
    writer.insert(run, campaign.id, "run")
    change("running")
    for place, name in enumerate(("start", "descriptor", "event", "stop")[:DOCUMENTS]):
        document = SpooledDocument(run_uid=run.uid, position=place, name=name, body=f'{{"uid":"{run.uid}"}}').stored()
        line = writer.journal.append(f"campaign:{campaign.id}", "document", document.model_dump(exclude={"body"}))
        writer.connection.execute(insert(table_of(type(document))), row_from(document, line.position))
    reason = "no product left the column" if state == "failed" else None
    change(state, reason=reason)
    outcomes = {} if state == "failed" else _outcomes(problem, values, dice)
    writer.insert(
        Observation(
            id=f"{identity}/1",
            campaign_id=campaign.id,
            experiment_id=identity,
            values=values,
            outcomes=outcomes,
            status=state,  # type: ignore[arg-type]
            reason=reason,
            reduction="mean",
            reduction_hash="made-up",
            created_at=writer.moment,
        ),
        campaign.id,
        "observation",
    )


def _outcomes(problem: Any, values: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Numbers that trade off against each other, as those of a reactor do."""
    share = sum(p.to_unit(values[p.name]) for p in problem.parameters) / len(problem.parameters)
    made = {}
    for index, name in enumerate(problem.outcomes):
        wave = math.sin(2.5 * share + index) + dice.gauss(0.0, 0.05)
        made[name] = {"mean": 5000.0 * wave if index == 0 else 10.0 + 8.0 * wave, "sem": 0.1}
    return made


# -- what reading it costs --------------------------------------------------------------------------------------------


def reads(ledger: Any, home: Path) -> dict[str, Callable[[], Any]]:
    """What a person at the console asks for, by name; each call is one request to the application itself."""
    from starlette.testclient import TestClient

    from athanor.console.api.app import create_app
    from athanor.console.api.desk import Desk

    host = "127.0.0.1:8765"
    desk = Desk(ledger, home)
    given = desk.people.add("reader", "A reader", "owner", "benchmark")
    desk.people.change_password("reader", given, "seven brown otters swim")
    secret = desk.people.issue("reader", "benchmark", ["read", "audit.read"], 86400.0, "reader")
    headers = {"Authorization": f"Bearer {secret}"}
    client = TestClient(create_app(desk, [host]), base_url=f"http://{host}/api/v1", headers=headers)
    campaign = ledger.campaigns()[0].id
    middle = ledger.experiments(campaign)[-101 if ledger.next_ordinal(campaign) > 102 else -1].id
    paths = {
        "campaigns": "/campaigns",
        "one campaign": f"/campaigns/{campaign}",
        "experiments, first page": f"/campaigns/{campaign}/experiments",
        "experiments, late page": f"/campaigns/{campaign}/experiments?after={middle}",
        "experiments that failed": f"/campaigns/{campaign}/experiments?state=failed",
        "decisions": f"/campaigns/{campaign}/decisions",
        "events": f"/campaigns/{campaign}/events",
        "audit, newest": "/audit/rows",
        "audit, of one campaign": f"/audit/rows?campaign={campaign}&order=oldest",
        "audit, refusals": "/audit/rows?refusals=true",
        "audit, by nobody": "/audit/rows?who=nobody-at-all",
        "memory, a word": "/memory/search?text=temperature",
        "memory, a range": "/memory/search?kind=experiment&parameter=temperature:60..70",
    }

    def asking(path: str) -> Callable[[], Any]:
        def ask() -> None:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text

        return ask

    return {name: asking(path) for name, path in paths.items()}


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the first call, and the median of the others."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def measure(experiments: int, campaigns: int, repeats: int, home: Path) -> dict[str, tuple[float, float]]:
    """Fill a ledger in `home` and time every read."""
    from athanor.memory.ledger import Ledger

    home.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.create(home / "ledger.db")
    start = time.perf_counter()
    fill(ledger, experiments, campaigns)
    rows = ledger.changes()
    print(f"{experiments} experiments in {campaigns} campaigns, {rows} rows, in {time.perf_counter() - start:.0f} s")
    found = {name: timed(call, repeats) for name, call in reads(ledger, home).items()}
    ledger.close()
    return found


def main(arguments: list[str]) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks large_ledger", description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--campaigns", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="fill a ledger in this folder, and leave it there")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = asked.keep or Path(name)
        os.environ["ATHANOR_HOME"] = str(folder)
        os.environ["ATHANOR_KEYS"] = str(folder / "keys")
        os.environ["ATHANOR_RUNTIME"] = str(folder / "run")
        large = measure(asked.experiments, asked.campaigns, asked.repeats, folder)
        if asked.keep:
            return 0
        small = measure(max(10, asked.experiments // 100), asked.campaigns, asked.repeats, folder / "small")
    worst = 0.0
    print(f"\n{'read':26} {'first, ms':>10} {'median, ms':>11} {'against a hundredth':>20}")
    for read, (first, median) in large.items():
        ratio = median / small[read][1]
        worst = max(worst, 0.0 if read in SEARCHES else ratio)
        print(f"{read:26} {1e3 * first:10.1f} {1e3 * median:11.1f} {ratio:20.1f}")
    return int(worst > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
