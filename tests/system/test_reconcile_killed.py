"""Reconciling is itself killed at every moment that could tear something apart: the end is always the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import Rig, make_rig_fixture, rig_fixture  # noqa: F401 - fixtures
from test_quarantine import foreign, path_of, spoil
from test_writer import documents, leave

from athanor.instruments.quarantine import aside
from athanor.instruments.spool import spool_folder
from athanor.memory.verify import verify

SCRIPT = Path(__file__).parent / "reconcile_script.py"


@pytest.mark.slow
def test_killed_at_every_moment_it_ends_the_same(rig: Rig) -> None:
    done, doubtful, damaged, never = (rig.intent() for _ in range(4))
    leave(rig, done, "success")
    leave(rig, doubtful, None)
    leave(rig, damaged, "success")
    spoil(path_of(rig, damaged), 2)
    foreign(rig)
    kills = 0
    while True:
        command = [sys.executable, str(SCRIPT), rig.ledger.url, rig.place.name, str(kills + 1)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        kills += 1
        assert kills < 200
    assert kills >= 8, run.stdout
    states = {intent.experiment_id: rig.state(intent) for intent in (done, doubtful, damaged, never)}
    assert list(states.values()) == ["completed", "in_doubt", "in_doubt", "dispatched"]
    assert list(spool_folder(rig.place).iterdir()) == []
    assert {item.kind for item in aside(rig.place)} == {"damaged", "foreign"}
    for intent, status in ((done, "success"), (doubtful, None)):
        stored = rig.ledger.run_for(intent.experiment_id)
        assert stored is not None
        assert [d.name for d in rig.ledger.documents(stored.uid)] == [name for name, _ in documents(intent, status)]
    assert [p for p in verify(rig.ledger).problems if p.kind != "unanchored"] == []
