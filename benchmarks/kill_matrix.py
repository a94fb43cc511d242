"""SIGKILLs at random instants, each followed by what an operator would do, judged by the controller's own log.

    python -m benchmarks kill_matrix --kills 200 --seed 1 --jobs 2

Killed are the campaign process, the worker, the recovery process and the controller, with the simulated SnAr reactor
as a process of its own, served as an EPICS soft IOC over Channel Access, and behind a bluesky-queueserver, whose
manager (alone) and watchdog (with the manager) are killed, too. The operator then starts the IOC or the queue again if
it was that, takes in what is known (`athanor reconcile`), answers for what is in doubt by looking at the documents and
at the controller's log (`athanor settle`), and resumes (`athanor resume`). One campaign lasts for some 25 kills.

The table has one row for each process and front end. The stages say where the run in hand was when the signal was sent,
by the times in the ledger and in the controller's log. What became of the run in hand: completed by itself, in doubt
(surfaced, and settled by the operator), ended with its cause, or handed over later because it had not started.
Time until seen: for the campaign process until the next one holds its lease, start-up included; for the recovery
process and the manager until there is another one; for the others until the run is in doubt, the campaign has paused
or, with nothing in hand, there is another one (or, for the controller, the worker has left).

Exit status 1 when an observation is lost, a start or a reading repeated, an end made up, or a campaign cannot go on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.kill_judge import STAGES

PROCESSES = ("campaign", "worker", "recovery", "controller")
FRONTS = ("socket", "channel-access", "queue")
QUEUE = ("manager", "watchdog")
PER_CAMPAIGN = 25
EARLY = 0.15
"""Share of the kills that strike while the operator's resume is still starting."""


def processes_of(front: str) -> tuple[str, ...]:
    """What is killed on a front end."""
    return PROCESSES + QUEUE if front == "queue" else PROCESSES


def plan(kills: int, seed: int, fronts: tuple[str, ...] = FRONTS) -> list[dict[str, Any]]:
    """Split the kills into campaigns; each process comes equally often on each front end, in random order."""
    rng = random.Random(seed)
    lanes = []
    for number, front in enumerate(fronts):
        count = kills // len(fronts) + (number < kills % len(fronts))
        struck = processes_of(front)
        order = [struck[i % len(struck)] for i in range(count)]
        rng.shuffle(order)
        strikes = [{"process": p, "when": rng.random(), "early": rng.random() < EARLY} for p in order]
        lanes += [
            {"front": front, "seed": rng.randrange(1, 10**6), "kills": strikes[at : at + PER_CAMPAIGN]}
            for at in range(0, count, PER_CAMPAIGN)
        ]
    return lanes


def run_lane(lane: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    """Run one campaign's kills in a process of its own, and end what it leaves behind."""
    folder = Path(tempfile.mkdtemp(prefix="ath-k"))
    names = {"ATHANOR_HOME": "home", "ATHANOR_KEYS": "keys", "ATHANOR_RUNTIME": "run"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **{k: str(folder / v) for k, v in names.items()}}
    command = [sys.executable, "-m", "benchmarks.kill_lane", json.dumps(lane), str(folder)]
    began = time.monotonic()
    is_kept = False
    try:
        with (folder / "lane.log").open("w") as log:
            limit = 120 + 60 * len(lane["kills"])
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, timeout=limit, check=False
            )
        said = (folder / "lane.log").read_text()[-3000:]
        if done.returncode or not done.stdout.strip():
            result = {"kills": [], "stuck": [f"{lane['front']}, seed {lane['seed']}: {said}"]}
        else:
            result = json.loads(done.stdout.splitlines()[-1])
        is_kept = keep is not None and any(result.get(key) for key in ("lost", "repeated", "silent", "stuck"))
    finally:
        end_processes(folder)
        if is_kept and keep is not None:
            shutil.copytree(folder, keep / folder.name, ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(folder, ignore_errors=True)
    return {**result, "front": lane["front"], "seconds": time.monotonic() - began}


def end_processes(folder: Path) -> None:
    """Kill every process that left its number in a file below the folder."""
    for file in folder.rglob("*.pid"):
        try:
            os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
        except (ProcessLookupError, ValueError, IndexError, FileNotFoundError):
            continue


def summed(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The table's rows and the sums over all campaigns."""
    kills = [kill for result in results for kill in result["kills"]]
    rows = []
    for process in PROCESSES + QUEUE:
        for front in FRONTS:
            some = [k for k in kills if (k["process"], k["front"]) == (process, front)]
            if not some:
                continue
            ends = [k["end"] for k in some]
            seen = [k["seen_s"] for k in some if k["seen_s"] is not None]
            rows.append(
                {
                    "process": process,
                    "front": front,
                    "kills": len(some),
                    "stages": {name: sum(k["stage"] == name for k in some) for name in STAGES},
                    "completed": ends.count("completed"),
                    "in_doubt": ends.count("in doubt"),
                    "with_cause": sum(end in ("failed", "aborted", "stopped_early", "refused") for end in ends),
                    "nothing_in_hand": ends.count(""),
                    "seen_median_s": statistics.median(seen) if seen else None,
                    "seen_max_s": max(seen, default=None),
                }
            )
    bad = {
        key: [text for result in results for text in result.get(key, [])]
        for key in ("lost", "repeated", "silent", "stuck")
    }
    return {
        "kills": len(kills),
        "experiments": sum(result.get("experiments", 0) for result in results),
        "settled": sum(result.get("settled", 0) for result in results),
        "unread": sum(result.get("unread", 0) for result in results),
        "rows": rows,
        **bad,
        "seconds": sum(result["seconds"] for result in results),
    }


SHORT = {
    "while resuming": "resuming",
    "before intent": "no intent",
    "between intent and start": "intent",
    "in motion": "motion",
    "measuring": "measure",
    "before stop document": "no stop",
    "after stop document": "stopped",
}


def table(total: dict[str, Any]) -> str:
    """The matrix as text."""
    head = ["killed", "front end", "kills", *(SHORT[name] for name in STAGES)]
    head += ["completed", "in doubt", "with cause", "none", "seen p50", "max"]
    lines = [head]
    for row in total["rows"]:
        seen = [f"{row[key]:.2f} s" if row[key] is not None else "-" for key in ("seen_median_s", "seen_max_s")]
        counts = [row["completed"], row["in_doubt"], row["with_cause"], row["nothing_in_hand"]]
        lines.append(
            [row["process"], row["front"], str(row["kills"]), *(str(n) for n in row["stages"].values())]
            + [str(n) for n in counts]
            + seen
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    text.append("")
    text.append(
        f"{total['kills']} kills over {total['experiments']} experiments: {len(total['lost'])} observations lost, "
        f"{len(total['repeated'])} starts or readings repeated, {len(total['silent'])} ends made up or not told of; "
        f"{total['settled']} in doubt, all surfaced and settled"
    )
    text.append(
        f"of those in doubt, {total['unread']} had been measured in full, and the readings died with the worker before "
        "they were spooled: the operator was told, and they are not counted as lost"
    )
    for key in ("lost", "repeated", "silent", "stuck"):
        text += [f"{key.upper()}: {item}" for item in total[key]]
    return "\n".join(text)


def main(argv: list[str]) -> int:
    """Run the campaigns, some at once, and print the matrix."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks kill_matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="campaigns at once")
    parser.add_argument("--front", choices=FRONTS, action="append", help="only this front end")
    parser.add_argument("--json", action="store_true", help="the same as one JSON object, with every kill")
    parser.add_argument("--keep", type=Path, help="keep the folder of a campaign that went wrong in there")
    options = parser.parse_args(argv)
    lanes = plan(options.kills, options.seed, tuple(options.front or FRONTS))
    began = time.monotonic()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)

    def job(lane: dict[str, Any]) -> dict[str, Any]:
        result = run_lane(lane, options.keep)
        done = f"{len(result['kills'])} kills in {result['seconds']:.0f} s"
        print(f"  {result['front']}, seed {lane['seed']}: {done}", file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(job, lanes))
    total = summed(results)
    if options.json:
        print(json.dumps({**total, "each": [kill for result in results for kill in result["kills"]]}))
    else:
        print(table(total))
        took = time.monotonic() - began
        print(f"{took:.0f} s, {total['seconds'] / max(1, total['kills']):.1f} s of one campaign's time for each kill")
    is_short = total["kills"] < options.kills
    return int(is_short or any(total[key] for key in ("lost", "repeated", "silent", "stuck")))
