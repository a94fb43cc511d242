"""From the start of `athanor stop-all` to the last position change that the controller recorded, in eight states.

    python -m benchmarks stop_latency --trials 200

The simulated SnAr reactor is a process of its own on a local socket, or a soft IOC served over EPICS Channel Access.
Its log is the witness, and all clocks are the machine's monotonic one; the command is timed from before its interpreter
starts. In every state but the first, all four axes are on their way, and the campaign is a process that has handed an
intent over and does not read its line any more:

- idle: nothing moves; timed is the last stop that the controller recorded
- moving: nothing else happens
- planner fitting: as many processes as there are cores compute as fast as they can
- model hanging: the campaign process waits for an answer of a server that never gives one
- loop blocked: a driver holds the event loop of the RunEngine for 60 s
- worker frozen: by SIGSTOP
- ledger locked: by a frozen process
- campaign dead: by SIGKILL

Stated bounds: p99 < 1 s for the first four, < 3 s for the others. Exit status 1 when one does not hold, when a
standstill was not confirmed, or when something moved after the answer.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.stop_rig import Campaign, StopRig, until

FRONTS = ("socket", "channel-access")
QUICK_S, SLOW_S = 1.0, 3.0
BOUNDS = {
    "idle": QUICK_S,
    "moving": QUICK_S,
    "planner fitting": QUICK_S,
    "model hanging": QUICK_S,
    "loop blocked": SLOW_S,
    "worker frozen": SLOW_S,
    "ledger locked": SLOW_S,
    "campaign dead": SLOW_S,
}
QUIET_S = 0.3
"""So long after the answer nothing may move."""

LOCK = """
import signal, sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("PRAGMA busy_timeout=20000")
ledger.execute("BEGIN IMMEDIATE")
print("held", flush=True)
signal.pause()
"""
BURN = "print('on', flush=True)\nwhile True: sum(i * i for i in range(1000))"


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Python code in a process of its own, which has said something and ends with the block."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does not run for a while; it may be killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def stop_all() -> tuple[float, float, dict[str, Any]]:
    """Give the command as a person would: when, when it had answered, and its answer about the one instrument."""
    command = [sys.executable, "-m", "athanor.console", "stop-all", "--json", "--reason", "benchmark"]
    given = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    answered = time.monotonic()
    [one] = json.loads(done.stdout)["instruments"]
    return given, answered, one


def trial(rig: StopRig, state: str, rng: random.Random) -> tuple[float, list[str]]:
    """Get into the state, stop, and read the log: seconds, and what was wrong."""
    rig.ready()
    with ExitStack() as stack:
        if state != "idle":
            campaign = stack.enter_context(rig.moving(block=state == "loop blocked", hang=state == "model hanging"))
            _enter(rig, state, campaign, stack)
            time.sleep(0.2 * rng.random())
        given, answered, report = stop_all()
        until(rig.stands_still, "every motion has its end", 30.0)
        time.sleep(QUIET_S)
    wrong = []
    if not report["confirmed"]:
        wrong.append(f"not confirmed: {report['detail']}")
    moved = [row["mono"] for row in rig.log("position", "motion")]
    if late := [at for at in moved if at > answered]:
        wrong.append(f"{len(late)} position changes after the answer")
    if state == "idle":
        moved = [row["mono"] for row in rig.log("stop")]
    elif not [row for row in rig.log("end") if row["reason"] == "stopped" and row["mono"] > given]:
        wrong.append("nothing was stopped on its way")
    return max(0.0, max(moved, default=given) - given), wrong


def _enter(rig: StopRig, state: str, campaign: Campaign, stack: ExitStack) -> None:
    if state == "worker frozen":
        stack.enter_context(frozen(rig.pid("worker")))
    elif state == "ledger locked":
        holder = stack.enter_context(child(LOCK, rig.ledger_path))
        stack.enter_context(frozen(holder.pid))
    elif state == "campaign dead":
        campaign.kill()
    elif state == "loop blocked":
        until(rig.is_blocked, "the loop is blocked")


def series(front: str, states: list[str], trials: int, seed: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every state on one front end, its processes kept from trial to trial."""
    rows = []
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ath-s") as text, ExitStack() as ending:
        names = {"ATHANOR_HOME": "home", "ATHANOR_RUNTIME": "run", "ATHANOR_KEYS": "keys"}
        os.environ.update({name: str(Path(text) / folder) for name, folder in names.items()})
        rig = StopRig(front, Path(text))
        ending.callback(rig.close)
        for state in states:
            seconds, wrong = [], []
            began = time.monotonic()
            with ExitStack() as stack:
                if state == "planner fitting":
                    for _ in range(os.cpu_count() or 2):
                        stack.enter_context(child(BURN))
                for number in range(trials):
                    took, found = trial(rig, state, rng)
                    seconds.append(took)
                    wrong += [f"{front}, {state}, trial {number + 1}: {text}" for text in found]
            cost = (time.monotonic() - began) / trials
            rows.append({"front": front, "state": state, **summary(seconds, BOUNDS[state]), "wrong": wrong})
            rows[-1]["cost_s"] = cost
            say(f"  {front}, {state}: {trials} trials, {cost:.1f} s each")
    return rows


def summary(seconds: list[float], bound: float) -> dict[str, Any]:
    """Number, p50, p99 (nearest rank) and maximum, and whether p99 is inside the bound."""
    ranked = sorted(seconds)
    rank = {share: ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.99)}
    return {
        "n": len(ranked),
        "p50_s": rank[0.5],
        "p99_s": rank[0.99],
        "max_s": ranked[-1],
        "bound_s": bound,
        "holds": rank[0.99] < bound,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The series as text."""
    text = [f"{'front end':16} {'state':16} {'n':>5} {'p50':>8} {'p99':>8} {'max':>8}  bound on p99"]
    for row in rows:
        numbers = " ".join(f"{row[key]:6.3f} s" for key in ("p50_s", "p99_s", "max_s"))
        verdict = "holds" if row["holds"] else "DOES NOT HOLD"
        text.append(f"{row['front']:16} {row['state']:16} {row['n']:5} {numbers}  < {row['bound_s']:g} s {verdict}")
    text += [f"WRONG: {item}" for row in rows for item in row["wrong"]]
    return "\n".join(text)


def main(argv: list[str]) -> int:
    """Run the series and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks stop_latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=200, help="per state and front end")
    parser.add_argument("--front", choices=FRONTS, action="append", help="only this front end")
    parser.add_argument("--state", choices=list(BOUNDS), action="append", help="only this state")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    rows = []
    for front in options.front or FRONTS:
        states = options.state or list(BOUNDS)
        rows += series(
            front, states, options.trials, options.seed, lambda text: print(text, file=sys.stderr, flush=True)
        )
    print(json.dumps({"rows": rows}) if options.json else table(rows), flush=True)
    return int(any(row["wrong"] or not row["holds"] for row in rows))
