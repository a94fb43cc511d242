"""What a wrong hypothesis costs: experiments to target with a reasoner that is always wrong, over the honest one's.

    python -m benchmarks wrong_hypothesis --seeds 20

A hypothesis can cost in two ways. Its test uses up runs; and it advises the planner, with its prior while the test is
open and, once supported, with more (a refuted claim says nothing any more). The wrong reasoner therefore states both
kinds of wrong claim, with a prior of 0.95: that the best conditions lie in a region which an adversary who knows the
true optimum put as far from it as the runs so far allow, set against the worst run, so that its test supports it; and
the direction of an effect turned round, so that runs are spent on refuting it.

Both reasoners pay for their tests from the same budget, on the full stack, with the same seeds. The target is a
noise-free value within 5 % of the reference at a measured point (with two objectives, 0.85 of the reference
hypervolume); a campaign that never gets there counts as budget + 1. Suggestions that used advice are counted, and the
exit status is 1 when wrong advice was used in none: then nothing but the price of the tests was measured. It is 1, too,
when the ratio is above 1.2.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MOST = 1.2
"""A wrong hypothesis may cost so many times the experiments of an honest one."""
WIDTH = 0.15
"""Half the width of a wrong region, as a share of each parameter's range."""


class WrongReasoner:
    """Says that the best lies where it does not, and the opposite of what the surrogate says, and is sure of it."""

    name = "wrong"

    def __init__(self, optimum: Mapping[str, Any]) -> None:
        self.optimum = dict(optimum)

    def propose(self, situation: Any, limit: int) -> Any:
        """State a wrong region, then effects with their direction turned round."""
        from athanor.agents.hypotheses.claims import Effect
        from athanor.agents.hypotheses.statements import describe
        from athanor.agents.reasoners.statistical import StatisticalReasoner

        honest = StatisticalReasoner().propose(situation, limit)
        problem = situation.parsed_problem()
        turned = []
        for proposal in honest.proposals:
            claim = proposal.claim
            if isinstance(claim, Effect):
                other = "decreases" if claim.direction == "increases" else "increases"
                claim = claim.model_copy(update={"direction": other})
                text = describe(claim, problem)
                # On runs of its own: the region's test comes first and may use up the budget.
                changes = {"claim": claim, "statement": text, "prior": 0.95, "shares_runs_with": None}
                turned.append(proposal.model_copy(update=changes))
        region = self._region(situation, problem)
        proposals = ([region] if region is not None else []) + turned
        return honest.model_copy(update={"proposals": tuple(proposals[:limit]), "reasoner": self.name})

    def _region(self, situation: Any, problem: Any) -> Any:
        """Around the run farthest from the optimum among the better half, against the worst run; None without one."""
        from athanor.agents.hypotheses.claims import Range, Region, claim_key, parse_claim
        from athanor.agents.hypotheses.statements import describe
        from athanor.agents.reasoners.protocol import Proposal
        from benchmarks.planning.advised import decoy

        objective = problem.objectives[0]
        seen = [s for s in situation.observations if s.status == "completed" and objective.name in s.outcomes]
        ranked = sorted(seen, key=lambda s: objective.score(s.outcomes[objective.name]), reverse=True)
        if len(ranked) < 4:
            return None
        inside = decoy(problem, [s.values for s in ranked], self.optimum, 0.5)
        outside = ranked[-1]
        box = {}
        for parameter in problem.parameters:
            if parameter.kind == "categorical":
                continue
            here = parameter.to_unit(inside[parameter.name])
            low, high = (parameter.from_unit(min(1.0, max(0.0, here + step))) for step in (-WIDTH, WIDTH))
            if low < high:
                box[parameter.name] = Range(low=float(low), high=float(high))
        try:
            claim = Region(
                outcome=objective.name,
                box=box,
                inside=dict(inside),
                outside=dict(outside.values),
                better="higher" if objective.goal == "maximize" else "lower",
            )
        except ValueError:  # the worst run lies in the same region
            return None
        if any(claim_key(parse_claim(known.claim)) == claim_key(claim) for known in situation.hypotheses):
            return None
        return Proposal(
            kind="region",
            statement=describe(claim, problem),
            rationale="An adversary who knows the optimum says so.",
            claim=claim,
            prior=0.95,
        )


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

    found: Any = find(laboratory)
    if arm == "wrong":
        optimum = found.reference().values
        reasoners.make_reasoner = lambda choice="auto": WrongReasoner(optimum)
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


def advised(result: dict[str, Any]) -> int:
    """Suggestions in whose acquisition a hypothesis took part."""
    notes = [(e["why"] or {}).get("advice", []) for e in result["experiments"] if e["source"] == "planner"]
    return sum(any("used with strength" in note for note in items) for items in notes)


def verdicts(result: dict[str, Any]) -> str:
    """What became of each hypothesis, in order."""
    return ", ".join(f"{h['kind']} {h['state']}" for h in result["hypotheses"])


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

    def job(task: tuple[int, str]) -> tuple[int, str, int, int, str]:
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
            count = experiments_to_target(options.laboratory, result, options.budget)
            return seed, arm, count, advised(result), verdicts(result)

    tasks = [(seed, arm) for seed in range(1, options.seeds + 1) for arm in ("honest", "wrong")]
    needed: dict[str, dict[int, int]] = {"honest": {}, "wrong": {}}
    used: dict[str, list[int]] = {"honest": [], "wrong": []}
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed, arm, count, leaned, states in pool.map(job, tasks):
            needed[arm][seed] = count
            used[arm].append(leaned)
            print(
                f"  seed {seed} {arm}: {count}; {leaned} suggestions used advice; {states}", file=sys.stderr, flush=True
            )
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
        f"{int((honest > options.budget).sum())} and {int((wrong > options.budget).sum())}; "
        f"suggestions that used advice: {sum(used['honest'])} and {sum(used['wrong'])}; "
        f"wrong advice was used in {sum(count > 0 for count in used['wrong'])} of {len(wrong)} campaigns"
    )
    if wrong.mean() > MOST * honest.mean():
        print(f"a wrong hypothesis costs more than {MOST:g} times as many experiments", file=sys.stderr)
        return 1
    if not any(used["wrong"]):
        print("no suggestion used wrong advice: this measures the cost of testing alone", file=sys.stderr)
        return 1
    return 0
