from __future__ import annotations

from itertools import product

import pytest

from athanor.memory.errors import Duplicate, IllegalTransition, InvalidRecord, NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.transitions import CAMPAIGN, HYPOTHESIS, STATES
from athanor.memory.verify import verify
from tests.memory.conftest import Maker


def paths(table: dict[str, frozenset[str]], first: str) -> dict[str, list[str]]:
    """Return, for each state, the states gone through to reach it."""
    found: dict[str, list[str]] = {first: []}
    while len(found) < len(table):
        for old in list(found):
            for new in table[old]:
                found.setdefault(new, [*found[old], new])
    return found


def test_campaigns_share_a_problem(ledger: Ledger, make: Maker) -> None:
    one = ledger.add_campaign(make.campaign("c1"))
    two = ledger.add_campaign(make.campaign("c2"))
    assert ledger.campaigns() == [one, two]
    assert ledger.problem(make.problem_hash) == one.problem
    with pytest.raises(InvalidRecord, match="another problem"):
        ledger.add_campaign(make.campaign("c3", problem={"parameters": ["u"]}))
    with pytest.raises(Duplicate, match="c1"):
        ledger.add_campaign(make.campaign("c1"))
    with pytest.raises(NotFound, match="c9"):
        ledger.campaign("c9")


def test_every_pair_of_campaign_states(ledger: Ledger, make: Maker) -> None:
    reach = paths(dict(CAMPAIGN), "queued")
    for number, (old, new) in enumerate(product(STATES["campaign"], repeat=2)):
        campaign = ledger.add_campaign(make.campaign(f"c{number}")).id
        for step in reach[old]:
            ledger.set_campaign_state(campaign, step)  # type: ignore[arg-type]
        if new in CAMPAIGN[old]:
            ledger.set_campaign_state(campaign, new, "why")  # type: ignore[arg-type]
            stored = ledger.campaign(campaign)
            assert (stored.state, stored.reason) == (new, "why")
            assert (stored.finished_at is not None) == (not CAMPAIGN[new])
        else:
            with pytest.raises(IllegalTransition):
                ledger.set_campaign_state(campaign, new)  # type: ignore[arg-type]
            assert ledger.campaign(campaign).state == old
    assert verify(ledger).is_clean


def test_every_pair_of_hypothesis_states(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    reach = paths(dict(HYPOTHESIS), "draft")
    for number, (old, new) in enumerate(product(STATES["hypothesis"], repeat=2), 1):
        hypothesis = ledger.add_hypothesis(make.hypothesis(number)).id
        for step in reach[old]:
            ledger.set_hypothesis_state(hypothesis, step)  # type: ignore[arg-type]
        if new in HYPOTHESIS[old]:
            ledger.set_hypothesis_state(hypothesis, new, "why", {"e": 1.0})  # type: ignore[arg-type]
            assert ledger.hypothesis(hypothesis).verdict == {"e": 1.0}
        else:
            with pytest.raises(IllegalTransition):
                ledger.set_hypothesis_state(hypothesis, new)  # type: ignore[arg-type]
            assert ledger.hypothesis(hypothesis).state == old
    assert verify(ledger).is_clean


def test_requests_stand_until_cleared(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    ledger.request("c1", "pause", "Ada")
    before = ledger.changes()
    ledger.request("c1", "pause", "Ada")
    assert ledger.changes() == before
    ledger.request("c1", "cancel", "Bob")
    assert ledger.campaign("c1").requested == "cancel"
    ledger.clear_request("c1")
    assert ledger.campaign("c1").requested == "none"
    ledger.set_campaign_state("c1", "cancelled")
    with pytest.raises(InvalidRecord, match="ended"):
        ledger.request("c1", "pause", "Ada")
    with pytest.raises(NotFound):
        ledger.request("c9", "pause", "Ada")
    assert verify(ledger).is_clean


def test_a_registration_is_one_for_each_hypothesis_and_true_to_its_hash(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    ledger.add_campaign(make.campaign("c2"))
    ledger.add_hypothesis(make.hypothesis())
    registration = make.registration()
    with pytest.raises(InvalidRecord, match="digest"):
        ledger.add_registration(registration.model_copy(update={"body": {"margin": 9.0}}))
    with pytest.raises(InvalidRecord, match="belongs to campaign c1"):
        ledger.add_registration(registration.model_copy(update={"campaign_id": "c2"}))
    ledger.add_registration(registration)
    assert ledger.registrations("c1") == [registration] == [ledger.registration(registration.id)]
    with pytest.raises(Duplicate):
        ledger.add_registration(registration.model_copy(update={"id": "another"}))


def test_evidence_is_read_by_registration_and_by_campaign(ledger: Ledger, make: Maker) -> None:
    for campaign in ("c1", "c2"):
        ledger.add_campaign(make.campaign(campaign))
        ledger.add_hypothesis(make.hypothesis(campaign=campaign))
        ledger.add_registration(make.registration(f"{campaign}.H1", campaign))
    first = ledger.add_evidence(make.evidence(0))
    second = ledger.add_evidence(make.evidence(1))
    other = ledger.add_evidence(make.evidence(0, registration="c2.H1.r"))
    assert ledger.evidence("c1.H1.r") == [first, second] == ledger.evidence(campaign="c1")
    assert ledger.evidence() == [first, second, other]
    with pytest.raises(Duplicate):
        ledger.add_evidence(make.evidence(1))
    with pytest.raises(NotFound):
        ledger.add_evidence(make.evidence(registration="none"))
