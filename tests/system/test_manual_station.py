"""A manual station completes a campaign: every axis and detector is a person, who answers at the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import instrument_place, open_campaign
from athanor.agents.spec import Spec, load
from athanor.console.report.build import build
from athanor.instruments.station import Sheet, Station
from athanor.memory.canonical import parse
from athanor.memory.verify import verify

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "manual-bench"


def until(condition: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)
    return found


class Person:
    """Somebody at the bench, who has a terminal and nothing else."""

    def __init__(self, ledger: Any, campaign: str) -> None:
        self.ledger = ledger
        self.station = Station(instrument_place(ledger.campaign(campaign), ledger))
        self.told: list[str] = []
        self.driving: subprocess.Popen[str] | None = None

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "athanor.console", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
        self.told.append(done.stderr)
        return done

    def asked(self, kind: str, experiment: str) -> Sheet:
        """Wait until a whole sheet of that kind is asked for an experiment."""

        def look() -> Sheet | None:
            if self.driving is not None and self.driving.poll() is not None:
                raise AssertionError(f"the campaign's process has ended: {self.driving.communicate()}")
            sheet = self.station.sheet()
            if sheet is None or sheet.run.experiment != experiment or self.station.standing(sheet) != "waiting":
                return None
            kinds = [one.kind for one in sheet.questions]
            return sheet if kinds == [kind] * (3 if kind == "set" else 1) else None

        found: Sheet = until(look, f"{kind} of {experiment}; told {self.told[-3:]}")
        return found

    def answers(self, *words: str, by: str = "anna") -> subprocess.CompletedProcess[str]:
        return self.types("station", "manual-bench", *words, "--by", by)

    def does(self, experiment: str, activity: float) -> None:
        self.asked("set", experiment)
        done = self.answers("--done")
        assert done.returncode == 0, done.stderr
        self.asked("measure", experiment)
        done = self.answers("--enter", f"activity={activity} U/mL", "blank=0.04", "--note", "plate 7")
        assert done.returncode == 0, done.stderr


def begun(bench: Any, tmp_path: Path, experiments: int = 6) -> str:
    """The example's campaign, cut to so many experiments of one reading, granted."""
    shutil.copytree(EXAMPLE, tmp_path / "bench-files")
    spec = load(tmp_path / "bench-files" / "campaign.yaml")
    changes = {"budget": {"experiments": experiments}, "replicates": 1, "planner": "random"}
    campaign = open_campaign(Spec.model_validate({**spec.model_dump(), **changes}), bench.ledger)
    bench.grant(campaign)
    return campaign


@pytest.fixture
def drive(bench: Any) -> Any:
    """Start the campaign's own process; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(campaign: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(bench.command(campaign), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_whole_campaign_by_hand(bench: Any, drive: Any, tmp_path: Path) -> None:
    campaign = begun(bench, tmp_path)
    ledger, person = bench.ledger, Person(bench.ledger, campaign)
    driving = person.driving = drive(campaign)

    # A wrong entry is refused with its reason, and asked for again.
    first = f"{campaign}.1"
    person.asked("set", first)
    shown = person.types("show", campaign, "--ledger", str(ledger.path)).stdout
    assert "waiting for a person at the bench: set ph to " in shown.replace("\n", " ")
    assert person.answers("--done").returncode == 0
    person.asked("measure", first)
    for wrong, why in (
        ("activity=120", "outside the plausible"),
        ("activity=3 mg", "not in mg"),
        ("activity=nan", "finite"),
    ):
        refused = person.answers("--enter", wrong, "blank=0.04")
        assert refused.returncode == 1
        assert why in refused.stderr
    assert person.answers("--enter", "activity=12.5", "blank=0.04").returncode == 0

    # What cannot be done fails its run, and no other.
    second = f"{campaign}.2"
    person.asked("set", second)
    assert person.answers("--cannot", "the tris has run out").returncode == 0
    until(lambda: ledger.experiment(second).state == "failed", "it fails")
    assert "the tris has run out (said anna)" in str(ledger.experiment(second).reason)

    # The worker dies while a person is waited for; what is answered then is kept, and used once.
    third = f"{campaign}.3"
    person.asked("set", third)
    assert person.answers("--done").returncode == 0
    person.asked("measure", third)
    place = instrument_place(ledger.campaign(campaign), ledger)
    os.kill(int((place.sockets / "worker.pid").read_text()), signal.SIGKILL)
    late = person.answers("--enter", "activity=20.25", "blank=0.05", by="ben")
    assert late.returncode == 0
    assert f"reconcile {third} --as completed --outcomes=activity=20.25" in late.stderr
    assert person.answers("--enter", "activity=30", "blank=0.05").returncode == 1  # it is answered
    assert driving.communicate(timeout=240)[0].strip() == "paused"
    assert ledger.experiment(third).state == "in_doubt"
    words = ["--as", "completed", "--outcomes=activity=20.25", "--reason", "entered at the station by ben"]
    settled = person.types("reconcile", third, *words, "--no-connect", "--ledger", str(ledger.path))
    assert settled.returncode == 0, settled.stderr

    # The rest, with a file for one of them.
    driving = person.driving = drive(campaign)
    person.does(f"{campaign}.4", 14.0)
    person.asked("set", f"{campaign}.5")
    assert person.answers("--done").returncode == 0
    person.asked("measure", f"{campaign}.5")
    plate = tmp_path / "plate.csv"
    plate.write_text("well,activity [U/mL],blank\nA1,15.5,0.04\n")
    assert person.answers("--csv", str(plate)).returncode == 0
    person.does(f"{campaign}.6", 16.0)
    out, err = driving.communicate(timeout=240)
    assert out.strip() == "succeeded", err

    states = {e.ordinal: e.state for e in ledger.experiments(campaign)}
    assert states == {1: "completed", 2: "failed", 3: "completed", 4: "completed", 5: "completed", 6: "completed"}
    measured = {o.experiment_id: o for o in ledger.observations(campaign)}
    means = [measured[f"{campaign}.{n}"].outcomes["activity"]["mean"] for n in (1, 3, 4, 5, 6)]
    assert means == [12.5, 20.25, 14.0, 15.5, 16.0]
    assert measured[third].source == "operator"
    assert len(ledger.runs(campaign)) == 6
    assert len(list((place.directory / "started").iterdir())) == 6  # nothing was started twice
    for number in (1, 4, 5, 6):
        [event] = events(ledger, f"{campaign}.{number}")
        assert event["plate_reader-entered_by"] == event["ph-set_by"] == "anna"
        assert event["plate_reader-entered_at"]
    assert events(ledger, f"{campaign}.6")[0]["plate_reader-note"] == "plate 7"
    assert events(ledger, third) == []  # the answer that came too late for its run is in no document
    log = [json.loads(line) for line in (place.directory / "station" / "log.jsonl").read_text().splitlines()]
    codes = [line["code"] for line in log if line["kind"] == "refused"]
    assert codes == ["entry.implausible", "entry.unit", "entry.not_finite"]
    used = [line["question"] for line in log if line["kind"] == "used"]
    assert len(used) == len(set(used))
    assert verify(ledger).problems == []
    assert build(ledger, campaign).best[0].experiment == third


def events(ledger: Any, experiment: str) -> list[dict[str, Any]]:
    run = ledger.run_for(experiment)
    return [parse(document.body)["data"] for document in ledger.documents(run.uid) if document.name == "event"]


def test_a_measurement_beside_the_campaign_reaches_the_planner_that_runs(
    bench: Any, drive: Any, tmp_path: Path
) -> None:
    campaign = begun(bench, tmp_path, experiments=2)
    ledger, person = bench.ledger, Person(bench.ledger, campaign)
    driving = person.driving = drive(campaign)
    person.asked("set", f"{campaign}.1")
    point = ["ph=7", "temperature=37", "buffer=tris"]
    words = ["observe", campaign, "--values", *point, "--outcomes", "activity=44", "--sem", "activity=0.5"]
    done = person.types(*words, "--note", "old spectrometer", "--ledger", str(ledger.path))
    assert done.returncode == 0, done.stderr
    for number in range(1, 3):
        person.does(f"{campaign}.{number}", 10.0 + number)
    out, err = driving.communicate(timeout=240)
    assert out.strip() == "succeeded", err
    assert len(ledger.experiments(campaign)) == 2  # it used none of the budget
    assert [o.source for o in ledger.observations(campaign)] == ["operator", *["planner"] * 2]
    report = build(ledger, campaign)
    assert (report.best[0].experiment, report.used) == (f"{campaign}/m1", 2)
    [row] = report.by_hand
    assert (row.note, row.outcomes["activity"].error) == ("old spectrometer", 0.5)
