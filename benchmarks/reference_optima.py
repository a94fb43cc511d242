"""Find every laboratory's reference optimum anew and compare it with the documented one.

    python -m benchmarks reference_optima [LABORATORY ...] [--tolerance 0.001] [--json]

Exits with 1 if a value differs from the documented one by more than the tolerance (relative).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from athanor.instruments.laboratory import load, names


def compare(name: str, tolerance: float) -> dict[str, Any]:
    laboratory: Any = load(name)
    documented = laboratory.reference()
    began = time.perf_counter()
    found = laboratory.recompute_reference()
    difference = found.value / documented.value - 1.0
    return {
        "laboratory": name,
        "metric": documented.metric,
        "documented": documented.value,
        "recomputed": found.value,
        "relative_difference": difference,
        "agrees": abs(difference) <= tolerance,
        "values": found.values,
        "outcomes": found.outcomes,
        "method": found.method,
        "seconds": time.perf_counter() - began,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks reference_optima", description=__doc__)
    parser.add_argument("laboratories", nargs="*", help="which; all simulated ones otherwise")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest relative difference (default 0.001)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given = parser.parse_args(arguments)
    chosen = given.laboratories or [name for name in names() if hasattr(load(name), "recompute_reference")]
    results = []
    for name in chosen:
        result = compare(name, given.tolerance)
        results.append(result)
        word = "agrees" if result["agrees"] else "DIFFERS"
        values = ", ".join(f"{key} {value:.6g}" for key, value in result["values"].items())
        print(
            f"{name}: {result['recomputed']:.6g} found, {result['documented']:.6g} documented, {word} "
            f"({result['seconds']:.0f} s)\n  {result['metric']}\n  at {values}",
            file=sys.stderr if given.json else sys.stdout,
            flush=True,
        )
    if given.json:
        print(json.dumps({"laboratories": results}))
    return 0 if all(result["agrees"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
