"""Commands on handovers: when a shift began, and whose signature it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from athanor.console.commands.handover import SHIFT, HandoverCommands
from athanor.console.commands.refused import Refused
from athanor.governance.handover import StaleHandover
from tests.console.api.site_rig import Site


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    made = Site(home)
    yield made
    made.ledger.close()


def of(site: Site, person: str) -> HandoverCommands:
    return HandoverCommands(site.desk.handovers, site.desk, site.desk.alarms, person)


def test_a_shift_began_with_the_last_handover_or_half_a_day_ago(site: Site) -> None:
    ada, bob = of(site, "ada"), of(site, "bob")
    first = ada.begin()
    assert first.until - first.since == SHIFT
    signed = ada.sign(first.id, first.revision, first.sha256, " ada ")
    bob.accept(first.id, signed.sha256, "bob")
    assert bob.begin().since == first.until
    own = ada.begin(first.until - timedelta(hours=1))
    assert own.since == first.until - timedelta(hours=1)


def test_what_is_refused_says_what_to_do(site: Site) -> None:
    ada, bob = of(site, "ada"), of(site, "bob")
    one = ada.begin()
    for typed in ("bob", "", "Ada"):
        with pytest.raises(Refused, match="not yours") as refused:
            ada.sign(one.id, one.revision, one.sha256, typed)
        assert "ada" in str(refused.value.remedy)
    with pytest.raises(Refused, match="open"):
        ada.begin()
    bob.note(one.id, one.revision, "remarks", "the pump is loud")
    with pytest.raises(StaleHandover, match="changed by bob"):
        ada.refresh(one.id, one.revision)
    fresh = ada.refresh(one.id, one.revision + 1)
    signed = ada.sign(one.id, fresh.revision, fresh.sha256, "ada")
    with pytest.raises(Refused, match="not yours"):
        bob.accept(one.id, signed.sha256, "ada")
    assert bob.send_back(one.id, "why?").state == "draft"
    assert bob.discard(one.id, "begun by mistake").state == "discarded"
