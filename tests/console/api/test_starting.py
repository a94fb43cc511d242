"""Campaigns before and as they start, over HTTP: real processes, the ledger of the site."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.process import STARTED
from athanor.agents.reading import LONGEST
from athanor.console.api.campaigns import CampaignLine
from athanor.console.api.desk import READERS
from athanor.console.api.door import KEY
from athanor.console.commands import campaigns as commands
from athanor.console.commands.refused import Refused
from athanor.instruments import detached, profile
from athanor.instruments.config import Config
from athanor.instruments.latch import Latch
from athanor.memory.errors import LedgerBusy
from athanor.memory.places import InstrumentPlace
from tests.console.api.site_rig import Site, code
from tests.console.serving import end_campaigns

SHORT = """\
name: A short one
question: Does it run?
laboratory: snar-flow
parameters:
  residence_time: {low: 0.5, high: 2.0, unit: min}
  equivalents: {low: 1.0, high: 5.0}
  concentration: {low: 0.1, high: 0.5, unit: mol/L}
  temperature: {low: 30, high: 120, unit: degC}   # as the literature has it
objectives: {sty: {goal: maximize, unit: kg/m^3/h}}
budget: {experiments: 2}
hypotheses: {share: 0}
policy: {autonomy: auto_within_limits}
planner: random
reasoner: none
"""
ASKING = SHORT.replace("auto_within_limits", "approve_each")


def until(is_so: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.fixture
def ends(site: Site) -> Iterator[None]:
    """What was started for a campaign of this site ends with the test."""
    yield
    end_campaigns(site.ledger)


def start(client: Any, text: str = SHORT, instrument: str = "snar-flow") -> Any:
    return client.post("/api/v1/campaigns", json={"yaml": text, "instrument": instrument})


def test_challenges_come_with_a_file_that_can_run(site: Site) -> None:
    client = site.signed_in("scientist")
    names = [one["name"] for one in client.get("/api/v1/challenges").json()]
    assert {"snar-flow", "ald-window"} <= set(names)
    for name in names:
        text = client.get(f"/api/v1/challenges/{name}").json()["yaml"]
        answer = client.post("/api/v1/campaigns/check", json={"yaml": text}).json()
        assert answer["ok"] and not answer["faults"] and answer["real"] is False and answer["can_rehearse"], name
    assert client.get("/api/v1/challenges/nonsense").status_code == 404


def test_every_fault_comes_with_its_place_and_remedy_in_one_answer(site: Site) -> None:
    client = site.signed_in("scientist")
    wrong = SHORT.replace("unit: degC", "unit: K").replace("planner: random", "planer: random").replace("5.0}", "0.5}")
    answer = client.post("/api/v1/campaigns/check", json={"yaml": wrong}).json()
    assert not answer["ok"] and answer["summary"] == []
    found = {(one["line"], one["field"]) for one in answer["faults"]}
    assert found == {(8, "parameters.temperature.unit"), (6, "parameters.equivalents"), (13, "planer")}
    assert all(one["message"] and one["remedy"] is not None for one in answer["faults"])
    right = client.post("/api/v1/campaigns/check", json={"yaml": SHORT}).json()
    said = " ".join(one["text"] for one in right["summary"])
    assert right["ok"] and right["instrument"] == "snar-flow" and right["experiments"] == 2
    assert "temperature 30 … 120 degC" in said and "maximize sty" in said and "2 experiments" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mapping"),
        ("a: [", "node content"),
        ("- 1", "mapping"),
        ("[" * 5000, "levels"),
        ("a: &a [1]\nb: *a", "alias"),
        (SHORT.replace("laboratory: snar-flow", "laboratory: nowhere"), "no laboratory"),
        (SHORT.replace("laboratory: snar-flow", "laboratory: wired"), ""),
        (SHORT.replace("laboratory: snar-flow", "laboratory: {profile: /etc/passwd}"), "folders of this site"),
        (SHORT.replace("laboratory: snar-flow", "laboratory: {profile: ../../secret.yaml}"), "folders of this site"),
        (SHORT.replace("reasoner: none", "reasoner: language-model"), "ATHANOR_MODEL"),
        (SHORT + "sample: S-1\n", "no sample"),
    ],
)
def test_hostile_and_hopeless_files_are_explained(site: Site, text: str, said: str) -> None:
    client = site.signed_in("scientist")
    answer = client.post("/api/v1/campaigns/check", json={"yaml": text})
    assert answer.status_code == 200, answer.text
    assert not answer.json()["ok"] and said in str(answer.json()["faults"])
    refused = start(client, text or "x: 1")
    assert refused.status_code == 422, refused.text
    assert [one.name for one in site.ledger.campaigns()].count("A short one") == 0


def test_a_form_changes_the_file_and_nothing_else_of_it(site: Site) -> None:
    client = site.signed_in("scientist")
    changes = [
        {"path": ["budget", "experiments"], "value": 7},
        {"path": ["parameters", "temperature", "high"], "value": 90.5},
        {"path": ["policy", "proposer_may_not_approve"], "value": True},
        {"path": ["stop", "patience"], "value": 4},
        {"path": ["hypotheses"], "value": None},
    ]
    answer = client.post("/api/v1/campaigns/compose", json={"yaml": SHORT, "changes": changes}).json()
    assert answer["ok"] and answer["experiments"] == 7 and answer["document"]["stop"] == {"patience": 4}
    assert "# as the literature has it" in answer["yaml"] and "hypotheses" not in answer["yaml"]
    assert "high: 90.5" in answer["yaml"] and "somebody else" in str(answer["summary"])
    broken = {"yaml": "a: [", "changes": changes}
    assert code(client.post("/api/v1/campaigns/compose", json=broken)) == "refused"
    nowhere = {"yaml": SHORT, "changes": [{"path": ["parameters", 0, "low"], "value": 1}]}
    assert client.post("/api/v1/campaigns/compose", json=nowhere).status_code == 409


def test_numbers_and_changes_that_no_file_can_hold_are_refused(site: Site) -> None:
    client = site.signed_in("scientist")
    long = SHORT + f"seed: {'9' * 20_000}\n"
    check = client.post("/api/v1/campaigns/check", json={"yaml": long})
    assert check.status_code == 200 and "cannot be read" in str(check.json()["faults"])
    some = [{"path": ["stop", "patience"], "value": 4}]
    assert code(client.post("/api/v1/campaigns/compose", json={"yaml": long, "changes": some})) == "refused"
    many = [{"path": ["laboratory", "options"], "value": {f"x{n}": n for n in range(3000)}}]
    assert code(client.post("/api/v1/campaigns/compose", json={"yaml": SHORT, "changes": many})) == "refused"
    assert client.post("/api/v1/campaigns/check", json={"yaml": "#" * 30_001}).status_code == 422
    assert LONGEST == 30_000, "the door and the reader take files of one length"


def test_few_files_are_read_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from athanor.console.api import starting

    client = site.signed_in("scientist")
    monkeypatch.setattr(starting, "PATIENCE_S", 0.0)
    for _ in range(READERS):
        assert site.desk.reading.acquire(blocking=False)
    asked = {"yaml": SHORT}
    for path, body in (
        ("check", asked),
        ("compose", {**asked, "changes": [{"path": ["seed"], "value": 1}]}),
        ("draft", {"profile": "none.yaml"}),
    ):
        busy = client.post(f"/api/v1/campaigns/{path}", json=body)
        assert (busy.status_code, code(busy), busy.headers["Retry-After"]) == (429, "check.busy", "1"), path
    assert code(start(client)) == "check.busy"
    for _ in range(READERS):
        site.desk.reading.release()
    for _ in range(READERS + 1):
        client.post("/api/v1/campaigns/draft", json={"profile": "none.yaml"})  # refused, and its place is given back
    assert client.post("/api/v1/campaigns/check", json=asked).json()["ok"]


@pytest.mark.usefixtures("ends")
def test_a_campaign_runs_in_a_process_of_its_own(site: Site) -> None:
    client = site.signed_in("operator")
    answer = start(client)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["granted"] and made["driver"]["standing"] in ("driving", "starting"), made
    name = made["campaign"]["id"]
    [event] = site.ledger.events(name, kinds=[STARTED])
    pid = int(event.body["process"].split(":")[1])
    assert os.getsid(pid) == pid != os.getsid(0), "it is in no session of ours"
    until(lambda: site.ledger.campaign(name).state == "succeeded", str(site.ledger.campaign(name)))
    [grant] = site.ledger.decisions(name)
    assert grant.kind == "grant" and grant.decided_by == "operator"
    until(lambda: client.get(f"/api/v1/campaigns/{name}/driver").json()["standing"] == "ended", "it ended")
    assert code(client.post(f"/api/v1/campaigns/{name}/resume")) == "refused"
    assert code(client.post(f"/api/v1/campaigns/{name}/cancel")) == "refused"


@pytest.mark.parametrize("error", [LedgerBusy("busy"), Refused("no", "wait"), OSError("no space")])
def test_one_key_opens_one_campaign_whatever_happens_after(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    client = site.signed_in("operator")

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(commands.CampaignCommands, "drive", broken)
    body = {"yaml": SHORT, "instrument": "snar-flow"}
    told = [client.post("/api/v1/campaigns", json=body, headers={KEY: "one"}) for _ in range(3)]
    assert {one.status_code for one in told} == {201} and len({one.text for one in told}) == 1
    [made] = [one for one in site.ledger.campaigns() if one.name == "A short one"]
    answer = told[0].json()
    assert answer["campaign"]["id"] == made.id and answer["driver"]["standing"] == "failed"
    assert str(error) in answer["driver"]["why"] and "resume" in answer["driver"]["remedy"]


def test_an_answer_that_cannot_be_made_opens_no_second_campaign(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.signed_in("operator")

    def broken(*_: Any, **__: Any) -> None:
        raise LedgerBusy("busy")

    monkeypatch.setattr(commands.CampaignCommands, "drive", broken)
    monkeypatch.setattr(CampaignLine, "of", broken)
    body = {"yaml": SHORT, "instrument": "snar-flow"}
    told = [client.post("/api/v1/campaigns", json=body, headers={KEY: "one"}) for _ in range(3)]
    assert [code(one) for one in told] == ["ledger.busy", "idempotency.unknown", "idempotency.unknown"]
    assert [one.name for one in site.ledger.campaigns()].count("A short one") == 1


def test_a_process_that_cannot_be_written_down_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(*_: Any, **__: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return started[-1]

    add_event = site.ledger.add_event

    def full(campaign: Any, kind: str, body: Any) -> Any:
        if kind == STARTED:
            raise LedgerBusy("busy")
        return add_event(campaign, kind, body)

    monkeypatch.setattr(detached, "start", sleeper)
    monkeypatch.setattr(site.ledger, "add_event", full)
    try:
        answer = start(site.signed_in("operator"))
        assert answer.status_code == 201 and answer.json()["driver"]["standing"] == "failed"
        [process] = started
        assert process.wait(30) == -signal.SIGTERM
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("ends")
def test_resume_cancel_and_a_driver_that_was_killed(site: Site) -> None:
    client = site.signed_in("scientist")
    made = start(client, ASKING).json()
    name = made["campaign"]["id"]
    assert made["granted"] is False

    def driver() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/api/v1/campaigns/{name}/driver").json()
        return found

    [waiting] = until(lambda: site.ledger.experiments(name, ["proposed"]), "a proposal")
    assert driver()["standing"] == "driving"
    assert code(client.post(f"/api/v1/campaigns/{name}/resume")) == "refused", "two drive nothing"
    [event] = site.ledger.events(name, kinds=[STARTED])
    os.kill(int(event.body["process"].split(":")[1]), signal.SIGKILL)
    told = until(lambda: (lambda d: d if d["standing"] == "failed" else None)(driver()), "its death is seen")
    assert "without a word" in told["why"] and told["by"] == "scientist"
    assert client.post(f"/api/v1/campaigns/{name}/resume").json()["standing"] in ("driving", "starting")
    until(lambda: driver()["standing"] == "driving", "it is driven again")
    cancelled = client.post(f"/api/v1/campaigns/{name}/cancel", json={"reason": "a test"})
    assert cancelled.status_code == 200
    until(lambda: site.ledger.campaign(name).state == "cancelled", "it is cancelled")
    assert site.ledger.experiment(waiting.id).state == "withdrawn"
    [said] = site.ledger.events(name, kinds=["cancel_reason"])
    assert said.body == {"by": "scientist", "reason": "a test"}


def test_only_the_log_of_a_campaign_s_own_process_is_shown(site: Site, home: Path) -> None:
    client = site.signed_in("observer")
    secret = home / "secret"
    secret.write_text("the password is otter\n")
    body = {"process": f"{socket.gethostname()}:999999999:1", "by": "ada", "log": str(secret)}
    site.ledger.add_event(site.campaign, STARTED, body)

    def why() -> str:
        found = client.get(f"/api/v1/campaigns/{site.campaign}/driver").json()
        assert found["standing"] == "failed", found
        return str(found["why"])

    assert "otter" not in why(), "an event does not say which file is shown"
    log = site.place.directory / "drivers" / f"{site.campaign}.log"
    log.parent.mkdir()
    log.write_text("x" * 9000 + "\nno such controller\n")
    assert why().endswith("its log ends: no such controller")
    log.unlink()
    log.symlink_to(secret)
    assert "otter" not in why(), "a link is not followed"
    log.unlink()
    os.mkfifo(log)
    assert "log ends" not in why(), "a pipe is not waited for"


@pytest.mark.usefixtures("ends")
def test_what_nobody_drives_is_cancelled_too(site: Site) -> None:
    client = site.signed_in("scientist")
    assert client.get(f"/api/v1/campaigns/{site.campaign}/driver").json()["standing"] == "none"
    assert client.post(f"/api/v1/campaigns/{site.campaign}/cancel").status_code == 200
    until(lambda: site.ledger.campaign(site.campaign).state == "cancelled", "it is cancelled")
    assert site.ledger.experiment(site.experiment.id).state == "withdrawn"


@pytest.mark.usefixtures("ends")
def test_a_driver_that_dies_at_its_start_says_why(site: Site, monkeypatch: Any) -> None:
    client = site.signed_in("operator")
    # A controller that cannot be started: the instrument is not available.
    (site.place.directory / "worker.lock").mkdir()
    name = start(client).json()["campaign"]["id"]
    told = until(
        lambda: (lambda d: d if d["standing"] == "failed" else None)(
            client.get(f"/api/v1/campaigns/{name}/driver").json()
        ),
        "it failed",
    )
    assert told["why"] and "without a word" not in told["why"]
    # Given back, so that nothing else trips over it.
    (site.place.directory / "worker.lock").rmdir()


def test_what_is_moved_is_what_was_seen_and_allowed(site: Site, home: Path) -> None:
    scientist, developer = site.signed_in("scientist"), site.signed_in("developer")
    assert code(start(scientist, instrument="reactor-7")) == "instrument.other"
    assert code(start(site.signed_in("observer"))) == "scope.missing"
    Latch(site.place).engage("smoke", "ada")
    answer = start(developer)
    assert answer.status_code == 409 and "smoke" in answer.json()["detail"]
    # The configuration that an instrument of this name was started with says that it is real.
    real = InstrumentPlace.of("snar-flow")
    found = Config.read(site.place)
    profile = found.profile.model_copy(update={"simulated": False})
    real.directory.mkdir(parents=True, exist_ok=True)
    Config(profile, {}).write(real)
    denied = start(developer)
    assert (denied.status_code, code(denied)) == (403, "scope.missing") and "real" in denied.json()["detail"]
    assert site.told("api_refused")[-1]["path"] == "/api/v1/campaigns"
    check = developer.post("/api/v1/campaigns/check", json={"yaml": SHORT}).json()
    assert check["real"] is True and check["may_start"] is False
    (real.directory / "config.json").write_text("{")
    assert commands.is_real(found.profile, site.ledger), "what cannot be told is real"
    assert [one.name for one in site.ledger.campaigns()].count("A short one") == 0
    assert found.profile.simulated


def test_profiles_of_the_site_can_be_started_from(site: Site, home: Path) -> None:
    client = site.signed_in("scientist")
    folder = home / "profiles"
    folder.mkdir()
    import athanor.sandbox.laboratories as there

    text = (Path(there.__path__[0]) / "snar_flow.profile.yaml").read_text()
    (folder / "mine.yaml").write_text(text)
    (folder / "broken.yaml").write_text("[")
    [one] = client.get("/api/v1/profiles").json()
    assert one["path"] == "profiles/mine.yaml" and one["simulated"] is True
    draft = client.post("/api/v1/campaigns/draft", json={"profile": one["path"]}).json()["yaml"]
    answer = client.post("/api/v1/campaigns/check", json={"yaml": draft}).json()
    assert answer["ok"], answer["faults"]
    for path in ("a\0b", "x" * 999, "../mine.yaml", "/etc/passwd", "profiles/none.yaml"):
        assert code(client.post("/api/v1/campaigns/draft", json={"profile": path})) == "refused"


def test_only_small_yaml_files_are_looked_at_as_profiles(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.signed_in("scientist")
    (home / "large.yaml").write_text("#" * 1_000_001)
    (home / "link.yaml").symlink_to(home / "ledger.db")
    (home / "control.yaml").write_text("name: a\x00b\n")
    (home / "latin.yaml").write_bytes(b"name: \xe9\n")
    (home / "digits.yaml").write_text(f"name: {'9' * 9000}\n")
    (home / "hex.yaml").write_text(f"name: 0x{'f' * 9000}\n")
    (home / "month.yml").write_text("name: 2024-99-99\n")
    unread = ["ledger.db", "large.yaml", "link.yaml", "nul\\0"]
    read: list[str] = []
    load = profile.load_profile
    monkeypatch.setattr(profile, "load_profile", lambda path: read.append(path.name) or load(path))
    for name in (*unread, "control.yaml", "latin.yaml", "digits.yaml", "hex.yaml", "month.yml"):
        for asked in (name, str(home / name)):
            text = SHORT.replace("laboratory: snar-flow", f'laboratory: {{profile: "{asked}"}}')
            answer = client.post("/api/v1/campaigns/check", json={"yaml": text})
            assert answer.status_code == 200, (name, answer.text)
            [fault] = answer.json()["faults"]
            assert fault["field"] == "laboratory.profile", fault
            if asked == name:
                assert str(home) not in str(fault), fault
        refused = client.post("/api/v1/campaigns/draft", json={"profile": name})
        expected = "refused" if name in unread else "profile.invalid"
        assert code(refused) == expected and str(home) not in refused.text, refused.text
    assert not set(read) & set(unread) and "month.yml" in read


def test_a_rehearsal_leaves_nothing_in_the_ledger(site: Site) -> None:
    client = site.signed_in("developer")
    before = [one.id for one in site.ledger.campaigns()]
    asked = {"yaml": ASKING, "experiments": 2, "wall_s": 120.0}
    answer = client.post("/api/v1/rehearsals", json=asked)
    assert answer.status_code == 201, answer.text
    name = answer.json()["id"]
    assert "everything is approved" in answer.json()["differs"]
    place = f"/api/v1/rehearsals/{name}"
    found = until(lambda: (lambda r: r if r["standing"] != "running" else None)(client.get(place).json()), "its end")
    assert (found["standing"], found["used"], found["budget"]) == ("done", 2, 2), found
    assert found["best"][0]["outcomes"]["sty"][0] > 0 and found["units"]["sty"] == "kg/m^3/h"
    assert [one.id for one in site.ledger.campaigns()] == before
    assert site.told("rehearsal_begun")[0]["rehearsal"] == name
    assert [one["id"] for one in client.get("/api/v1/rehearsals").json()] == [name]
    assert [one["name"] for one in client.get("/api/v1/instruments").json()] == ["snar-flow"]
    for wrong in ("rehearsal-00000000", "..", "%2e%2e%2finstruments"):
        assert client.get(f"/api/v1/rehearsals/{wrong}").status_code == 404


def test_rehearsals_are_bounded_and_can_be_ended(site: Site) -> None:
    client = site.signed_in("scientist")
    slow = SHORT.replace("laboratory: snar-flow", "laboratory: {name: snar-flow, options: {time_scale: 0.01}}").replace(
        "experiments: 2", "experiments: 40"
    )
    asked = {"yaml": slow, "experiments": 40}
    names = [client.post("/api/v1/rehearsals", json=asked).json()["id"] for _ in range(2)]
    busy = client.post("/api/v1/rehearsals", json=asked)
    assert busy.status_code == 409 and "going on" in busy.json()["detail"]
    for name in names:
        assert client.post(f"/api/v1/rehearsals/{name}/cancel").status_code == 204
    for name in names:
        found = until(
            lambda name=name: (lambda r: r if r["standing"] != "running" else None)(  # type: ignore[misc]
                client.get(f"/api/v1/rehearsals/{name}").json()
            ),
            "its end",
        )
        assert found["standing"] == "cancelled", found
    real = SHORT.replace("laboratory: snar-flow", "laboratory: {name: snar-flow}")
    wrong = client.post("/api/v1/rehearsals", json={"yaml": real, "twin": "ald-window"})
    assert wrong.status_code == 409 and "no such knob" in wrong.json()["detail"]
    assert client.post("/api/v1/rehearsals", json={"yaml": SHORT, "experiments": 51}).status_code == 422
