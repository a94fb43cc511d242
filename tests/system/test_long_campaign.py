"""A thousand experiments in one unattended run, faults on: each is accounted for, and nothing grows."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from athanor.agents.graph import STEPS
from athanor.instruments.laboratory import load
from athanor.memory.verify import verify

EXPERIMENTS = 1000
LABORATORY = "rare-earth-extraction"
HOURS = 12.0
"""At least so much of the laboratory's own time."""
LARGEST = 70_000
"""Bytes of checkpoints per experiment, file overhead included."""
EVERY = 40
"""Each kind of fault strikes once in so many experiments."""
FAULTS = [
    {"kind": kind, "at": at, **rest}
    for first, kind, rest in ((10, "dropout", {}), (20, "stuck", {}), (30, "nan", {}), (35, "drift", {"count": 5}))
    for at in range(first, EXPERIMENTS, EVERY)
]
STRUCK = {kind: {fault["at"] for fault in FAULTS if fault["kind"] == kind} for kind in ("dropout", "stuck", "nan")}


class Sizes:
    """Resident memory (bytes) and open files of the processes of a campaign, by what they are."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[int, int]]] = {}

    def look(self, processes: dict[str, psutil.Process]) -> None:
        """Note them once; a process that has ended meanwhile is left out."""
        for name, process in processes.items():
            try:
                self.seen.setdefault(name, []).append((process.memory_info().rss, process.num_fds()))
            except psutil.NoSuchProcess:
                pass

    def growth(self) -> dict[str, tuple[float, int]]:
        """From the second quarter to the last: of the median memory, as a ratio, and of the most open files."""
        found = {}
        for name, rows in self.seen.items():
            quarter = len(rows) // 4
            early, late = rows[quarter : 2 * quarter], rows[-quarter:]
            memory = statistics.median(r for r, _ in late) / statistics.median(r for r, _ in early)
            found[name] = (memory, max(n for _, n in late) - max(n for _, n in early))
        return found


def processes(campaign: int, sockets: Path) -> dict[str, psutil.Process]:
    """Those of the campaign and of its instrument that run now."""
    found = {"campaign": campaign}
    for name in ("worker", "recovery", "controller"):
        try:
            found[name] = int((sockets / f"{name}.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            pass  # not started yet
    return {name: psutil.Process(pid) for name, pid in found.items() if psutil.pid_exists(pid)}


def laboratory_hours(rows: list[dict[str, Any]]) -> float:
    """What the runs would have taken at the laboratory's own pace: the longest motion of each, and every reading."""
    physics: Any = load(LABORATORY).physics  # type: ignore[attr-defined]
    axes = {axis.name: axis for axis in physics.axes}
    seconds = longest = 0.0
    for row in rows:
        if row["kind"] == "motion":
            longest = max(longest, axes[row["axis"]].duration(row["origin"], row["target"]))
        elif row["kind"] == "trigger":
            seconds += physics.dwell_s
        elif row["kind"] == "run":
            seconds, longest = seconds + longest, 0.0
    return (seconds + longest) / 3600


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_thousand_experiments_with_faults(bench: Any) -> None:
    options = {"faults": FAULTS, "timeout_s": 0.5, "time_scale": 0}
    campaign_id = bench.open(LABORATORY, experiments=EXPERIMENTS, hypotheses={"share": 0.0}, options=options)
    sockets, sizes = bench.place(campaign_id).sockets, Sizes()
    output = bench.folder / "output"
    with (
        output.open("w") as sink,
        subprocess.Popen(
            bench.command(campaign_id), stdout=sink, stderr=subprocess.STDOUT, env={**os.environ}
        ) as driver,
    ):
        try:
            while driver.poll() is None:
                sizes.look(processes(driver.pid, sockets))
                try:
                    driver.wait(0.5)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            driver.kill()
    assert bench.ledger.campaign(campaign_id).state == "succeeded", output.read_text()[-2000:]

    # Every experiment is accounted for, by the ledger and by the controller's own log.
    experiments = bench.ledger.experiments(campaign_id)
    assert [e.ordinal for e in experiments] == list(range(1, EXPERIMENTS + 1))
    assert {e.state for e in experiments} <= {"completed", "failed"}
    failed = {e.ordinal for e in experiments if e.state == "failed"}
    assert failed >= STRUCK["dropout"] | STRUCK["stuck"]
    observed = {o.experiment_id: o for o in bench.ledger.observations(campaign_id)}
    assert set(observed) == {e.id for e in experiments}
    assert all(observed[e.id].status == "failed" for e in experiments if e.ordinal in STRUCK["nan"] | failed)
    runs = Counter(row["ordinal"] for row in bench.witness(campaign_id, "run"))
    assert runs == Counter(range(1, EXPERIMENTS + 1))
    faults = Counter(row["fault"] for row in bench.witness(campaign_id, "fault"))
    assert faults["dropout"] >= len(STRUCK["dropout"]) and faults["stuck"] >= len(STRUCK["stuck"])
    assert verify(bench.ledger).is_clean
    assert laboratory_hours(bench.witness(campaign_id)) >= HOURS

    # Nothing grows.
    grown = sizes.growth()
    sys.stdout.write(f"growth of memory and of open files: {grown}\n")
    assert set(grown) == {"campaign", "worker", "recovery", "controller"}
    assert all(memory <= 1.1 and files <= 2 for memory, files in grown.values()), grown
    [file] = (bench.place(campaign_id).directory / "checkpoints").glob("*.db")
    assert file.stat().st_size / EXPERIMENTS <= LARGEST
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "select length(checkpoint) + length(metadata) + coalesce((select sum(length(value)) from writes w "
            "where w.checkpoint_id = c.checkpoint_id), 0) from checkpoints c order by checkpoint_id"
        ).fetchall()
    connection.close()
    assert len(rows) >= len(STEPS) * EXPERIMENTS
    hundred = 100 * len(STEPS)
    first, last = sum(n for (n,) in rows[:hundred]), sum(n for (n,) in rows[-hundred:])
    assert last <= 1.1 * first, (first, last)
