"""What a person decides at the command line, on a real ledger."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import instrument_place, open_campaign
from athanor.agents.holders import holder
from athanor.agents.spec import PolicySpec, load
from athanor.console.cli.app import run
from athanor.instruments import laboratory
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger

POINT = ["residence_time=1.0", "equivalents=2", "concentration=0.3mol/L", "temperature=80"]


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    spec = load(laboratory.load("snar-flow").campaign_file())  # type: ignore[attr-defined]
    return open_campaign(spec.model_copy(update={"policy": PolicySpec(autonomy="approve_each")}), ledger)


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, standard output and standard error."""
    capsys.readouterr()
    code = run(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def proposed(capsys: pytest.CaptureFixture[str], campaign: str) -> dict[str, Any]:
    code, out, err = call(capsys, "propose", campaign, *POINT, "--json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def test_propose_then_approve_the_revision_shown(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = ledger.experiment(proposed(capsys, campaign)["experiment"])
    assert experiment.source == "operator"
    assert experiment.values["concentration"] == 0.3
    _, shown, _ = call(capsys, "show", campaign)
    assert f"approve {experiment.id}@{experiment.revision[:8]}" in shown.replace("\n", "")
    code, out, err = call(capsys, "approve", f"{experiment.id}@{experiment.revision[:8]}", "--json")
    assert code == 0, err
    assert json.loads(out)["state"] == ledger.experiment(experiment.id).state == "approved"
    [decision] = ledger.decisions(campaign)
    assert decision.decided_by == getpass.getuser()


def test_a_decision_needs_the_right_revision(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = proposed(capsys, campaign)["experiment"]
    for what, words in (
        (name, "names no revision"),
        (f"{name}@123", "names no revision"),
        (f"{name}@000000", "@000000"),
    ):
        code, _, err = call(capsys, "approve", what)
        assert code == 1
        assert words in err
    assert ledger.experiment(name).state == "proposed"


def test_an_edit_supersedes_and_the_old_revision_is_refused(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ledger.experiment(proposed(capsys, campaign)["experiment"])
    code, out, err = call(
        capsys, "edit", f"{old.id}@{old.revision[:8]}", "temperature=70", "--reason", "cooler", "--json"
    )
    assert code == 0, err
    new = ledger.experiment(json.loads(out)["experiment"])
    assert new.values == {**old.values, "temperature": 70.0}
    assert new.parent_id == old.id
    assert ledger.experiment(old.id).state == "superseded"
    code, _, err = call(capsys, "approve", f"{old.id}@{old.revision[:8]}")
    assert code == 1
    assert "superseded" in err


def test_reject_keeps_the_reason(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    item = ledger.experiment(proposed(capsys, campaign)["experiment"])
    assert call(capsys, "reject", f"{item.id}@{item.revision[:8]}", "--reason", "no solvent")[0] == 0
    rejected = ledger.experiment(item.id)
    assert (rejected.state, ledger.decisions(campaign)[0].reason) == ("rejected", "no solvent")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["temperature=hot", *POINT[:3]], "needs a number"),
        (["temperature=80 K", *POINT[:3]], "degC"),
        (["tempratur=80", *POINT[:3]], "the parameters are"),
        (["temperature", *POINT[:3]], "NAME=VALUE"),
    ],
)
def test_a_setting_that_cannot_be_read_is_wrong_usage(
    words: list[str], told: str, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "propose", campaign, *words)
    assert code == 2
    assert told in " ".join(err.split())


def test_a_point_outside_the_instruments_limits_is_refused(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "propose", campaign, *POINT[:3], "temperature=500")
    assert code == 1
    assert "temperature" in err
    assert not ledger.experiments(campaign)


def test_stop_all_latch_bars_approval_until_reset(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    item = ledger.experiment(proposed(capsys, campaign)["experiment"])
    latch = Latch(instrument_place(ledger.campaign(campaign), ledger))
    latch.create()
    latch.engage("smoke", "a colleague")
    code, _, err = call(capsys, "approve", f"{item.id}@{item.revision[:8]}")
    assert code == 1
    assert "smoke" in err
    assert "reset-stop" in err
    assert "latched" in call(capsys, "show", campaign)[1]
    assert call(capsys, "reset-stop", "--reason", " ")[0] == 2
    code, out, err = call(capsys, "reset-stop", "--reason", "aired the room", "--json")
    assert code == 0, err
    assert json.loads(out)["engaged"] is False
    assert latch.read().engaged is False
    assert call(capsys, "approve", f"{item.id}@{item.revision[:8]}")[0] == 0
    assert call(capsys, "reset-stop", "--reason", "again")[0] == 1


@pytest.mark.parametrize(
    ("command", "request_"), [("pause", "pause"), ("stop-after-step", "stop_after_step"), ("cancel", "cancel")]
)
def test_requests_reach_the_ledger(
    command: str, request_: str, ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.acquire_lease(f"campaign:{campaign}", holder(), 60.0)  # as whoever drives it
    code, out, err = call(capsys, command, campaign, "--json")
    assert code == 0, err
    assert json.loads(out)["requested"] == request_ == ledger.campaign(campaign).requested


def test_a_pause_of_what_nobody_drives_says_so_and_is_not_kept_for_later(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "pause", campaign)
    assert code == 0
    assert "starts nothing new" in err
    assert "resume" in err
    assert ledger.campaign(campaign).requested == "none"


def test_a_cancelled_campaign_that_nobody_drives_ends_at_once_with_all_that_waits(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = proposed(capsys, campaign)["experiment"]
    approved = ledger.experiment(proposed(capsys, campaign)["experiment"])
    assert call(capsys, "approve", f"{approved.id}@{approved.revision[:8]}")[0] == 0
    code, out, err = call(capsys, "cancel", campaign, "--json")
    assert code == 0, err
    assert json.loads(out)["state"] == ledger.campaign(campaign).state == "cancelled"
    assert {ledger.experiment(item).state for item in (waiting, approved.id)} == {"withdrawn"}
    place = instrument_place(ledger.campaign(campaign), ledger)
    assert not (place.directory / "config.json").exists()  # nothing was started for it
    assert call(capsys, "cancel", campaign)[0] == 1


def test_an_edit_beyond_the_instruments_limits_supersedes_nothing(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    item = ledger.experiment(proposed(capsys, campaign)["experiment"])
    code, _, err = call(capsys, "edit", f"{item.id}@{item.revision[:8]}", "temperature=500", "--reason", "hotter")
    assert code == 1
    assert "temperature" in err
    assert [e.state for e in ledger.experiments(campaign)] == ["proposed"]


def test_a_proposal_without_every_parameter_names_those_missing(
    campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "propose", campaign, *POINT[2:])
    assert code == 1
    assert "No value for residence_time, equivalents" in err


def test_a_campaign_whose_process_died_is_shown_as_undriven(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.set_campaign_state(campaign, "running")
    lease = ledger.acquire_lease(f"campaign:{campaign}", holder(), 60.0)
    assert "No process drives" not in call(capsys, "show", campaign)[1]
    ledger.release_lease(lease)
    shown = call(capsys, "show", campaign)[1]
    assert "No process drives" in shown
    assert f"resume {campaign}" in shown


def test_half_a_model_endpoint_stops_a_campaign_before_anything_is_signed(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATHANOR_MODEL", "some-model")
    code, _, err = call(capsys, "resume", campaign)
    assert code == 1
    assert "ATHANOR_MODEL_BASE_URL is not" in err
    assert ledger.campaign(campaign).state == "queued"
    assert not ledger.decisions(campaign)


def test_settle_refuses_what_is_not_in_doubt(campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = proposed(capsys, campaign)["experiment"]
    code, _, err = call(capsys, "settle", name, "--as", "completed", "--reason", "I looked")
    assert code == 1
    assert name in err


def test_the_beginning_of_an_id_is_enough_and_an_unknown_one_is_refused(
    campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "pause", campaign[:-2])[0] == 0
    code, _, err = call(capsys, "pause", "nothing")
    assert code == 1
    assert campaign in err


def test_list_and_results_of_a_new_campaign(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = proposed(capsys, campaign)["experiment"]
    listed = json.loads(call(capsys, "list", "--json")[1])
    assert [item["id"] for item in listed["campaigns"]] == [campaign]
    assert listed["campaigns"][0]["waiting"] == [name]
    code, out, err = call(capsys, "results", campaign, "--json")
    assert code == 0, err
    collected = json.loads(out)
    assert {"campaign", "state", "best", "hypotheses", "experiments"} <= set(collected)
    assert set(collected["experiments"][0]) >= {"id", "values", "outcomes", "state", "source", "run", "why"}
    code, out, _ = call(capsys, "results", campaign, "--csv")
    assert out.splitlines()[0].startswith("experiment,state,source,run,residence_time [min],")
    assert out.splitlines()[1].startswith(f"{name},proposed,operator,,1.0,2")
    assert call(capsys, "results", campaign, "--csv", "--json")[0] == 2
