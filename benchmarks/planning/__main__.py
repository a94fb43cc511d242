"""Planners side by side: `run` measures a part, `table` says what was measured, `report` writes it into the README.

python -m benchmarks.planning run PART|all [--problems …] [--methods …] [--seeds 20] [--first-seed 0] [--out FOLDER]
python -m benchmarks.planning table PART|all [--out FOLDER]
python -m benchmarks.planning report [--out FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.planning import methods, runner
from benchmarks.planning.parts import PARTS

HERE = Path(__file__).parent
TRACES = HERE / "traces"
CURVES = HERE / "curves"
README = HERE.parent / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch. 0: done; 1: some runs failed; 2: something asked for is not there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "table", "report"):
        one = verbs.add_parser(verb)
        if verb != "report":
            one.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="single")
        one.add_argument("--out", type=Path, default=TRACES, help="the folder of the runs")
        one.add_argument("--budget", type=int, help="evaluations; the problem's own otherwise")
        if verb == "run":
            one.add_argument("--problems", nargs="+", help="some of the part's")
            one.add_argument("--methods", nargs="+", help="some of the part's")
            one.add_argument("--seeds", type=int, help="how many; the part's own number otherwise")
            one.add_argument("--first-seed", type=int, default=0)
            one.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at the same time")
        if verb == "report":
            one.add_argument("--readme", type=Path, default=README)
            one.add_argument("--curves", type=Path, default=CURVES)
    given = parser.parse_args(arguments)
    if given.verb == "run":
        return _run(given)
    from benchmarks.planning import judge, report, table
    from benchmarks.planning.gathered import gather

    if given.verb == "report":
        report.write(given.readme, given.curves, [gather(given.out, part, given.budget) for part in PARTS.values()])
        return 0
    for name in PARTS if given.part == "all" else [given.part]:
        found = gather(given.out, PARTS[name], given.budget)
        print(f"## {found.part.title}\n\n{table.table(found)}\n")
        print("\n".join(map(str, judge.judge(found))) + "\n")
        print("\n".join(found.notes()) + "\n")
    return 0


def _run(given: argparse.Namespace) -> int:
    parts = list(PARTS.values()) if given.part == "all" else [PARTS[given.part]]
    for kind in ("problems", "methods"):
        known = {name for part in parts for name in getattr(part, kind)}
        if strange := [name for name in getattr(given, kind) or () if name not in known]:
            print(
                f"{given.part} has no {kind} {', '.join(strange)}; it has {', '.join(sorted(known))}", file=sys.stderr
            )
            return 2
    failed = 0
    for part in parts:
        chosen = [m for m in part.methods if not given.methods or m in given.methods]
        problems = [p for p in part.problems if not given.problems or p in given.problems]
        if missing := [m for m in chosen if not methods.is_there(m)]:
            print(f"not installed here: {', '.join(missing)}; `make bench-peers` does", file=sys.stderr)
            return 2
        seeds = range(given.first_seed, given.first_seed + (given.seeds or part.seeds))
        print(f"== {part.name}", flush=True)
        failed += runner.run_all(problems, chosen, seeds, given.out, workers=given.workers, budget=given.budget)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
