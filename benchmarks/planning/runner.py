"""Run planners on problems and keep what came of it, one line for each run.

What is kept already is not run again, so a comparison that was cut off goes on where it was. A run is kept with the
version of its method (ours: a digest of the planners' source) and of its problem, and counts for these alone. Every run
has one thread and a process at a time has one run; seeds are taken in turn over all methods, so that a machine that
changes its speed does so for all.

A problem's name may end in `~N`: the planner knows N random points before it is asked, a few times, and its budget is
twice N: it is half way through. That is how suggestions are timed.
"""

from __future__ import annotations

import heapq
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planning import methods
from benchmarks.planning.advised import advice
from benchmarks.planning.asking import NotYet
from benchmarks.planning.instances import Posed, fingerprint, pose
from benchmarks.planning.problems import Instance, Vector

TIMED = 4
"""Suggestions asked for after N known points: as many with an odd number as with an even one."""
FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Trace:
    """One run.

    Attributes:
        problem, method, seed, budget: what was run.
        version: of the method.
        task: fingerprint of the problem.
        machine: processor, cores, Python.
        truths: of every outcome the values without noise, in the order in which evaluations ended.
        seconds: that each suggestion took.
    """

    problem: str
    method: str
    seed: int
    budget: int
    version: str
    task: str
    machine: str
    truths: dict[str, list[float]]
    seconds: list[float]

    @cached_property
    def losses(self) -> Vector:
        """What was left to gain after each evaluation (n,)."""
        return _posed(base(self.problem)[0], self.seed).losses(self.truths)


def base(problem: str) -> tuple[str, int]:
    """A problem's own name, and the number of points that are known beforehand."""
    name, _, known = problem.partition("~")
    return name, int(known or 0)


def budget_of(problem: str) -> int:
    """The evaluations of a whole run."""
    name, known = base(problem)
    return TIMED if known else _posed(name, 0).budget


@cache
def _posed(name: str, seed: int) -> Posed:
    return pose(name, seed)


@cache
def _task(name: str, seed: int) -> str:
    return fingerprint(_posed(name, seed))


def run(problem: str, method: str, seed: int, budget: int | None = None) -> Trace:
    """One campaign of one planner."""
    name, known = base(problem)
    posed = pose(name, seed)
    count = budget_of(problem) if budget is None else budget
    arm = methods.Arm.parse(method)
    hints = []
    if arm.advice:
        if not isinstance(posed, Instance):
            raise ValueError(f"{problem}: advice is compared on problems of one objective whose optimum is a point")
        hints = advice(arm.advice, posed)
    planner = methods.make(method, posed.problem, seed, 2 * known if known else count, hints)
    for number, row in enumerate(np.random.default_rng([seed, 2029]).random((known, len(posed.problem.parameters)))):
        values = posed.problem.from_unit(row.tolist())
        planner.learn(values, posed.outcomes(values, number + 1))
    # How long evaluations take matters with several workers only: it decides in which order they end.
    lasting = np.random.default_rng([seed, 2030]).uniform(0.5, 1.5, count).tolist()
    truths: dict[str, list[float]] = {outcome: [] for outcome in posed.problem.outcomes}
    seconds: list[float] = []
    running: list[tuple[float, int, Any, Any]] = []
    clock = 0.0
    while len(seconds) < count or running:
        while len(seconds) < count and len(running) < arm.workers:
            began = time.perf_counter()
            try:
                asked = planner.ask()
            except NotYet:
                if not running:
                    raise
                break  # a worker stands idle until another one is done
            seconds.append(round(time.perf_counter() - began, 4))
            values = posed.problem.validate_point(asked.values)  # a peer that leaves the box is no peer
            heapq.heappush(running, (clock + lasting[len(seconds) - 1], len(seconds), asked, values))
        clock, number, asked, values = heapq.heappop(running)
        planner.tell(asked, posed.outcomes(values, known + number))
        for outcome, value in posed.truths(values).items():
            truths[outcome].append(value)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return Trace(problem, method, seed, count, methods.version(method), _task(name, seed), machine, truths, seconds)


def file_of(folder: Path, problem: str, method: str) -> Path:
    """Where the runs of a method on a problem are kept."""
    return folder / f"{problem}.{method}.jsonl"


def read_all(folder: Path, problem: str, method: str) -> list[Trace]:
    """All whole runs of the problem as it is now, of every version, in the order in which they were kept.

    A line that was cut off is none.
    """
    found = []
    path = file_of(folder, problem, method)
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            trace = Trace(**json.loads(line))
            if trace.task == _task(base(problem)[0], trace.seed):
                found.append(trace)
        except (ValueError, TypeError):
            continue
    return found


def read(folder: Path, problem: str, method: str, version: str, budget: int | None = None) -> dict[int, Trace]:
    """The runs of one version of a method, by seed."""
    count = budget_of(problem) if budget is None else budget
    return {t.seed: t for t in read_all(folder, problem, method) if t.version == version and t.budget == count}


def version_in(folder: Path, problems: Sequence[str], chosen: Sequence[str]) -> str | None:
    """The version of a planner that a table is made of: the one that is here if it was run, else the last that was.

    `chosen` are all the ways in which it is run: with advice, with workers and without are of one version.
    """
    found = [trace.version for p in problems for m in chosen for trace in read_all(folder, p, m)]
    if methods.is_there(chosen[0]) and methods.version(chosen[0]) in found:
        return methods.version(chosen[0])
    return found[-1] if found else None


def keep(path: Path, item: Any) -> None:
    """Add a line; what was cut off before it stays a line of its own."""
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(item, allow_nan=False).encode() + b"\n")


def wanted(problems: Sequence[str], chosen: Sequence[str], seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """Every run of a comparison, seeds in turn; without what a method cannot be given."""
    pairs = [(p, m) for p in problems for m in chosen if not methods.cannot(m, _posed(base(p)[0], 0).problem)]
    return [(p, m, s) for s in seeds for p, m in pairs]


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
    """Run what is missing, and keep each as it ends. How many failed.

    With 0 workers everything runs in this process, with as many threads as it has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, str], dict[int, Trace]] = {}
    missing = []
    for p, m, s in wanted(problems, chosen, seeds):
        if (p, m) not in known:
            known[p, m] = read(folder, p, m, methods.version(m), budget)
        if s not in known[p, m]:
            missing.append((p, m, s))
    failed = 0
    if not missing:
        return failed
    for done, (one, outcome) in enumerate(_outcomes(missing, budget, workers), start=1):
        problem, method, seed = one
        if isinstance(outcome, Exception):
            failed += 1
            line = {"problem": problem, "method": method, "seed": seed, "version": methods.version(method)}
            keep(folder / FAILURES, line | {"error": repr(outcome)})
            say(f"FAILED  {problem} {method} seed {seed}: {outcome!r}")
            continue
        keep(file_of(folder, problem, method), asdict(outcome))
        last, slow = outcome.losses[-1], np.median(outcome.seconds)
        say(f"[{done}/{len(missing)}] {problem} {method} seed {seed}: {last:.3g} left, {slow:.2f} s each")
    return failed


def _outcomes(
    missing: Sequence[tuple[str, str, int]], budget: int | None, workers: int
) -> Iterator[tuple[tuple[str, str, int], Trace | Exception]]:
    """Each run with its trace, or with what went wrong, as they end; in this process without workers."""
    if not workers:
        for one in missing:
            try:
                yield one, run(*one, budget)
            except Exception as error:  # noqa: BLE001 - said, kept, counted, and the others go on
                yield one, error
        return
    before = dict(os.environ)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    anew = multiprocessing.get_context("spawn")  # so that these hold before a worker imports anything
    try:
        with ProcessPoolExecutor(workers, mp_context=anew, max_tasks_per_child=50) as pool:
            jobs = {pool.submit(run, *one, budget): one for one in missing}
            for job in as_completed(jobs):
                wrong = job.exception()
                if wrong is not None and not isinstance(wrong, Exception):
                    raise wrong
                yield jobs[job], wrong or job.result()
    finally:
        os.environ.clear()
        os.environ |= before
