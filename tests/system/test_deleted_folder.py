"""Somebody deletes the folder of a simulated laboratory while its worker lives on: the next campaign just works."""

from __future__ import annotations

import shutil
from typing import Any

from athanor.agents.campaign import run_campaign


def test_a_worker_without_its_folder_makes_way(bench: Any) -> None:
    first = bench.open(experiments=1)
    assert run_campaign(first, bench.ledger) == "succeeded"
    shutil.rmtree(bench.place(first).directory)
    second = bench.open(experiments=1)
    assert run_campaign(second, bench.ledger) == "succeeded", bench.ledger.campaign(second).reason
