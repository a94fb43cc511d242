"""`athanor alarms` and `athanor acknowledge`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from athanor.agents.holders import holder
from athanor.console.alarm_watch import RESOURCE
from athanor.console.cli.app import run
from athanor.governance.alarm_catalogue import CATALOGUE, STOCK, STOP_ALL
from athanor.governance.alarm_history import Alarms
from athanor.governance.alarms import Condition
from athanor.memory.ledger import Ledger


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_alarms_at_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.create(home / "ledger.db") as ledger:
        alarms = Alarms(ledger, CATALOGUE)
        code, _, err = call(capsys, "alarms")
        assert code == 0 and "No alarm is active" in err and "Nobody looks after the alarms now" in err
        ledger.acquire_lease(RESOURCE, holder(), 60.0)
        alarms.raise_(Condition(STOCK, "MeCN", "19 mL [left]"))
        alarms.raise_(Condition(STOP_ALL, "reactor", "smoke", instrument="reactor"))
        code, out, err = call(capsys, "alarms")
        assert code == 0 and err == "" and "19 mL [left]" in out
        assert out.index("stop-all.engaged~reactor") < out.index("stock.low~MeCN"), "the most urgent first"
        assert "release the latch with a reason" in " ".join(out.split())

        assert call(capsys, "acknowledge", "st")[0] == 1
        assert "2 alarms begin so" in call(capsys, "acknowledge", "st")[2]
        assert "no alarm 'none'" in call(capsys, "acknowledge", "none")[2]
        code, _, err = call(capsys, "acknowledge", "stop-all", "--reason", "on my way")
        assert code == 0 and "is acknowledged by" in err
        code, _, err = call(capsys, "acknowledge", "stop-all")
        assert code == 1 and "acknowledged already" in err
        assert alarms.history()[-1].why == "on my way"

        alarms.act("stock.low~MeCN", "shelved", "ada", "it is ordered", timedelta(hours=1))
        _, out, _ = call(capsys, "alarms", "--json")
        told = json.loads(out)
        assert told["watched"] is True
        assert [(one["id"], one["state"]) for one in told["alarms"]] == [
            ("stop-all.engaged~reactor", "acknowledged"),
            ("stock.low~MeCN", "shelved"),
        ]
        assert "it is ordered" in call(capsys, "alarms")[1]
