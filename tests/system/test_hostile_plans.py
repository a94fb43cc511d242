"""Whole hostile plans against the engine of a real controller process, and a judge that can find fault.

`python -m benchmarks hostile_plans` gives it 100,000; ATHANOR_HOSTILE_PLANS says how many are given here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.limits import Limit
from tests.system.hostile import judge

ROOT = Path(__file__).parents[2]
PLANS = int(os.environ.get("ATHANOR_HOSTILE_PLANS", "2000"))
LIMITS = {
    "temperature": Limit(minimum=30, maximum=120, tolerance=0.01, largest_step=25),
    "residence_time": Limit(minimum=0.5, maximum=2.0, largest_rate=1.0, move_s=1.0),
    "equivalents": Limit(allowed=(1, 2, 3)),
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_hostile_plan_sets_anything_outside() -> None:
    command = [sys.executable, "-m", "benchmarks.hostile_plans", "--plans", str(PLANS), "--seed", "3", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False)
    assert done.stdout.strip(), done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outside"] == [], found["outside"][:5]
    assert done.returncode == 0
    assert sum(found["ends"].values()) == PLANS
    assert found["sets"] >= found["completed"] > PLANS / 200, found["ends"]
    assert found["flips"] > PLANS / 50
    ends = " ".join(found["ends"])
    for code in ("above", "below", "step", "rate", "not_allowed", "type", "not_finite", "unknown"):
        assert f"limit.{code}" in ends, (code, found["ends"])
    assert "forced: aborted, interlock.tripped" in found["ends"], found["ends"]
    assert "approved: no record" in found["ends"]


def log(*sets: tuple[str, float, float, float], concentration: float = 0.2) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"kind": "hello", "client": 9, "name": "panel"},
        {"kind": "set", "client": 9, "axis": "concentration", "value": concentration, "move": 0, "mono": 0.0},
    ]
    for move, (axis, value, origin, at) in enumerate(sets, 1):
        rows.append({"kind": "set", "client": 1, "axis": axis, "value": value, "move": move, "mono": at})
        rows.append({"kind": "motion", "move": move, "origin": origin})
    return rows


def test_what_is_inside_passes() -> None:
    good = log(("temperature", 60.0, 50.0, 1.0), ("equivalents", 2, 1, 1.0), ("residence_time", 1.5, 1.0, 1.0))
    assert judge(good, LIMITS) == (3, [])


@pytest.mark.parametrize(
    "sets",
    [
        [("temperature", math.nextafter(120.0, math.inf), 110.0, 1.0)],
        [("temperature", 90.0, 60.0, 1.0)],
        [("equivalents", 2.5, 2, 1.0)],
        [("residence_time", 1.0, 0.9, 1.0), ("residence_time", 1.5, 1.0, 1.1)],
    ],
)
def test_the_judge_finds_fault(sets: list[tuple[str, float, float, float]]) -> None:
    seen, wrong = judge(log(*sets), LIMITS)
    assert (seen, len(wrong)) == (len(sets), 1)


def test_the_judge_sees_an_open_interlock_and_what_the_controller_refused() -> None:
    assert len(judge(log(("temperature", 60.0, 50.0, 1.0), concentration=0.4), LIMITS)[1]) == 1
    assert len(judge([*log(), {"kind": "refusal"}], LIMITS)[1]) == 1
