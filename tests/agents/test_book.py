from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athanor.agents.book import Book
from athanor.agents.context import propose
from athanor.agents.opening import open_campaign
from athanor.instruments.laboratory import load
from athanor.memory.ledger import Ledger
from athanor.memory.records import Observation


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["propose", "withdraw", "observe", "read"]), max_size=25))
def test_the_book_says_what_the_ledger_says(home: Path, steps: list[str]) -> None:
    ledger = Ledger.create(home / f"{len(list(home.iterdir()))}.db")
    laboratory = load("snar-flow")
    campaign_id = open_campaign(laboratory.campaign_file(), ledger)  # type: ignore[attr-defined]
    campaign = ledger.campaign(campaign_id)
    book = Book(ledger, campaign_id)
    values = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.2, "temperature": 50.0}
    for step in steps:
        proposed = ledger.experiments(campaign_id, states=["proposed"])
        if step == "propose":
            made = propose(
                ledger, campaign, values=values, purpose="explore", source="planner", candidate={}, replicates=1
            )
            ledger.add_experiment(made)
        elif step == "withdraw" and proposed:
            ledger.set_experiment_state(proposed[0].id, "withdrawn", reason="no")
        elif step == "observe":
            count = len(ledger.observations(campaign_id))
            ledger.add_observation(
                Observation(
                    id=f"o{count}",
                    campaign_id=campaign_id,
                    values=values,
                    outcomes={},
                    source="historical",
                    reduction="imported",
                    reduction_hash="none",
                )
            )
        elif step == "read":
            assert book.experiments() == ledger.experiments(campaign_id)
            assert book.observations() == ledger.observations(campaign_id)
    assert book.experiments() == ledger.experiments(campaign_id)
    assert book.observations() == ledger.observations(campaign_id)
    ledger.close()
