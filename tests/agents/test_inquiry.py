"""Hypotheses in the loop, on a real ledger: registered first, run within their share, the same after a crash."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from athanor.agents.context import Context
from athanor.agents.hypotheses.claims import Effect, Span
from athanor.agents.inquiry import DECIDED, FEWEST_BLOCKS, Inquiry
from athanor.agents.observing import BY_HAND
from athanor.agents.opening import envelope, instrument_place, open_campaign
from athanor.agents.planning import PlanningFailed
from athanor.agents.reasoners.protocol import Proposal, Proposals, Situation
from athanor.agents.spec import Spec
from athanor.governance.gate import Gate
from athanor.instruments.laboratory import load
from athanor.memory import places
from athanor.memory.ledger import Ledger
from athanor.memory.records import Experiment, Observation
from athanor.memory.signing import GateKey
from athanor.memory.verify import verify

BASE = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.2, "temperature": 60.0}


class Asked:
    """A reasoner with one thing to say: concentration raises the yield, or it lowers it. Both are tested at once."""

    name = "scripted"

    def __init__(self) -> None:
        self.situations: list[Situation] = []

    def propose(self, situation: Situation, limit: int) -> Proposals:
        self.situations.append(situation)
        ends = {"outcome": "sty", "parameter": "concentration", "low": 0.1, "high": 0.4, "margin": 100.0}
        proposals = [
            Proposal(
                kind="effect",
                statement=f"Concentration {direction} sty",
                rationale="scripted",
                claim=Effect(direction=direction, **ends),  # type: ignore[arg-type]
                prior=0.5,
                shares_runs_with=shared,
            )
            for direction, shared in (("increases", None), ("decreases", 0))
        ]
        return Proposals(proposals=tuple(proposals[:limit]), reasoner=self.name)


class Several(Asked):
    """Three claims about three parameters on the same four runs; only concentration does anything."""

    def propose(self, situation: Situation, limit: int) -> Proposals:
        self.situations.append(situation)
        ends = {"concentration": (0.1, 0.4), "equivalents": (1.0, 5.0), "temperature": (40.0, 100.0)}
        spans = {name: Span(parameter=name, low=low, high=high) for name, (low, high) in ends.items()}
        proposals = [
            Proposal(
                kind="effect",
                statement=f"{name} increases sty",
                rationale="scripted",
                claim=Effect(
                    outcome="sty",
                    parameter=name,
                    low=own.low,
                    high=own.high,
                    direction="increases",
                    across=tuple(span for other, span in spans.items() if other != name),
                ),
                prior=0.5,
                shares_runs_with=None if i == 0 else 0,
            )
            for i, (name, own) in enumerate(spans.items())
        ]
        return Proposals(proposals=tuple(proposals[:limit]), reasoner=self.name)


class Reading:
    """In the planner's place: it has read off effects, or it could not."""

    def __init__(self) -> None:
        self.fails = False

    def ask(self, request: dict[str, Any], should_cancel: Any = None) -> dict[str, Any]:
        assert request["op"] == "effects"
        if self.fails:
            raise PlanningFailed("no fit")
        return {"effects": {"incumbent": BASE}}


class Room:
    """One campaign with ten measured points, and the inquiry into it; `again` is what a new process finds."""

    def __init__(self, folder: Path, experiments: int = 40, share: float = 0.5) -> None:
        self.ledger = Ledger.create(folder / "ledger.db")
        spec = Spec.model_validate(
            {
                "name": "n",
                "question": "q?",
                "laboratory": "snar-flow",
                "parameters": {
                    "residence_time": {"low": 0.5, "high": 2.0, "unit": "min"},
                    "equivalents": {"low": 1.0, "high": 5.0},
                    "concentration": {"low": 0.1, "high": 0.5, "unit": "mol/L"},
                    "temperature": {"low": 30, "high": 120, "unit": "degC"},
                },
                "objectives": {"sty": {"goal": "maximize", "unit": "kg/m^3/h"}},
                "budget": {"experiments": experiments},
                "hypotheses": {"share": share},
            }
        )
        self.id = open_campaign(spec, self.ledger)
        gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), "tester")
        self.grant = gate.grant(self.id, "snar-flow", 0, envelope(spec), experiments, timedelta(hours=1))
        self.lease = self.ledger.acquire_lease("instrument:snar-flow", "tester", 600)
        for number in range(1, 11):
            self.observe(None, {"sty": 1000.0 + number}, f"{self.id}/h{number}")
        self.reasoner, self.planner = Asked(), Reading()

    def observe(
        self, experiment: Experiment | None, outcomes: dict[str, float], identifier: str, reduction: str = "mean"
    ) -> None:
        self.ledger.add_observation(
            Observation(
                id=identifier,
                campaign_id=self.id,
                experiment_id=experiment.id if experiment else None,
                values=experiment.values if experiment else BASE,
                outcomes={k: {"mean": v, "sem": None} for k, v in outcomes.items()},
                source="reasoner" if experiment else "historical",
                reduction=reduction,
                reduction_hash="none",
            )
        )

    def again(self) -> Inquiry:
        campaign = self.ledger.campaign(self.id)
        spec = Spec.model_validate(campaign.spec)
        nobody: Any = None
        return Inquiry(
            Context(
                ledger=self.ledger,
                campaign=campaign,
                spec=spec,
                problem=spec.problem(),
                profile=load("snar-flow").profile(),
                place=instrument_place(campaign, self.ledger),
                executor=nobody,
                planner=cast(Any, self.planner),
                reasoner=self.reasoner,
                lease=nobody,
                instrument_lease=nobody,
            )
        )

    def suggest(self, inquiry: Inquiry) -> None:
        """Run what stands for a suggestion of the planner."""
        number = 1 + sum(e.number is not None for e in self.ledger.experiments(self.id))
        why = {"method": "scripted", "detail": "", "fallback": None, "advice": []}
        self.run(
            inquiry.context.new_experiment(
                values=BASE, purpose="explore", source="planner", number=number, candidate={"why": why}
            )
        )

    def confirmation(self, inquiry: Inquiry) -> Experiment | None:
        """The next confirmatory run, after the planner has had its turn; None when no test is open any more."""
        while (experiment := inquiry.next_confirmation()) is None:
            if all(h.state in DECIDED for h in self.ledger.hypotheses(self.id)):
                return None
            self.suggest(inquiry)
        return experiment

    def confirmations(self) -> list[Experiment]:
        return [e for e in self.ledger.experiments(self.id) if e.purpose == "confirm"]

    def run(self, experiment: Experiment, reduction: str = "mean") -> None:
        """Run an experiment: concentration does raise the yield."""
        self.ledger.add_experiment(experiment)
        self.ledger.set_experiment_state(experiment.id, "approved", decision_id=self.grant.id)
        lease = self.lease
        self.ledger.commit_intent(experiment.id, self.grant.id, "snar-flow", lease.holder, lease.epoch)
        self.ledger.set_experiment_state(experiment.id, "running")
        self.ledger.set_experiment_state(experiment.id, "completed")
        wobble = 30.0 * (experiment.ordinal % 5)
        outcome = {"sty": 5000.0 * float(experiment.values["concentration"]) + wobble}
        self.observe(experiment, outcome, f"{experiment.id}/o1", reduction)


@pytest.fixture
def room(home: Path) -> Room:
    return Room(home)


def begin(room: Room) -> Inquiry:
    inquiry = room.again()
    inquiry.hypothesise()
    inquiry.register()
    return inquiry


def test_a_round_is_registered_before_any_run_of_it(room: Room) -> None:
    inquiry = room.again()
    inquiry.hypothesise()
    assert [h.state for h in room.ledger.hypotheses(room.id)] == ["draft", "draft"]
    assert inquiry.next_confirmation() is None
    inquiry.register()
    assert [h.state for h in room.ledger.hypotheses(room.id)] == ["registered", "registered"]
    experiment = inquiry.next_confirmation()
    assert experiment is not None
    assert experiment.registration_id in {r.id for r in room.ledger.registrations(room.id)}
    assert experiment.purpose == "confirm"


def test_rivals_share_their_runs_and_get_opposite_verdicts(room: Room) -> None:
    inquiry = begin(room)
    while (experiment := room.confirmation(inquiry)) is not None:
        room.run(experiment)
        inquiry.test()
    first, second = room.ledger.hypotheses(room.id)
    assert (first.state, second.state) == ("supported", "refuted")
    carriers = {e.registration_id for e in room.confirmations()}
    assert carriers == {f"{first.id}.r"}
    shared = [[e.experiments for e in room.ledger.evidence(registration_id=f"{h.id}.r")] for h in (first, second)]
    assert shared[0][: len(shared[1])] == shared[1][: len(shared[0])]
    assert not any(item["id"] == second.id for item in inquiry.advice())
    assert verify(room.ledger).is_clean  # which also asks that each registration precede the intents counted for it


def test_three_parameters_are_tested_by_the_same_runs_each_to_its_own_end(home: Path) -> None:
    room = Room(home, experiments=60)
    room.reasoner = Several()
    inquiry = begin(room)
    bodies = [r.body for r in room.ledger.registrations(room.id)]
    assert [b["ending"] for b in bodies] == ["each by itself"] * 3
    assert len({b["design_key"] for b in bodies}) == 1 and {b["cap_blocks"] for b in bodies} == {7}
    while (experiment := room.confirmation(inquiry)) is not None:
        room.run(experiment)
        inquiry.test()
    states = {h.statement.split()[0]: h.state for h in room.ledger.hypotheses(room.id)}
    assert states["concentration"] == "supported" and states["temperature"] in ("inconclusive", "supported", "refuted")
    counts = [len(room.ledger.evidence(registration_id=r.id)) for r in room.ledger.registrations(room.id)]
    assert counts[0] < max(counts), "the carrier was decided first, and the runs went on"
    assert len(room.confirmations()) == 4 * max(counts) <= 30
    assert verify(room.ledger).is_clean


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_confirmatory_runs_keep_to_their_share(home: Path, share: float) -> None:
    room = Room(home, share=share)
    inquiry = begin(room)
    while (experiment := room.confirmation(inquiry)) is not None:
        room.run(experiment)
        inquiry.test()
    used = len(room.confirmations())
    assert 0 < used <= int(share * 40)
    assert {h.state for h in room.ledger.hypotheses(room.id)} <= {"supported", "refuted", "inconclusive"}


def purposes(room: Room) -> list[str]:
    return [e.purpose for e in sorted(room.ledger.experiments(room.id), key=lambda e: e.ordinal)]


def test_the_planner_has_its_turn_between_two_blocks(home: Path) -> None:
    room = Room(home, experiments=60)
    room.reasoner = Several()
    inquiry = begin(room)
    for _ in range(9):
        experiment = room.confirmation(inquiry)
        assert experiment is not None
        room.run(experiment)
        inquiry.test()
    assert purposes(room) == [*["confirm"] * 4, *["explore"] * 4, *["confirm"] * 4, *["explore"] * 4, "confirm"]
    assert room.again().next_confirmation() is not None, "a block that has begun is finished first"


def test_no_turn_is_given_that_the_tests_share_cannot_spare(home: Path) -> None:
    room = Room(home, experiments=20)
    inquiry = begin(room)
    for _ in range(10):
        room.suggest(inquiry)
    while (experiment := inquiry.next_confirmation()) is not None:
        room.run(experiment)
        inquiry.test()
    assert set(purposes(room)[10:]) == {"confirm"}
    assert {h.state for h in room.ledger.hypotheses(room.id)} <= DECIDED


def test_nobody_is_asked_when_the_share_allows_no_test(home: Path) -> None:
    room = Room(home, experiments=10, share=0.1 * (2 * FEWEST_BLOCKS - 1))
    begin(room)
    assert room.reasoner.situations == []


def test_a_crash_between_the_answer_and_its_hypotheses_changes_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, died = room.ledger.add_hypothesis, []

    def die_at_the_second(hypothesis: Any) -> Any:
        if hypothesis.ordinal == 2 and not died:
            died.append(hypothesis.id)
            raise RuntimeError("killed")
        return add(hypothesis)

    monkeypatch.setattr(room.ledger, "add_hypothesis", die_at_the_second)
    with pytest.raises(RuntimeError, match="killed"):
        room.again().hypothesise()
    assert len(room.ledger.hypotheses(room.id)) == 1
    inquiry = begin(room)
    assert len(room.reasoner.situations) == 1, "the reasoner was asked a second time"
    assert [h.statement for h in room.ledger.hypotheses(room.id)] == [
        "Concentration increases sty",
        "Concentration decreases sty",
    ]
    assert len(room.ledger.registrations(room.id)) == 2
    assert inquiry.next_confirmation() is not None


def test_a_crash_between_two_registrations_changes_neither(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = Room(home / "a"), Room(home / "b")
    begin(whole)
    add = broken.ledger.add_registration

    def die_after_the_first(registration: Any) -> Any:
        if registration.hypothesis_id.endswith("H2"):
            raise RuntimeError("killed")
        return add(registration)

    with monkeypatch.context() as patch:
        patch.setattr(broken.ledger, "add_registration", die_after_the_first)
        with pytest.raises(RuntimeError, match="killed"):
            begin(broken)
    begin(broken)

    def bodies(room: Room) -> list[str]:
        return [str(r.body).replace(room.id, "c") for r in room.ledger.registrations(room.id)]

    assert bodies(broken) == bodies(whole)


def test_what_a_person_entered_decides_no_registered_test(room: Room) -> None:
    inquiry = begin(room)
    first = inquiry.next_confirmation()
    assert first is not None
    room.run(first, BY_HAND)
    inquiry.test()
    second = room.confirmation(inquiry)
    assert second is not None and second.block == (first.block or 0) + 1, "its block is dropped, another one begins"
    assert room.ledger.evidence(campaign=room.id) == []


def test_steps_taken_twice_change_nothing(room: Room) -> None:
    inquiry = begin(room)
    experiment = inquiry.next_confirmation()
    assert experiment is not None
    room.run(experiment)
    for _ in range(2):
        for step in (inquiry.recall, inquiry.hypothesise, inquiry.register, inquiry.test):
            step()
    assert len(room.ledger.hypotheses(room.id)) == len(room.ledger.registrations(room.id)) == 2
    assert len(room.ledger.events(room.id, kinds=("recalled",))) == 1
    assert len(room.reasoner.situations) == 1


def test_a_surface_that_cannot_be_read_is_noted_and_not_asked_about_at_once_again(room: Room) -> None:
    room.planner.fails = True
    inquiry = room.again()
    inquiry.hypothesise()
    inquiry.hypothesise()
    [event] = room.ledger.events(room.id, kinds=("effects_failed",))
    assert "no fit" in event.body["reason"]
    assert room.reasoner.situations == []


@pytest.mark.parametrize(("blocks", "verdict"), [(0, "void"), (1, "inconclusive")])
def test_the_end_of_a_campaign_leaves_nothing_open(room: Room, blocks: int, verdict: str) -> None:
    inquiry = begin(room)
    while len(room.ledger.evidence(registration_id=f"{room.id}.H1.r")) < blocks:
        experiment = room.confirmation(inquiry)
        assert experiment is not None
        room.run(experiment)
        inquiry.test()
    inquiry.close("cancelled by a person")
    assert {h.state for h in room.ledger.hypotheses(room.id)} == {verdict}
    assert all("cancelled" in (h.reason or "") for h in room.ledger.hypotheses(room.id))
