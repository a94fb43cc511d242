"""What a wrong hypothesis costs: experiments to target with a reasoner that is always wrong, over the honest one's.

    python -m benchmarks wrong_hypothesis --seeds 20

The wrong reasoner turns every effect the statistical reasoner believes in round, with a prior of 0.95. Both pay for
their tests from the same budget, on the full stack, with the same seeds. The target is a noise-free value within 5 % of
the reference at a measured point; a campaign that never gets there counts as budget + 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


class WrongReasoner:
    """Says the opposite of what the surrogate says, and is sure of it."""

    name = "wrong"

    def propose(self, situation: Any, limit: int) -> Any:
        """Turn the direction of every effect round."""
        from athanor.agents.hypotheses.claims import Effect
        from athanor.agents.hypotheses.statements import describe
        from athanor.agents.reasoners.statistical import StatisticalReasoner

        honest = StatisticalReasoner().propose(situation, limit)
        turned = []
        for proposal in honest.proposals:
            claim = proposal.claim
            if isinstance(claim, Effect):
                other = "decreases" if claim.direction == "increases" else "increases"
                claim = claim.model_copy(update={"direction": other})
                text = describe(claim, situation.parsed_problem())
                proposal = proposal.model_copy(update={"claim": claim, "statement": text, "prior": 0.95})
            turned.append(proposal)
        return honest.model_copy(update={"proposals": tuple(turned), "reasoner": self.name})


def child(laboratory: str, seed: int, budget: int, arm: str, folder: Path) -> None:
    """Run one campaign in this process and print its results."""
    from datetime import timedelta

    from athanor.agents import reasoners
    from athanor.agents.campaign import envelope, open_campaign, results, run_campaign, shut_down_laboratory
    from athanor.agents.spec import Spec, load
    from athanor.governance.gate import Gate
    from athanor.instruments.laboratory import load as find
    from athanor.memory import places
    from athanor.memory.ledger import Ledger
    from athanor.memory.signing import GateKey

    if arm == "wrong":
        reasoners.make_reasoner = lambda choice="auto": WrongReasoner()
    found: Any = find(laboratory)
    spec = load(found.campaign_file())
    ledger = Ledger.create(folder / "ledger.db")
    campaign_id = open_campaign(spec, ledger, seed=seed, budget=budget)
    spec = Spec.model_validate(ledger.campaign(campaign_id).spec)
    gate = Gate(ledger, GateKey.load_or_create(places.keys_dir()), "benchmark")
    gate.grant(campaign_id, ledger.campaign(campaign_id).instrument, 0, envelope(spec), budget, timedelta(hours=2))
    try:
        run_campaign(campaign_id, ledger)
        print(json.dumps(results(ledger, campaign_id)))
    finally:
        shut_down_laboratory(ledger, campaign_id)


def experiments_to_target(laboratory: str, result: dict[str, Any], budget: int) -> int:
    """The place of the first measured point whose noise-free outcome is good enough."""
    from athanor.agents.spec import load as load_spec
    from athanor.instruments.laboratory import load
    from benchmarks.campaigns import hypervolume

    found: Any = load(laboratory)
    spec = load_spec(found.campaign_file())
    reference = found.reference()
    problem = spec.problem()
    seen: list[dict[str, Any]] = []
    for place, e in enumerate(result["experiments"], 1):
        if not e["outcomes"]:
            continue
        seen.append(e["values"])
        if len(problem.objectives) > 1:
            if hypervolume(found, spec, seen) >= 0.85 * reference.value:
                return place
            continue
        truth = found.truth(e["values"])
        [objective] = problem.objectives
        goal = reference.outcomes[objective.name]
        near = abs(truth[objective.name] - goal) <= 0.05 * abs(goal)
        if near and all(c.is_satisfied(truth[c.name]) for c in problem.outcome_constraints):
            return place
    return budget + 1


def main(argv: list[str]) -> int:
    """Run both arms and print the ratio with a bootstrap interval over seeds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks wrong_hypothesis", description=__doc__)
    parser.add_argument("--laboratory", default="ald-window")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--child", nargs=3, metavar=("SEED", "ARM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        seed, arm, folder = options.child
        child(options.laboratory, int(seed), options.budget, arm, Path(folder))
        return 0

    def job(task: tuple[int, str]) -> tuple[int, str, int]:
        seed, arm = task
        with tempfile.TemporaryDirectory(prefix="ath-w") as text:
            folder = Path(text)
            names = {"ATHANOR_HOME": "home", "ATHANOR_KEYS": "keys", "ATHANOR_RUNTIME": "run"}
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **{k: str(folder / v) for k, v in names.items()}}
            command = [sys.executable, "-m", "benchmarks", "wrong_hypothesis", "--laboratory", options.laboratory]
            command += ["--budget", str(options.budget), "--child", str(seed), arm, text]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"seed {seed}, {arm}: {done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            return seed, arm, experiments_to_target(options.laboratory, result, options.budget)

    tasks = [(seed, arm) for seed in range(1, options.seeds + 1) for arm in ("honest", "wrong")]
    needed: dict[str, dict[int, int]] = {"honest": {}, "wrong": {}}
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed, arm, count in pool.map(job, tasks):
            needed[arm][seed] = count
            print(f"  seed {seed} {arm}: {count}", file=sys.stderr, flush=True)
    import numpy as np

    honest = np.array([needed["honest"][s] for s in sorted(needed["honest"])], float)
    wrong = np.array([needed["wrong"][s] for s in sorted(needed["wrong"])], float)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(honest), (10_000, len(honest)))
    spread = wrong[picks].mean(1) / honest[picks].mean(1)
    low, high = np.quantile(spread, [0.025, 0.975])
    print(
        f"{options.laboratory}: experiments to target, mean over {len(honest)} seeds: honest {honest.mean():.1f}, "
        f"wrong {wrong.mean():.1f}, ratio {wrong.mean() / honest.mean():.2f} (95 % interval {low:.2f} to {high:.2f}); "
        f"medians {statistics.median(honest):g} and {statistics.median(wrong):g}; never reached: "
        f"{int((honest > options.budget).sum())} and {int((wrong > options.budget).sum())}"
    )
    return 0
