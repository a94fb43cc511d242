"""Run one benchmark, or all of them."""

from __future__ import annotations

import importlib
import subprocess
import sys

BENCHMARKS = {
    "reference_optima": "the reference optimum of every laboratory, recomputed and compared with the documented one",
    "campaigns": "40-experiment campaigns over 20 seeds on the full stack, beside a random baseline",
    "wrong_hypothesis": "what a reasoner that is always wrong costs, in experiments to target",
    "transfer": "experiments to a target with earlier data: related, shifted, useless, adversarial, beside none",
    "health": "how often the model's health check accuses healthy models, and finds what is wrong with sick ones",
    "kill_matrix": "200 SIGKILLs of campaign, worker, recovery process, controller: what was lost, repeated, not told",
    "hostile_plans": "100,000 hostile plans given to the engine: how many sets outside the limits reach the controller",
    "console_load": "50 people watching 10 campaigns on a ledger of 10,000 experiments, for an hour",
    "first_page": "from the start of `athanor console` to its first page in Chromium",
    "stop_latency": "Stop All in eight states, on a local socket and over EPICS: seconds to the last position change",
    "pool_latency": "a suggestion from a pool of a million rows: seconds on one core, and memory",
    "large_ledger": "what a page of the console costs on 10,000 experiments, beside a hundredth of them",
}

AGAIN = {"console_load": ["--minutes", "10", "--bayesian"]}
"""What is measured in another way, too, where all are."""


def main() -> int:
    """Dispatch to a module of this folder."""
    name, *rest = sys.argv[1:] or ["all"]
    if name in ("-h", "--help"):
        print("python -m benchmarks [NAME [OPTIONS]]\n")
        for key, text in BENCHMARKS.items():
            print(f"  {key:20} {text}")
        return 0
    if name != "all" and name not in BENCHMARKS:
        print(f"no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if name != "all":
        print(f"== {name}", flush=True)
        return int(importlib.import_module(f"benchmarks.{name}").main(rest))
    worst = 0
    for key in BENCHMARKS:  # each in a process of its own: some change what processes of theirs inherit
        for options in [[], *([AGAIN[key]] if key in AGAIN else [])]:
            worst = max(worst, abs(subprocess.call([sys.executable, "-m", "benchmarks", key, *options])))
    return worst


if __name__ == "__main__":
    sys.exit(main())
