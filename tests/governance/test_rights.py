"""What the table of roles must say whatever else it says."""

from __future__ import annotations

import pytest

from athanor.governance.rights import EVERYWHERE, MEANING, ON_SIMULATED, ROLES, SCOPES, Role, scopes_of


def test_every_scope_is_explained_and_somebody_has_it() -> None:
    assert set(MEANING) == set(SCOPES)
    assert set().union(*EVERYWHERE.values()) == set(SCOPES)
    assert set(EVERYWHERE) == set(ROLES) and set(ON_SIMULATED) <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_everybody_sees_and_nobody_loses_by_simulation(role: Role) -> None:
    assert "read" in scopes_of(role, simulated=False) <= scopes_of(role, simulated=True)


def test_who_moves_real_instruments_and_who_does_not() -> None:
    moves = {role for role in ROLES if "instrument.operate" in scopes_of(role, simulated=False)}
    assert moves == {"operator", "owner"}
    assert "instrument.operate" in scopes_of("developer", simulated=True)
    assert scopes_of("developer", simulated=False) == scopes_of("observer", simulated=True) == {"read"}


def test_accounts_and_data_are_apart() -> None:
    assert {role for role in ROLES if "people.manage" in EVERYWHERE[role]} == {"owner"}
    assert {role for role in ROLES if "data.govern" in EVERYWHERE[role]} == {"steward", "owner"}
    assert not scopes_of("steward", simulated=True) & {"experiment.decide", "instrument.operate", "campaign.start"}
