"""How long a suggestion from a large pool takes, and how much memory: `python -m benchmarks pool_latency`.

One core. A pool of random points, observations at some of its rows, one CSV file read as a campaign reads it. Reading
happens once per campaign and process, the first suggestion divides the pool into neighbourhoods, later ones do not.
Memory is the largest that the process ever held, libraries included. Everything runs in one thread, so that processor
time (`cpu`) is what it takes on a core that nobody else uses.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MOST_S = 5.0
MOST_MB = 2048.0


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(path: Path, rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["vial", *(f"x{i}" for i in range(columns))]) + "\n")
        for start in range(0, rows, 10_000):
            block = rng.random((min(10_000, rows - start), columns)).round(6)
            file.writelines(f"V{start + k}," + ",".join(map(repr, row)) + "\n" for k, row in enumerate(block.tolist()))


def measure(path: Path, columns: int, observations: int, suggestions: int, objectives: int) -> dict[str, Any]:
    from athanor.agents.pool_spec import PoolSpec
    from athanor.agents.pools import read_pool
    from athanor.planners import BayesianPlanner, Continuous, Objective, Observation, Problem

    names = ("f", "g")[:objectives]
    problem = Problem([Continuous(f"x{i}", 0, 1) for i in range(columns)], [Objective(n, "maximize") for n in names])
    # Whatever is loaded on first use is loaded before the clock starts.
    warm = BayesianPlanner(problem)
    warm.ingest(
        [
            Observation(values=dict.fromkeys(problem.names, k / 9), outcomes=dict.fromkeys(names, float(k * k % 7)))
            for k in range(10)
        ]
    )
    warm.suggest()
    result: dict[str, Any] = {"before_mb": megabytes()}
    begin, cpu = time.perf_counter(), time.process_time()
    pool = read_pool(PoolSpec(file=str(path), label="vial"), problem)
    result |= {"rows": len(pool), "read_s": time.perf_counter() - begin, "read_cpu_s": time.process_time() - cpu}
    result["read_mb"] = megabytes()

    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, columns))

    def truth(point: dict[str, Any]) -> dict[str, float]:
        x = np.array(list(point.values()))
        found = (-np.square(x - 0.35).sum() + np.sin(5 * x @ weights[0]), float(x @ weights[1]))
        return dict(zip(names, map(float, found), strict=False))

    planner = BayesianPlanner(problem, seed=1, pool=pool)
    for row in rng.choice(len(pool), observations, replace=False).tolist():
        point = pool.values(row)
        planner.ingest([Observation(values=point, outcomes=truth(point))])
    times, cpus = [], []
    for _ in range(suggestions):
        # As in a campaign, where the planner is built anew for every suggestion and the pool is kept.
        planner = BayesianPlanner.from_json(planner.to_json(), pool=pool)
        begin, cpu = time.perf_counter(), time.process_time()
        [candidate] = planner.suggest()
        times.append(time.perf_counter() - begin)
        cpus.append(time.process_time() - cpu)
        point = dict(candidate.values)
        planner.ingest([Observation(candidate_id=candidate.id, values=point, outcomes=truth(point))])
    return result | {
        "observations": observations,
        "method": candidate.why.method,
        "first_s": times[0],
        "first_cpu_s": cpus[0],
        "median_s": statistics.median(times[1:]),
        "median_cpu_s": statistics.median(cpus[1:]),
        "worst_cpu_s": max(cpus),
        "peak_mb": megabytes(),
    }


def main(arguments: list[str]) -> int:
    """Measure once, and return 1 where suggestions after the first took too long, or the memory was too much."""
    parser = argparse.ArgumentParser(prog="pool_latency", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--observations", type=int, default=100)
    parser.add_argument("--suggestions", type=int, default=6)
    parser.add_argument("--objectives", type=int, default=1, choices=(1, 2))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.csv"
        write(path, asked.rows, asked.columns)
        found = measure(path, asked.columns, asked.observations, asked.suggestions, asked.objectives)
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}, indent=1))
    return int(found["worst_cpu_s"] > MOST_S or found["peak_mb"] > MOST_MB)
