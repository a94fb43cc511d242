"""Run planners on problems and keep what came of it, one line for each seed.

    python -m benchmarks.planning run [--problems …] [--methods …] [--seeds 20] [--first-seed 0] [--out FOLDER]

What is in the folder already is not run again, so a run that was cut off goes on where it was. Every run has one thread
and a process at a time has one run; seeds are taken in turn over all methods, so that a machine that changes its speed
does so for all.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Trace:
    """One run. `regrets` without noise, of every evaluation in its order; `seconds` that each suggestion took."""

    problem: str
    method: str
    seed: int
    version: str
    machine: str
    regrets: list[float]
    seconds: list[float]

    def best(self) -> np.ndarray:
        """The least regret so far (n,)."""
        return np.minimum.accumulate(np.array(self.regrets))


def run(problem: str, method: str, seed: int, budget: int | None = None) -> Trace:
    """One campaign of one planner."""
    from benchmarks.planning import methods
    from benchmarks.planning.problems import instance

    found = instance(problem, seed)
    count = found.task.budget if budget is None else budget
    planner = methods.make(method, found.problem, seed, count)
    regrets, seconds = [], []
    for number in range(1, count + 1):
        began = time.perf_counter()
        values = planner.ask()
        seconds.append(time.perf_counter() - began)
        found.problem.validate_point(values)  # a peer that leaves the box is no peer
        planner.tell(values, found.measure(values, number))
        regrets.append(found.regret(values))
    return Trace(
        problem,
        method,
        seed,
        methods.version(method),
        f"{platform.machine()}, {os.cpu_count()} cores",
        regrets,
        [round(value, 4) for value in seconds],
    )


def file_of(folder: Path, problem: str, method: str) -> Path:
    """Where the runs of a method on a problem are kept."""
    return folder / f"{problem}.{method}.jsonl"


def read(folder: Path, problem: str, method: str) -> dict[int, Trace]:
    """The runs there are, by seed. A line that was cut off is none."""
    found: dict[int, Trace] = {}
    path = file_of(folder, problem, method)
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            trace = Trace(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[trace.seed] = trace
    return found


def run_all(
    problems: Sequence[str],
    chosen: Sequence[str],
    seeds: Iterable[int],
    folder: Path,
    *,
    workers: int,
    budget: int | None = None,
    say: Any = print,
) -> int:
    """Run what is missing, and keep each as it ends. How many failed."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {(p, m): read(folder, p, m) for p in problems for m in chosen}
    wanted = [(p, m, s) for s in seeds for p in problems for m in chosen if s not in known[p, m]]
    failed = 0
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before the workers import anything
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(run, *one, budget): one for one in wanted}
        for done, job in enumerate(as_completed(jobs), start=1):
            problem, method, seed = jobs[job]
            try:
                trace = job.result()
            except Exception as error:  # noqa: BLE001 - said, counted, and the others go on
                failed += 1
                say(f"FAILED  {problem} {method} seed {seed}: {error!r}")
                continue
            with file_of(folder, problem, method).open("a") as file:
                file.write(json.dumps(asdict(trace)) + "\n")
            last, slow = trace.best()[-1], np.median(trace.seconds)
            say(f"[{done}/{len(wanted)}] {problem} {method} seed {seed}: regret {last:.3g}, {slow:.2f} s a suggestion")
    return failed
