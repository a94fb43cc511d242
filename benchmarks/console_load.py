"""The console under load: many people watching many campaigns, on a ledger of years of work.

    python -m benchmarks console_load                           # one hour
    python -m benchmarks console_load --minutes 10
    python -m benchmarks console_load --minutes 10 --bayesian   # one campaign plans with BoTorch, at lower priority

Ten campaigns on ten simulated reactors, each with its driver, worker and controller processes, start an experiment
every ten seconds: each is put up by its campaign and approved over HTTP. The ledger holds 10,000 experiments from
before. 48 clients do what a page does (`console_clients`), and two pages are open in Chromium. An eleventh reactor is
in somebody's hands; Stop All is pressed for it every five seconds while its axis moves, and at the end for everything.

Exit status 1 unless: an answer with a page's data takes at most 0.3 s (p95), a change is shown within 1 s (p95), a stop
is confirmed within 1 s (p99), and the console's memory grows by less than 1 MB/min after the first five minutes (or the
first half of a shorter run).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA_S, LAG_S, STOP_S, SLOPE_MB = 0.3, 1.0, 1.0, 1.0
EVERY_S = 10.0
STOP_EVERY_S = 5.0
SPARE = "reactor-0"


def main(arguments: list[str]) -> int:
    """Run it, and return 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="console_load", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--campaigns", type=int, default=10)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--bayesian", action="store_true")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ath-load-")))
        set_up(folder, given.campaigns + 1)
        load = Load(folder, given, stack)
        load.begin()
        load.run()
        return load.judge()


# -- reactors ---------------------------------------------------------------------------------------------------------

REACTORS = """
from pathlib import Path
from athanor.sandbox.laboratories import snar_flow
from athanor.sandbox.laboratory import SimulatedLaboratory

def reactor(number):
    physics = type("Reactor", (snar_flow.SnarFlow,), {"name": f"reactor-{number}"})()
    same = snar_flow.LABORATORY
    return SimulatedLaboratory(
        physics, devices="async", challenge=same.challenge, reference=same.reference, folder=Path(__file__).parent
    )

"""


def set_up(folder: Path, count: int) -> None:
    """Make a home, and reactors as an installed package would bring them."""
    from athanor.instruments.laboratory import load

    same: Any = load("snar-flow")
    package = folder / "reactors"
    info = package / "made_up_reactors-0.dist-info"
    info.mkdir(parents=True)
    names = range(count)
    (package / "made_up_reactors.py").write_text(REACTORS + "".join(f"R{n} = reactor({n})\n" for n in names))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-reactors\nVersion: 0\n")
    points = "".join(f"reactor-{n} = made_up_reactors:R{n}\n" for n in names)
    (info / "entry_points.txt").write_text(f"[athanor.laboratories]\n{points}")
    for kind in ("profile", "campaign"):
        text = (same.campaign_file().parent / f"snar_flow.{kind}.yaml").read_text()
        for n in names:
            (package / f"reactor_{n}.{kind}.yaml").write_text(text.replace("snar-flow", f"reactor-{n}"))
    sys.path.insert(0, str(package))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    for name in ("home", "keys", "run"):
        (folder / name).mkdir()
    os.environ["ATHANOR_HOME"] = str(folder / "home")
    os.environ["ATHANOR_KEYS"] = str(folder / "keys")
    os.environ["ATHANOR_RUNTIME"] = str(folder / "run")
    os.environ["ATHANOR_WORKER_IDLE_S"] = "7200"
    os.environ.pop("ATHANOR_LEDGER", None)


class Load:
    """Everything that runs."""

    def __init__(self, folder: Path, given: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self.folder, self.given, self.stack = folder, given, stack
        self.seconds = given.minutes * 60.0
        self.campaigns: list[str] = []
        self.approved = 0
        self.stops: list[float] = []
        self.unconfirmed: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self.pages: list[float] = []
        self.told: dict[str, list[Any]] = {}
        self.problems: list[str] = []
        self.over = threading.Event()

    def begin(self) -> None:
        """Fill the ledger, start the campaigns and the console."""
        from athanor.memory.ledger import Ledger
        from benchmarks.large_ledger import fill
        from tests.conftest import end_processes
        from tests.console.pages.browser import Console, with_accounts
        from tests.console.serving import free_port, serving

        home = self.folder / "home"
        self.stack.callback(end_processes, self.folder)
        with Ledger.create(home / "ledger.db") as ledger:
            fill(ledger, self.given.experiments, 10)
            for campaign in ledger.campaigns():
                if campaign.state == "running":
                    ledger.set_campaign_state(campaign.id, "cancelled", reason="made up for a load test")
        with_accounts(home)
        port = free_port()
        self.process = self.stack.enter_context(serving(port, self.folder / "console.log"))
        self.console = Console(port)
        for number in range(1, self.given.campaigns + 1):
            self._drive(number)
        with Ledger.open(home / "ledger.db") as ledger:
            deadline = time.monotonic() + 600.0
            while len(self.campaigns) < self.given.campaigns:
                running = [c.id for c in ledger.campaigns() if c.instrument.startswith("reactor-")]
                self.campaigns = [one for one in running if ledger.experiments(one, ["proposed"])]
                if time.monotonic() > deadline:
                    raise SystemExit("the campaigns did not start: " + self._logs())
                time.sleep(0.5)
        say(f"{len(self.campaigns)} campaigns wait for their first approval")

    def _drive(self, number: int) -> None:
        from ruamel.yaml import YAML

        yaml = YAML(typ="safe")
        spec = yaml.load((self.folder / "reactors" / f"reactor_{number}.campaign.yaml").read_text())
        spec.pop("hypotheses", None)
        is_bayesian = self.given.bayesian and number == 1
        spec["planner"] = "bayesian" if is_bayesian else "sobol"
        if not is_bayesian:  # nor does anybody ask a model what it has learned
            spec["hypotheses"] = {"share": 0}
        spec["laboratory"] = {"name": f"reactor-{number}", "options": {"time_scale": 0.5}}
        spec["policy"] = {"autonomy": "approve_each", "expires": "2 h"}
        spec["budget"] = {"experiments": 1000}
        file = self.folder / f"campaign-{number}.yaml"
        with file.open("w") as target:
            yaml.dump(spec, target)
        log = self.stack.enter_context((self.folder / f"campaign-{number}.log").open("w"))
        polite = ["nice", "-n", "10"] if is_bayesian else []
        command = [*polite, sys.executable, "-m", "athanor.console", "run", str(file)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

    def _logs(self) -> str:
        return "\n".join(path.read_text()[-500:] for path in sorted(self.folder.glob("campaign-*.log")))

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Watch, approve and stop, for as long as was asked."""
        clients = self._clients()
        jobs = [self._approve, self._stop, self._measure]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        with self._browsers():
            out, _ = clients.communicate(timeout=self.seconds + 120.0)
        self.over.set()
        for thread in threads:
            thread.join(60.0)
        self.told = json.loads(out)
        began = time.monotonic()
        answer = self.console.client("operator").post("/stop-all", json={"reason": "the end of a load test"}).json()
        self.last = (time.monotonic() - began, answer["running"], answer["confirmed"])

    def _guarded(self, job: Any) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - said at the end, and the run has failed
            self.problems.append(f"{job.__name__}: {error!r}")

    def _clients(self) -> subprocess.Popen[str]:
        from athanor.governance.people import PEOPLE, People

        people = People(self.folder / "home" / PEOPLE, lambda kind, body: None)
        count = max(0, self.given.clients - 2)
        tokens = [people.issue("observer", f"watcher {n}", ["read"], 86400.0, "owner") for n in range(count)]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.console_clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(process.kill)
        asked = {
            "base": self.console.url("/api/v1"),
            "tokens": tokens,
            "campaigns": self.campaigns,
            "seconds": self.seconds,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        return process

    def _approve(self) -> None:
        """Have each campaign start an experiment every ten seconds."""
        client = self.console.client("operator")
        with contextlib.closing(client):
            due = {one: time.monotonic() + EVERY_S * i / len(self.campaigns) for i, one in enumerate(self.campaigns)}
            while not self.over.wait(0.1):
                campaign = min(due, key=lambda one: due[one])
                if due[campaign] > time.monotonic():
                    continue
                where = f"/campaigns/{campaign}/experiments"
                waiting = client.get(where, params={"state": "proposed"}).raise_for_status().json()["items"]
                if not waiting:
                    due[campaign] = time.monotonic() + 0.5  # still busy with the last one
                    continue
                for one in waiting[:1]:
                    body = {"revision": one["revision"]}
                    client.post(f"/experiments/{one['id']}/approve", json=body).raise_for_status()
                    self.approved += 1
                due[campaign] = max(due[campaign] + EVERY_S, time.monotonic())

    def _stop(self) -> None:
        """Press Stop All on the reactor in hand while it moves, and let go again."""
        with contextlib.closing(self.console.client("owner")) as client:
            spare = Spare(client, self.folder / "home")
            while not self.over.wait(STOP_EVERY_S):
                spare.begin_to_move()
                began = time.monotonic()
                answer = client.post("/stop-all", json={"reason": "load test", "instrument": SPARE}).json()
                self.stops.append(time.monotonic() - began)
                if not answer["confirmed"]:
                    self.unconfirmed.append(json.dumps(answer)[:300])
                spare.release()

    def _measure(self) -> None:
        import psutil

        process = psutil.Process(self.process.pid)
        began = time.monotonic()
        while not self.over.wait(2.0):
            self.memory.append((time.monotonic() - began, process.memory_info().rss / 1e6))

    @contextlib.contextmanager
    def _browsers(self) -> Iterator[None]:
        from tests.console.pages.browser import chromium

        with chromium() as browser:
            first, second = self.console.page(browser, "operator"), self.console.page(browser, "scientist")
            second.goto(self.console.url(f"/campaigns/{self.campaigns[0]}"))
            for page in (first, second):  # else it remembers the first 250, of the first minute, and no more
                page.evaluate("performance.setResourceTimingBufferSize(1000000)")
            yield
            for page in (first, second):
                self.pages += page.evaluate(
                    "performance.getEntriesByType('resource').filter((e) => /overview|board/.test(e.name))"
                    ".map((e) => e.duration / 1000)"
                )
            self.problems += self.console.faults
            self.console.close()

    # -- what came of it -----------------------------------------------------------------------------------------------

    def judge(self) -> int:
        """Print the table; 1 where a bound does not hold."""
        data, lag = self.told["data_s"], self.told["lag_s"]
        rows = [
            ("page data, p95", quantile(data, 0.95), DATA_S, "s", len(data)),
            ("page data in Chromium, p95", quantile(self.pages, 0.95), DATA_S, "s", len(self.pages)),
            ("change shown, p95", quantile(lag, 0.95), LAG_S, "s", len(lag)),
            ("Stop All confirmed, p99", quantile(self.stops, 0.99), STOP_S, "s", len(self.stops)),
            ("memory growth", self._slope(), SLOPE_MB, "MB/min", len(self.memory)),
        ]
        is_good = True
        for name, value, bound, unit, count in rows:
            held = value is not None and value < bound
            is_good &= held
            shown = "nothing measured" if value is None else f"{value:.3f} {unit}"
            say(f"{'holds' if held else 'FAILS':6} {name:28} {shown:>18}  (bound {bound} {unit}, n = {count})")
        medians = [statistics.median(values) if values else float("nan") for values in (data, lag)]
        say(f"       medians: page data {medians[0]:.3f} s, change shown {medians[1]:.3f} s")
        say(f"       {self.approved} experiments approved in {self.seconds / 60:.1f} min")
        say(f"       Stop All on everything: {self.last[0]:.2f} s, {self.last[1]} running, confirmed: {self.last[2]}")
        say(f"       memory {self.memory[0][1]:.0f} MB at first, {self.memory[-1][1]:.0f} MB at last")
        wanted = 0.8 * len(self.campaigns) * self.seconds / EVERY_S
        faults = [*self.problems, *self.told["lost"], *self.unconfirmed]
        if self.approved < wanted:
            faults.append(f"only {self.approved} experiments were started: the load was not what it says")
        if not self.last[2]:
            faults.append("the last Stop All was not confirmed")
        for fault in faults[:20]:
            say(f"FAULT  {fault}")
        return 0 if is_good and not faults else 1

    def _slope(self) -> float | None:
        start = min(300.0, self.seconds / 2)
        late = [(at, size) for at, size in self.memory if at >= start]
        if len(late) < 10:
            return None
        slope, _ = statistics.linear_regression([at for at, _ in late], [size for _, size in late])
        return max(0.0, slope * 60.0)


class Spare:
    """The reactor that somebody has in hand, and that is stopped again and again."""

    def __init__(self, client: Any, home: Path) -> None:
        from athanor.instruments.config import Config
        from athanor.instruments.laboratory import load
        from athanor.memory.places import InstrumentPlace

        place = InstrumentPlace.of(SPARE, home)
        place.directory.mkdir(parents=True, exist_ok=True)
        Config(load(SPARE).profile(), {"time_scale": 1.0}).write(place)
        self._client, self._where = client, f"/instruments/{SPARE}"
        deadline = time.monotonic() + 120.0
        while not client.post(f"{self._where}/connect").raise_for_status().json()["is_there"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{SPARE} does not connect")
            time.sleep(0.5)
        body = {"reason": "load test", "for_s": 86400.0}
        client.post(f"{self._where}/take-over", json=body).raise_for_status()
        self._target = 120.0

    def begin_to_move(self) -> None:
        """Begin a motion that takes some seconds; it is under way when this returns."""
        self._target = 30.0 if self._target > 60.0 else 120.0
        body = {"axis": "temperature", "value": self._target, "reason": "load test"}
        self._client.post(f"{self._where}/moves", json=body).raise_for_status()

    def release(self) -> None:
        """Release the latch as it stands now."""
        seen = self._client.get(self._where).raise_for_status().json()["latch"]["count"]
        body = {"reason": "load test", "count": seen}
        self._client.post(f"{self._where}/reset-stop", json=body).raise_for_status()


def quantile(values: list[float], share: float) -> float | None:
    """The value below which this share lies; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
