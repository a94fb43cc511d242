"""One campaign that is killed again and again: `python -m benchmarks.kill_lane PLAN FOLDER`, for `kill_matrix`.

Prints one JSON object: every kill, and what the judge found.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from athanor.agents import doubt
from athanor.agents.campaign import envelope, instrument_place, open_campaign
from athanor.agents.spec import LaboratorySpec, Spec, parse
from athanor.governance.gate import Gate
from athanor.instruments.laboratory import load
from athanor.instruments.reconcile import reconcile
from athanor.instruments.wire import WorkerLost
from athanor.memory import places
from athanor.memory.ledger import Ledger
from athanor.memory.signing import GateKey
from athanor.memory.verify import verify
from benchmarks.driving import Driver, Log, free_port
from benchmarks.kill_judge import Kill, Story, faults, place, stories
from tests.sandbox.serving.served import Served
from tests.system.queueing import Queue

TIME_SCALE = 0.25
"""A run lasts about a second: half of it in motion, half of it measuring."""
NOISE = 0.02
OPTIONS = {"noise": NOISE, "time_scale": TIME_SCALE}
BUDGET = 5000
STARTUP_S = 3.0
PROGRESS_S = 90.0
SITTINGS = 6
"""So often an operator resumes before the campaign counts as stuck."""
MODULES = {"worker": "instruments.worker", "recovery": "instruments.recovery", "controller": "sandbox"}
QUEUED = {**MODULES, "worker": "bluesky_queueserver"}


class Stuck(Exception):
    """The campaign does not go on, whatever an operator does."""


class Lane:
    """One campaign, the processes around it, and the operator who brings it back."""

    def __init__(self, front: str, seed: int, folder: Path) -> None:
        self.front = front
        self.served: Served | None = None
        self.queue: Queue | None = None
        self._folder = folder
        self._port = free_port()
        self.url = str(folder / "ledger.db")
        self.ledger = Ledger.create(self.url)
        self.gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), "operator")
        if front == "channel-access":
            self.serve()
        self.spec = self._spec(seed)
        self.campaign = open_campaign(self.spec, self.ledger)
        row = self.ledger.campaign(self.campaign)
        self.gate.grant(self.campaign, row.instrument, 0, envelope(self.spec), BUDGET, timedelta(hours=6))
        self.place = instrument_place(row, self.ledger)
        self.ledger.close()  # open again only when the process that forks the campaigns' has been forked itself
        self.driver = Driver(self.url, self.campaign, folder / "campaign.log")
        if front == "queue":
            self.queue = Queue(self.place, Path(self.url), "snar-flow", OPTIONS)
            self.queue.start()
        self.ledger = Ledger.open(self.url)
        self.gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), "operator")
        self._log = Log((self.served.folder if self.served is not None else self.place.directory) / "controller.jsonl")
        self.answers: dict[str, str] = {}
        self.settled_at: dict[str, float] = {}
        self.untold: list[str] = []
        self.kills: list[Kill] = []

    def serve(self) -> None:
        """Start the soft IOC, at the port it always has: the profile stays the same."""
        options = ["--time-scale", str(TIME_SCALE), "--noise", str(NOISE), "--port", str(self._port)]
        self.served = Served(self._folder / "served", self.front, "snar-flow", *options)

    def _spec(self, seed: int) -> Spec:
        found: Any = load("snar-flow")
        spec = parse(found.campaign_file().read_text())
        if self.served is not None:
            laboratory = LaboratorySpec(profile=str(self.served.path))
        else:
            laboratory = LaboratorySpec(name="snar-flow", options=OPTIONS)
        changes = {"budget": {"experiments": BUDGET}, "hypotheses": {"share": 0.0}, "planner": "random", "seed": seed}
        return Spec.model_validate({**spec.model_dump(), "laboratory": laboratory.model_dump(), **changes})

    def starts(self) -> list[dict[str, Any]]:
        """The runs that the controller was told of."""
        return self._log.read("run")

    # -- the operator --------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Take in what is known, and answer for what is in doubt: by its documents and the controller's log."""
        if self.served is not None and self.served.process.poll() is not None:
            self.serve()
        if self.queue is not None and self._watchdog() is None:
            self._start_queue(self.queue)
        try:
            reconcile(self.ledger, self.place, retry=True)
        except WorkerLost:
            pass  # it hangs or is just ending: the campaign will say so
        started = {line["intent"] for line in self.starts()}
        for experiment in self.ledger.experiments(self.campaign, states=["in_doubt"]):
            known = doubt.examine(self.ledger, experiment)
            is_whole = known.run is not None and known.run.readings >= known.run.due
            if known.outcomes is not None and is_whole:
                answer: Any = "completed"
            elif known.intent is not None and known.intent.id in started:
                answer = "aborted"
            else:
                answer = "not_started"
            doubt.settle(self.ledger, self.gate, experiment, answer, f"by its documents and the log: {known.hint}")
            self.answers[experiment.id] = answer
            self.settled_at[experiment.id] = time.time()

    def _start_queue(self, queue: Queue) -> None:
        """The worker that a dead manager has left finishes what it has in hand first, and ends."""
        deadline = time.monotonic() + PROGRESS_S
        while self.pid("worker") is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        queue.start()

    def resume(self) -> None:
        """Start the campaign's next process."""
        self.driver.start()

    def check_told(self) -> None:
        """A campaign that has stopped by itself names what is in doubt."""
        row = self.ledger.campaign(self.campaign)
        for experiment in self.ledger.experiments(self.campaign, states=["in_doubt"]):
            if row.state == "paused" and experiment.id not in (row.reason or ""):
                self.untold.append(f"{experiment.id}: in doubt, and the campaign paused with: {row.reason}")

    def operate(self, since: int) -> None:
        """Bring the campaign back until a new run starts. Raises `Stuck`."""
        for _ in range(SITTINGS):
            self.sweep()
            self.resume()
            if self.follow(since):
                return
        raise Stuck(f"not resumed in {SITTINGS} sittings; the campaign: {self.ledger.campaign(self.campaign).reason}")

    def follow(self, since: int, watch: Callable[[], None] = lambda: None) -> bool:
        """Wait until the controller has been told of more runs than `since`; False when the campaign process ended."""
        deadline = time.monotonic() + PROGRESS_S
        while time.monotonic() < deadline:
            watch()
            self._see_taken()
            if not self.driver.is_running():
                self.check_told()
                return False
            if len(self.starts()) > since:
                return True
            time.sleep(0.02 if self.kills and self.kills[-1].seen_s is None else 0.1)
        raise Stuck(f"no run in {PROGRESS_S:g} s; the campaign: {self.ledger.campaign(self.campaign)!r}")

    def _see_taken(self) -> None:
        """Note when the next campaign process has the campaign of one that was killed."""
        kills = [kill for kill in self.kills if kill.process == "campaign" and kill.seen_s is None]
        if kills and self._holder() not in (None, *(kill.holder for kill in kills)):
            for kill in kills:
                kill.seen_s, kill.seen_as = time.time() - kill.at, "lease taken"

    def _holder(self) -> str | None:
        lease = self.ledger.lease(f"campaign:{self.campaign}")
        return lease.holder if lease is not None else None

    # -- killing -------------------------------------------------------------------------------------------------------

    def pid(self, process: str) -> int | None:
        """The number of a process that lives, None when there is none."""
        if process == "campaign":
            return self.driver.pid if self.driver.is_running() else None
        if process == "controller" and self.served is not None:
            return self.served.process.pid if self.served.process.poll() is None else None
        modules = MODULES if self.queue is None else QUEUED
        try:
            if self.queue is not None and process in ("manager", "watchdog"):
                running, manager = self._watchdog(), self.queue.manager_pid
                return running if process == "watchdog" else manager
            pid = int((self.place.sockets / f"{process}.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        except (OSError, ValueError, IndexError):
            return None
        return pid if modules[process] in command else None

    def _watchdog(self) -> int | None:
        found = self.queue.process if self.queue is not None else None
        return found.pid if found is not None and found.poll() is None else None

    def strike(self, process: str, is_resuming: bool) -> bool:
        """Kill a process and see how it is noticed; False when there is none to kill."""
        deadline = time.monotonic() + STARTUP_S
        while (pid := self.pid(process)) is None:
            if time.monotonic() > deadline or not self.driver.is_running():
                return False
            time.sleep(0.01)
        kill = Kill(process, self.front, time.time(), is_resuming)
        before = len(self.starts())
        kill.holder = self._holder()
        worker = self.pid("worker")
        kill.at = time.time()
        if process == "watchdog" and self.queue is not None:
            self.queue.kill()
        else:
            os.kill(pid, signal.SIGKILL)
        self.kills.append(kill)
        if process == "controller" and self.served is not None:
            self.served.end()
        if process == "campaign":
            while self.driver.is_running():
                time.sleep(0.005)
        else:
            self.follow(before, lambda: self._see(kill, pid, worker))
            # The next run may start first: nothing waits for a recovery process that is being replaced.
            until = time.monotonic() + PROGRESS_S
            while kill.seen_s is None and time.monotonic() < until:
                self._see(kill, pid, worker)
                time.sleep(0.02)
        return True

    def _see(self, kill: Kill, pid: int, worker: int | None) -> None:
        if kill.seen_s is not None:
            return
        if self.ledger.experiments(self.campaign, states=["in_doubt"]):
            how = "in doubt"
        elif not self.driver.is_running() or self.ledger.campaign(self.campaign).state == "paused":
            how = "campaign paused"
        elif kill.process == "controller" and worker is not None and self.pid("worker") != worker:
            how = "worker left"
        elif self.pid(kill.process) not in (None, pid):
            how = "replaced"
        else:
            return
        kill.seen_s, kill.seen_as = time.time() - kill.at, how

    def cycle(self) -> float:
        """How long a run takes from one to the next (seconds)."""
        moments = [line["t"] for line in self.starts()]
        gaps = [after - before for before, after in itertools.pairwise(moments)]
        return min(4.0, statistics.median(gaps)) if len(gaps) >= 3 else 2.0

    def run(self, kills: list[dict[str, Any]], rng: random.Random) -> None:
        """Every kill, and the campaign going on after each."""
        for kill in kills:
            while True:
                is_resuming = kill["early"] and not self.driver.is_running()
                if is_resuming:
                    self.sweep()
                    self.resume()
                    until = time.monotonic() + kill["when"] * STARTUP_S
                    while time.monotonic() < until:
                        self._see_taken()
                        time.sleep(0.02)
                else:
                    if not self.driver.is_running():
                        self.operate(len(self.starts()))
                    time.sleep(kill["when"] * self.cycle())
                if self.strike(kill["process"], is_resuming):
                    break
                kill = {**kill, "early": False, "when": rng.random()}

    def finish(self) -> None:
        """Let the campaign pause with nothing under way."""
        for _ in range(SITTINGS):
            if not self.driver.is_running():
                self.operate(len(self.starts()))
            self.ledger.request(self.campaign, "pause", "operator")
            deadline = time.monotonic() + PROGRESS_S
            while self.driver.is_running() and time.monotonic() < deadline:
                self._see_taken()
                time.sleep(0.02)
            self.check_told()
            self.sweep()
            if not self.ledger.experiments(self.campaign, states=["dispatched", "running", "in_doubt"]):
                # What an operator has settled last becomes an observation as the campaign is resumed.
                seen = {o.experiment_id for o in self.ledger.observations(self.campaign)}
                if all(e.id in seen for e in self.ledger.experiments(self.campaign, states=["completed", "aborted"])):
                    return
        raise Stuck("it does not pause with everything accounted for")

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(self) -> dict[str, Any]:
        """Place every kill, and say what must not have been."""
        log = self._log.read("run", "trigger", "reading")
        found = stories(log, self._stories(log))
        for kill in self.kills:
            place(kill, found)
        bad = faults(log, found)
        bad["silent"] += self.untold
        bad["lost"] += [str(p) for p in verify(self.ledger).problems if p.kind != "unanchored"]
        return {
            "kills": [asdict(kill) for kill in self.kills],
            "experiments": len(found),
            "settled": len(self.answers),
            "unread": sum(s.answer not in (None, "completed") and s.measured >= s.due for s in found),
            **bad,
        }

    def _stories(self, log: list[dict[str, Any]]) -> list[Story]:
        laboratory: Any = load("snar-flow")
        observed = {o.experiment_id: o for o in self.ledger.observations(self.campaign)}
        measured_at = {line["intent"]: line["values"] for line in log if line["kind"] == "trigger"}
        found = []
        for e in self.ledger.experiments(self.campaign):
            intent = self.ledger.intent_for(e.id)
            if intent is None:
                continue
            run, seen = self.ledger.run_for(e.id), observed.get(e.id)
            story = Story(e.id, intent.id, intent.created_at.timestamp(), e.state, e.reason, due=e.replicates)
            story.answer = self.answers.get(e.id)
            if run is not None and run.stopped_at is not None:
                story.stopped_at = run.stopped_at.timestamp()
            story.closed_at = self.settled_at.get(e.id) if e.state == "not_started" else None
            if e.state == "refused":
                story.closed_at = story.intent_at
            if seen is not None:
                story.is_observed, story.closed_at = True, seen.created_at.timestamp()
                story.outcomes = {name: outcome["mean"] for name, outcome in seen.outcomes.items()}
            if e.state == "completed":
                given = laboratory.simulate(e.values, self.spec.seed, e.ordinal, e.replicates, OPTIONS)
                story.expected = {name: mean for name, (mean, _) in given.items()}
            at = measured_at.get(intent.id)
            story.is_elsewhere = at is not None and any(abs(at[n] - v) > 0.01 for n, v in e.values.items())
            found.append(story)
        return found

    def close(self) -> None:
        """End the campaign, the IOC and the queue; `kill_matrix` kills the instrument's own processes."""
        self.driver.close()
        if self.served is not None:
            self.served.kill()
        if self.queue is not None:
            self.queue.close()
        self.ledger.close()


def main() -> int:
    """Run one campaign's kills; problems of the campaign stand in the answer, not in the exit status."""
    wanted, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    lane = Lane(wanted["front"], wanted["seed"], folder)
    stuck = []
    try:
        try:
            lane.run(wanted["kills"], random.Random(wanted["seed"]))
            lane.finish()
        except Stuck as error:
            stuck = [f"{wanted['front']}, seed {wanted['seed']}, after kill {len(lane.kills)}: {error}"]
        print(json.dumps({**lane.judge(), "stuck": stuck}))
    finally:
        lane.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
