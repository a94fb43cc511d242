"""Driving a campaign in a process of its own: why it ended is told in the ledger."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

from athanor.agents.holders import holder, is_process_gone, process_name
from athanor.agents.process import ENDED, drive


def test_a_campaign_that_ends_says_so(bench: Any) -> None:
    name = bench.open(experiments=1)
    command = [sys.executable, "-m", "athanor.agents.process", bench.ledger.url, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert bench.ledger.campaign(name).state == "succeeded"
    [event] = bench.ledger.events(name, kinds=[ENDED])
    assert (event.body["state"], event.body["why"]) == ("succeeded", None)
    assert is_process_gone(event.body["process"])


def test_one_that_cannot_be_driven_says_why(bench: Any) -> None:
    name = bench.open(experiments=1)
    bench.ledger.acquire_lease(f"campaign:{name}", "elsewhere:1", 600)
    assert drive(bench.ledger, name, threading.Event()) == 1
    [event] = bench.ledger.events(name, kinds=[ENDED])
    assert "driven by another process" in event.body["why"] and event.body["state"] == "queued"
    assert event.body["process"] == process_name() and not is_process_gone(process_name())


def test_a_wish_to_pause_is_met(bench: Any) -> None:
    name = bench.open(experiments=5, grant=False)
    wanted = threading.Event()
    wanted.set()
    assert drive(bench.ledger, name, wanted) == 0
    assert bench.ledger.campaign(name).state == "paused"
    assert holder().startswith(process_name())
