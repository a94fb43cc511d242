from __future__ import annotations

from itertools import product

import pytest

from athanor.memory import transitions
from athanor.memory.errors import IllegalTransition


@pytest.mark.parametrize("entity", list(transitions.TABLES))
def test_the_tables_name_every_state_and_no_other(entity: str) -> None:
    table = transitions.TABLES[entity]
    states = set(transitions.STATES[entity])
    assert set(table) == states
    assert set().union(*table.values()) <= states


def test_every_pair_is_allowed_or_refused_as_the_table_says() -> None:
    for entity, table in transitions.TABLES.items():
        for old, new in product(transitions.STATES[entity], repeat=2):
            if new in table[old]:
                transitions.check(entity, "x", old, new)
            else:
                with pytest.raises(IllegalTransition, match=f"{old} to {new}"):
                    transitions.check(entity, "x", old, new)


def test_no_state_leads_back_to_the_first() -> None:
    for table, first in ((transitions.EXPERIMENT, "proposed"), (transitions.HYPOTHESIS, "draft")):
        assert all(first not in following for following in table.values())


def test_terminal_states() -> None:
    ends = {state for state in transitions.STATES["experiment"] if transitions.is_terminal("experiment", state)}
    assert ends == {
        "rejected", "expired", "superseded", "withdrawn", "refused",
        "completed", "failed", "aborted", "stopped_early", "not_started",
    }  # fmt: skip
