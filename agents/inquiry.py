"""Hypotheses in the loop: when to ask for them, how they are registered, which runs test them, what they advise.

The ledger holds all of it. An `asked` event carries a reasoner's whole answer in one row, so that hypotheses and
registrations made from it are the same after a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from athanor.agents.context import OPEN, SPENT
from athanor.agents.hypotheses.advice import compile_advice
from athanor.agents.hypotheses.claims import InvalidClaim
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.hypotheses.registration import (
    CAP_BLOCKS,
    RegistrationBody,
    are_separate,
    parse_registration,
    register,
)
from athanor.agents.hypotheses.verdicts import Assessment, RunResult, assess, next_step
from athanor.agents.observing import BY_HAND
from athanor.agents.planning import PlanningCancelled, PlanningFailed
from athanor.agents.reasoners.model_call import ReasoningCancelled
from athanor.agents.reasoners.protocol import Proposal, Situation
from athanor.agents.situations import describe_situation, recalled
from athanor.memory.canonical import digest
from athanor.memory.records import Event, Evidence, Experiment, Hypothesis, ModelCall, Registration, new_id

if TYPE_CHECKING:
    from athanor.agents.context import Context

AT_ONCE = 3
"""Hypotheses asked for at a time: a claim and its rival, or claims about three parameters on the same runs."""

BETWEEN = 4
"""Explored points between one settled round of hypotheses and the next."""

FEWEST_BLOCKS = 3
"""A test by pairs is only begun when the budget allows so many blocks; fewer cannot reach any threshold."""

FEWEST_LARGE_BLOCKS = 2
"""The same for blocks of more arms, whose further contrasts tell of the noise."""

DECIDED = frozenset({"supported", "refuted", "inconclusive", "void"})


class Inquiry:
    """The hypotheses of one campaign."""

    def __init__(self, context: Context) -> None:
        self.context = context

    # -- what there is ----------------------------------------------------------------------------------------------

    def _registrations(self) -> dict[str, tuple[Registration, RegistrationBody]]:
        """Registrations by hypothesis id, in the order they were made."""
        c = self.context
        return {r.hypothesis_id: (r, parse_registration(r.body)) for r in c.ledger.registrations(c.id)}

    def _hypotheses(self) -> dict[str, Hypothesis]:
        return {h.id: h for h in self.context.ledger.hypotheses(self.context.id)}

    def _asked(self) -> list[Event]:
        """The reasoner's answers so far."""
        return self.context.ledger.events(self.context.id, kinds=("asked",))

    def _runs(self) -> list[RunResult]:
        """Every confirmatory run, with its outcomes once they are known."""
        c = self.context
        owner = {r.id: r.hypothesis_id for r in c.ledger.registrations(c.id)}
        observed = {o.experiment_id: o for o in c.observations() if o.experiment_id}
        runs = []
        for e in c.experiments():
            if e.registration_id is None or e.block is None or e.arm is None:
                continue
            o = observed.get(e.id)
            outcomes = {k: v["mean"] for k, v in o.outcomes.items()} if o is not None and o.outcomes else None
            if o is not None and o.reduction == BY_HAND:
                outcomes = {}  # a test is decided by what the instrument measured: the block is dropped
            state = o.status if o is not None else e.state
            runs.append(
                RunResult(
                    experiment=e.id,
                    hypothesis=owner[e.registration_id],
                    block=e.block,
                    arm=e.arm,
                    state=state,
                    outcomes=outcomes,
                )
            )
        return runs

    def _confirmatory_left(self) -> int:
        """Confirmatory runs the budget still allows."""
        c = self.context
        used = sum(e.purpose == "confirm" and e.state in SPENT for e in c.experiments())
        allowed = int(c.spec.hypotheses.share * c.spec.budget.experiments)
        return max(0, min(allowed - used, c.spec.budget.experiments - c.spent()))

    def _open(self) -> bool:
        return any(h.state not in DECIDED for h in self._hypotheses().values())

    def is_settled(self) -> bool:
        """Whether there were hypotheses and each has its verdict."""
        hypotheses = self._hypotheses()
        return bool(hypotheses) and not self._open() and self._confirmatory_left() < 2 * FEWEST_BLOCKS

    # -- steps ------------------------------------------------------------------------------------------------------

    def recall(self) -> None:
        """Note, once, what earlier campaigns left that concerns these knobs."""
        c = self.context
        if c.ledger.events(c.id, kinds=("recalled",)):
            return
        c.ledger.add_event(c.id, "recalled", {"items": [item.model_dump(mode="json") for item in recalled(c)]})

    def hypothesise(self) -> None:
        """Ask the reasoner, when it is time, and store its whole answer in one row."""
        c = self.context
        asked = self._asked()
        self._store(asked)
        if c.reasoner is None or not self._is_due():
            return
        situation = self._situation()
        if situation is None:
            return
        try:
            answer = c.reasoner.propose(situation, AT_ONCE)
        except ReasoningCancelled:
            return
        for call in answer.calls:
            c.ledger.add_model_call(ModelCall(id=new_id("call"), campaign_id=c.id, **call.model_dump()))
        body = {
            "reasoner": answer.reasoner,
            "fallback": answer.fallback,
            "explored": self._explored(),
            "observations": len(c.observations()),
            "base_point": situation.base_point,
            "proposals": [p.model_dump(mode="json") for p in answer.proposals],
        }
        c.ledger.add_event(c.id, "asked", body)
        self._store(self._asked())
        c.notify()

    def _store(self, asked: list[Any]) -> None:
        """Make a hypothesis of every proposal in the `asked` events; those already there stay."""
        c = self.context
        known = self._hypotheses()
        ordinal = 0
        for event in asked:
            for item in event.body["proposals"]:
                ordinal += 1
                if f"{c.id}.H{ordinal}" in known:
                    continue
                proposal = Proposal.model_validate(item)
                c.ledger.add_hypothesis(
                    Hypothesis(
                        id=f"{c.id}.H{ordinal}",
                        campaign_id=c.id,
                        ordinal=ordinal,
                        kind=proposal.kind,
                        statement=proposal.statement,
                        rationale=proposal.rationale,
                        claim=proposal.claim.model_dump(mode="json"),
                        proposer=event.body["reasoner"],
                        prior=proposal.prior,
                        tainted=proposal.tainted,
                        cites=list(proposal.cites),
                    )
                )

    def _explored(self) -> int:
        """Points that were measured to explore, with outcomes."""
        c = self.context
        others = {e.id for e in c.experiments() if e.purpose in ("confirm", "reference")}
        return sum(bool(o.outcomes) and o.experiment_id not in others for o in c.observations())

    def _is_due(self) -> bool:
        c = self.context
        if c.spec.hypotheses.share == 0 or self._open():
            return False
        # With an experiment in hand this step was taken before it was planned: not again after a crash.
        if any(e.state in OPEN for e in c.experiments()):
            return False
        if self._confirmatory_left() < 2 * FEWEST_BLOCKS:
            return False
        explored = self._explored()
        tried = [int(e.body["explored"]) for e in c.ledger.events(c.id, kinds=("asked", "effects_failed"))]
        if not tried:
            return explored >= max(8, 2 * (len(c.problem.parameters) + 1))
        return explored >= tried[-1] + BETWEEN

    def _situation(self) -> Situation | None:
        """What a reasoner may see; None when planning was abandoned or there is nothing to read off yet."""
        c = self.context
        request = {
            "op": "effects",
            "planner": "bayesian",
            "problem": c.problem.model_dump(mode="json"),
            "seed": c.campaign.seed,
            "observations": c.planner_observations(),
        }
        try:
            effects = c.planner.ask(request, c.should_abandon)["effects"]
        except PlanningCancelled:
            return None
        except PlanningFailed as error:
            c.ledger.add_event(c.id, "effects_failed", {"reason": str(error), "explored": self._explored()})
            return None
        # Each round of questions draws its own numbers, and the same ones after a crash.
        seed = c.campaign.seed + len(self._registrations())
        return describe_situation(c, effects, list(self._hypotheses().values()), self._confirmatory_left(), seed)

    def register(self) -> None:
        """Freeze the test of every hypothesis that has none, rivals that share their runs together."""
        for event in self._asked():
            self._register_round(event.body)

    def _register_round(self, body: dict[str, Any]) -> None:
        c = self.context
        hypotheses = self._hypotheses()
        round_ids = self._ids_of(body)
        done = self._registrations()
        for index, hypothesis_id in enumerate(round_ids):
            h = hypotheses[hypothesis_id]
            if hypothesis_id in done or h.state in DECIDED:
                continue
            proposals = [Proposal.model_validate(item) for item in body["proposals"]]
            group = self._group(round_ids, proposals, index)
            claims = [proposals[round_ids.index(member)].claim for member in group]
            settled = {k: hypotheses[k].state for k in done}
            try:
                arms = len(compile_claim(proposals[index].claim, c.problem, body["base_point"]).points)
                cap = min(CAP_BLOCKS, self._confirmatory_left() // arms)
                if cap < (FEWEST_BLOCKS if arms == 2 else FEWEST_LARGE_BLOCKS):
                    raise InvalidClaim("the budget allows no test of it any more")
                if h.state == "draft":
                    c.ledger.set_hypothesis_state(h.id, "reviewed")
                frozen = register(
                    h.id,
                    proposals[index].claim,
                    c.problem,
                    body["base_point"],
                    position=len(done) + 1,
                    supported_before=sum(s == "supported" for s in settled.values()),
                    refuted_before=sum(s == "refuted" for s in settled.values()),
                    seed=c.campaign.seed,
                    prior=h.prior,
                    proposer=h.proposer,
                    cites=h.cites,
                    cap_blocks=cap,
                    group=group,
                    ends_by_itself=are_separate(claims),
                    alpha=c.spec.hypotheses.alpha,
                    replicates=c.spec.replicates,
                )
            except (InvalidClaim, ValueError) as error:
                c.ledger.set_hypothesis_state(h.id, "void", reason=f"it cannot be tested: {error}")
                hypotheses = self._hypotheses()
                continue
            text = frozen.model_dump(mode="json")
            c.ledger.add_registration(
                Registration(id=f"{h.id}.r", hypothesis_id=h.id, campaign_id=c.id, body=text, body_hash=digest(text))
            )
            c.ledger.set_hypothesis_state(h.id, "registered")
            hypotheses, done = self._hypotheses(), self._registrations()

    def _ids_of(self, body: dict[str, Any]) -> list[str]:
        """The hypothesis ids of one `asked` event: they are numbered through all of them."""
        c = self.context
        before = 0
        for event in self._asked():
            count = len(event.body["proposals"])
            if event.body == body:
                return [f"{c.id}.H{before + i + 1}" for i in range(count)]
            before += count
        return []

    @staticmethod
    def _group(ids: list[str], proposals: list[Proposal], index: int) -> list[str]:
        """The hypotheses tested by the same runs, the carrier first."""

        def carrier(i: int) -> int:
            shared = proposals[i].shares_runs_with
            return i if shared is None or not 0 <= shared < i else carrier(shared)

        return [ids[i] for i in range(len(ids)) if carrier(i) == carrier(index)]

    def next_confirmation(self) -> Experiment | None:
        """The next run that a registered test needs, or None when it is not its turn, none is open or the budget spent.

        Blocks and suggestions take turns: a test of a wrong claim holds up the search only for a block (ADR 0022).
        """
        c = self.context
        hypotheses = self._hypotheses()
        for registration, body in self._registrations().values():
            if body.carrier != body.hypothesis:
                continue
            if all(hypotheses[h].state in DECIDED for h in body.group if h in hypotheses):
                continue
            step = next_step(body, [r for r in self._runs() if r.hypothesis == body.hypothesis])
            if step is None:
                continue
            begun = any(r.hypothesis == body.hypothesis and r.block == step.block for r in self._runs())
            if not begun and self._confirmatory_left() < len(body.design.arms):
                self._assess(body.group, ended="the budget for confirmatory runs is spent")
                continue
            if not begun and self._is_planners_turn(len(body.design.arms)):
                return None
            names = ", ".join(h.removeprefix(f"{c.id}.") for h in body.group)
            detail = f"block {step.block}, arm {step.arm} of the registered test of {names}"
            return c.new_experiment(
                values=dict(step.values),
                purpose="confirm",
                source="reasoner",
                candidate={"why": {"method": "confirmatory run", "detail": detail, "fallback": None, "advice": []}},
                registration_id=registration.id,
                block=step.block,
                arm=step.arm,
            )
        return None

    def _is_planners_turn(self, runs: int) -> bool:
        """Whether the planner comes before the next block: as often as it has runs, if the budget has room for both."""
        c = self.context
        if c.spec.budget.experiments - c.spent() <= self._confirmatory_left():
            return False
        purposes = [e.purpose for e in sorted(c.experiments(), key=lambda e: e.ordinal)]
        if "confirm" not in purposes:
            return False
        since = purposes[len(purposes) - purposes[::-1].index("confirm") :]
        return since.count("explore") < runs

    def test(self) -> None:
        """Weigh every open test again."""
        for _, body in self._registrations().values():
            if body.carrier == body.hypothesis:
                self._assess(body.group)

    def _assess(self, group: tuple[str, ...], ended: str | None = None) -> None:
        """Store new evidence for hypotheses that share their runs and, once there is one, each one's verdict."""
        hypotheses, registrations = self._hypotheses(), self._registrations()
        open_ones = [h for h in group if h in registrations and hypotheses[h].state not in DECIDED]
        if not open_ones:
            return
        bodies = [registrations[h][1] for h in group if h in registrations]
        runs = [r for r in self._runs() if r.hypothesis == bodies[0].carrier]
        assessments = assess(bodies, runs, ended=ended)
        for hypothesis_id in open_ones:
            self._record(registrations[hypothesis_id][0], assessments[hypothesis_id], bool(runs))

    def _record(self, registration: Registration, assessment: Assessment, is_begun: bool) -> None:
        c, hypothesis_id = self.context, registration.hypothesis_id
        state = self._hypotheses()[hypothesis_id].state
        if state == "registered" and (is_begun or assessment.verdict is not None):
            c.ledger.set_hypothesis_state(hypothesis_id, "testing")
        stored = {e.block for e in c.ledger.evidence(registration_id=registration.id)}
        for block, evidence in assessment.trail:
            if block.number in stored:
                continue
            assert block.statistic is not None
            c.ledger.add_evidence(
                Evidence(
                    id=f"{registration.id}/b{block.number}",
                    registration_id=registration.id,
                    block=block.number,
                    experiments=list(block.experiments),
                    statistic=block.statistic,
                    log_e_support=evidence.log_e_support,
                    log_e_refute=evidence.log_e_refute,
                )
            )
        if assessment.verdict is not None:
            verdict = {
                "verdict": assessment.verdict,
                "reason": assessment.reason,
                "evidence": assessment.latest.model_dump(mode="json") if assessment.latest else None,
            }
            c.ledger.set_hypothesis_state(hypothesis_id, assessment.verdict, reason=assessment.reason, body=verdict)

    def advice(self) -> list[dict[str, Any]]:
        """What the planner may lean on now: bounded, decaying, and only from hypotheses not refuted."""
        c = self.context
        items = []
        registrations, hypotheses = self._registrations(), self._hypotheses()
        ordinal = 0
        for event in self._asked():
            for _ in event.body["proposals"]:
                ordinal += 1
                h = hypotheses[f"{c.id}.H{ordinal}"]
                if h.id not in registrations:
                    continue
                claim, given_at = registrations[h.id][1].claim, int(event.body["observations"])
                made = compile_advice(h.id, claim, c.problem, h.state, h.prior, given_at, h.tainted)
                if made is not None:
                    items.append(made.model_dump(mode="json"))
        return items

    def close(self, reason: str) -> None:
        """End every open test; what has no verdict by now stays undecided."""
        for hypothesis_id, h in self._hypotheses().items():
            if h.state in DECIDED:
                continue
            if found := self._registrations().get(hypothesis_id):
                self._assess(found[1].group, ended=reason)
            else:
                self.context.ledger.set_hypothesis_state(hypothesis_id, "void", reason=f"never tested: {reason}")
