"""Planners side by side: `run` measures, `table` says what was measured."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.planning import methods, runner
from benchmarks.planning.problems import TASKS

TRACES = Path(__file__).parent / "traces"


def main() -> int:
    """Dispatch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "table"):
        one = verbs.add_parser(verb)
        one.add_argument("--problems", nargs="+", choices=list(TASKS), default=list(TASKS))
        one.add_argument("--methods", nargs="+", choices=list(methods.METHODS), default=list(methods.METHODS))
        one.add_argument("--out", type=Path, default=TRACES, help="the folder of the runs")
        if verb == "run":
            one.add_argument("--seeds", type=int, default=20)
            one.add_argument("--first-seed", type=int, default=0)
            one.add_argument("--budget", type=int, help="evaluations; the problem's own otherwise")
            one.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.verb == "table":
        from benchmarks.planning import table

        print(table.table(given.out, given.problems, given.methods))
        return 0
    missing = [one for one in given.methods if not methods.is_there(one)]
    if missing:
        print(f"not installed here: {', '.join(missing)}; `make bench-peers` does", file=sys.stderr)
        return 2
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    failed = runner.run_all(given.problems, given.methods, seeds, given.out, workers=given.workers, budget=given.budget)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
