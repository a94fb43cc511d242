"""What people do with alarms, whichever door they come by."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from athanor.console.commands.alarms import AlarmCommands
from athanor.console.commands.refused import Refused
from athanor.governance.alarm_catalogue import CATALOGUE, INTERLOCK
from athanor.governance.alarm_history import Alarms
from athanor.governance.alarms import Condition
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger

ID = "interlock.open~reactor"


def test_every_command_and_what_is_refused(home: Path) -> None:
    with Ledger.create(home / "ledger.db") as ledger:
        alarms = Alarms(ledger, CATALOGUE)
        alarms.raise_(Condition(INTERLOCK, "reactor", "open"))
        ada = AlarmCommands(alarms, "ada")
        steps = [
            ada.acknowledge(ID),
            ada.shelve(ID, timedelta(hours=8), "x"),
            ada.unshelve(ID, "x"),
            ada.suppress(ID, "x"),
            ada.unsuppress(ID, "x"),
            ada.remove(ID, "x"),
            ada.restore(ID, "x"),
        ]
        assert [one.state for one in steps] == [
            "acknowledged",
            "shelved",
            "unacknowledged",
            "suppressed",
            "unacknowledged",
            "out_of_service",
            "unacknowledged",
        ]
        with pytest.raises(Refused, match="8 h at most") as refused:
            ada.shelve(ID, timedelta(hours=9), "x")
        assert refused.value.remedy
        for wrong in ("", "  "):
            with pytest.raises(Refused, match="and why"):
                ada.suppress(ID, wrong)
        ada.acknowledge(ID, "on my way")
        alarms.clear(ID)
        assert ada.reset(ID, "closed").state == "normal"
        with pytest.raises(NotFound):
            ada.acknowledge("none")
        assert {entry.by for entry in alarms.history()} == {"athanor", "ada"}
