"""The client on a real console over a real line, which loses requests and answers; and the commands that use it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.spec import PolicySpec, parse
from athanor.console import client as module
from athanor.console.cli.app import run
from athanor.console.client import (
    Client,
    Conflict,
    Invalid,
    NoSuchThing,
    NotAllowed,
    NotSignedIn,
    ServerProblem,
    Unknown,
    Unreachable,
    checked,
    token_at_hand,
)
from athanor.console.commands.refused import Refused
from athanor.governance.people import PEOPLE, People
from athanor.governance.rights import SCOPES
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from tests.console.api.site_rig import POINT
from tests.console.pages.browser import with_accounts
from tests.console.serving import free_port, serving


class Losing(httpx2.BaseTransport):
    """A line that loses what is told to be lost next: `sent` before it arrives, `answered` after."""

    def __init__(self) -> None:
        self.inner = httpx2.HTTPTransport()
        self.next: list[str] = []
        self.asked: list[tuple[str, str, str | None]] = []
        self.meanwhile: Any = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.method, request.url.path, request.headers.get("Idempotency-Key")))
        fate = self.next.pop(0) if self.next else "arrives"
        if fate == "sent":
            raise httpx2.ConnectError("the line is down")
        answer = self.inner.handle_request(request)
        if fate == "answered":
            answer.read()
            answer.close()
            if self.meanwhile is not None:
                self.meanwhile()
            raise httpx2.ReadError("the line broke")
        return answer

    def close(self) -> None:
        self.inner.close()


class Lab:
    """A console in a process of its own with a campaign, and clients of it."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home, self.log, self.port = home, log, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.line = Losing()
        self.pauses: list[float] = []
        with_accounts(home)
        self.ledger = Ledger.open(home / "ledger.db")
        self.people = People(home / PEOPLE, lambda kind, body: None)
        found: Any = load("snar-flow")
        spec = parse(found.campaign_file().read_text())
        self.campaign = open_campaign(
            spec.model_copy(update={"policy": PolicySpec(autonomy="approve_each")}), self.ledger
        )
        self.place = InstrumentPlace.of("snar-flow", home)
        self.place.directory.mkdir(parents=True, exist_ok=True)
        Config(found.profile(), {}).write(self.place)

    def token(self, login: str, *scopes: Any) -> str:
        return self.people.issue(login, "test", scopes or SCOPES, 3600.0, login)

    def client(self, login: str = "operator", *scopes: Any) -> Client:
        return Client(self.url, self.token(login, *scopes), transport=self.line, pause=self.pauses.append)

    def propose(self) -> Any:
        return propose_experiment(self.ledger, self.campaign, POINT, by="test")


@pytest.fixture
def lab(home: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(home, tmp_path / "console.log")
    with serving(made.port, made.log):
        yield made
    made.line.close()
    made.ledger.close()


def test_reading_deciding_and_steering(lab: Lab) -> None:
    first, second, third = lab.propose(), lab.propose(), lab.propose()
    client = lab.client()
    [line] = client.campaigns()
    assert line.id == lab.campaign and list(client.campaigns(state=["running"])) == []
    assert client.campaign(lab.campaign).waiting == [first.id, second.id, third.id]
    assert client.approve(first.id, first.revision[:8]).decided_by == "operator"
    assert client.reject(second.id, second.revision, "too hot").reason == "too hot"
    changed = client.edit(third.id, third.revision, {"temperature": 70.0}, "warmer")
    assert changed.parent_id == third.id and client.experiment(changed.id).values["temperature"] == 70.0
    proposed = client.propose(lab.campaign, POINT)
    assert proposed.source == "operator"
    assert [e.id for e in client.experiments(lab.campaign, ["approved"])] == [first.id]
    assert [d.kind for d in client.decisions(lab.campaign)] == ["approve", "reject", "edit"]
    assert list(client.hypotheses(lab.campaign)) == [] and len(list(client.events(lab.campaign))) >= 0
    assert client.pause(lab.campaign) is False and client.stop_after_step(lab.campaign) is False
    [instrument] = client.instruments()
    assert instrument == client.instrument("snar-flow") and not instrument.latch.engaged
    stopped = client.stop_all("test")
    assert not stopped.confirmed and Latch(lab.place).read().engaged
    with pytest.raises(Conflict, match="stopped snar-flow again"):
        client.reset_stop("snar-flow", "it was a test", Latch(lab.place).read().count - 2)
    assert client.instrument("snar-flow").latch.engaged
    client.reset_stop("snar-flow", "it was a test")
    assert not client.instrument("snar-flow").latch.engaged
    assert [row.kind for row in client.audit(kind="decision", limit=2)] == ["decision"] * 3
    assert client.compare(lab.campaign).campaigns[0].id == lab.campaign
    assert any(hit.id == first.id for hit in client.remember(kind="experiment"))
    assert client.verification().state == "none"


def test_problems_have_kinds(lab: Lab) -> None:
    experiment = lab.propose()
    client = lab.client()
    with pytest.raises(NoSuchThing) as told:
        client.campaign("none")
    assert (told.value.status, told.value.code) == (404, "not_found")
    with pytest.raises(NoSuchThing):
        client.campaign("../people")
    with pytest.raises(Conflict) as late:
        client.approve(experiment.id, "0" * 64)
    assert late.value.code == "revision.stale"
    with pytest.raises(Invalid) as limit:
        client.edit(experiment.id, experiment.revision, {"temperature": 1e6}, "hotter")
    assert limit.value.code == "limit.violated" and "temperature" in limit.value.detail
    with pytest.raises(NotAllowed):
        lab.client("observer").pause(lab.campaign)
    with pytest.raises(NotSignedIn):
        Client(lab.url, "ath_none", transport=lab.line).instruments()
    with pytest.raises(Refused, match="clear"):
        Client("http://lab.example:8765", "x")


def test_what_the_line_loses_is_done_once(lab: Lab) -> None:
    experiment = lab.propose()
    client = lab.client()
    for lost in (["sent", "answered"], ["answered", "answered", "sent"]):
        lab.line.next = list(lost)
        count = len(lab.ledger.experiments(lab.campaign))
        client.health()  # lost too: a read is read again
        lab.line.next, lab.line.asked = [*lost], []
        assert client.approve(experiment.id, experiment.revision).kind == "approve"
        keys = {key for _, path, key in lab.line.asked if path.endswith("/approve")}
        assert len(keys) == 1 and None not in keys
        experiment = lab.propose()
        lab.line.next = ["arrives", *lost] if client._instance is None else [*lost]
        made = client.propose(lab.campaign, POINT)
        assert len(lab.ledger.experiments(lab.campaign)) == count + 2 and made.id == f"{lab.campaign}.{count + 2}"
    assert lab.pauses and max(lab.pauses) <= module.LONGEST_PAUSE_S
    lab.line.next = ["sent"] * 10
    with pytest.raises(Unreachable, match="nothing was done"):
        client.pause(lab.campaign)
    lab.line.next = ["sent"] * 10
    with pytest.raises(Unreachable):
        list(client.campaigns())
    lab.line.next = ["sent", "answered", "sent"]
    assert client.stop_all("test").notice and Latch(lab.place).read().engaged
    lab.line.next = ["sent"] * 10
    with pytest.raises(Unreachable, match="NOTHING WAS STOPPED"):
        client.stop_all()


def test_a_console_that_was_started_anew_has_forgotten_the_key(home: Path, tmp_path: Path) -> None:
    lab = Lab(home, tmp_path / "console.log")
    client = lab.client()
    experiment = lab.propose()
    is_back, is_over = threading.Event(), threading.Event()

    def serve() -> None:
        with serving(lab.port, lab.log):
            is_back.set()
            assert is_over.wait(120.0)

    again = threading.Thread(target=serve)
    with serving(lab.port, lab.log) as process:

        def killed() -> None:
            lab.line.meanwhile = None
            process.kill()
            process.wait()
            again.start()
            assert is_back.wait(60.0)

        client.propose(lab.campaign, POINT)
        count = len(lab.ledger.experiments(lab.campaign))
        lab.line.meanwhile, lab.line.next = killed, ["answered"]
        try:
            with pytest.raises(Unknown, match="nobody knows"):
                client.propose(lab.campaign, POINT)
            assert len(lab.ledger.experiments(lab.campaign)) == count + 1, "and not once more"
            lab.line.next = ["answered"]
            assert client.approve(experiment.id, experiment.revision).kind == "approve", "this one still has its key"
            with pytest.raises(Conflict):
                client.approve(experiment.id, experiment.revision)
            assert len(lab.ledger.decisions(lab.campaign)) == 1
        finally:
            is_over.set()
            if again.ident is not None:
                again.join()
    lab.line.close()
    lab.ledger.close()


def test_changes_go_on_where_the_line_broke(lab: Lab) -> None:
    client = lab.client()
    after = lab.ledger.changes()
    for kind in ("one", "two"):
        lab.ledger.add_event(None, kind, {})
    changes = client.changes(after)
    assert [next(changes).position for _ in range(2)] == [after + 1, after + 2]
    changes.close()
    lab.ledger.add_event(lab.campaign, "three", {})
    lab.line.next = ["sent", "sent"]
    changes = client.changes(after + 2)
    change = next(changes)
    assert (change.kind, change.campaign_id, change.position) == ("event", lab.campaign, after + 3)
    for token in lab.people.tokens("operator"):
        lab.people.end(token.id, "owner")
    with pytest.raises(NotSignedIn) as told:
        list(changes)
    assert told.value.code == "token.ended"
    lab.line.next = ["sent"] * 10
    with pytest.raises(Unreachable):
        next(client.changes())


def said(text: str, status: int = 200, **headers: str) -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda request: httpx2.Response(status, text=text, headers=headers))


@pytest.mark.parametrize(
    ("transport", "kind"),
    [
        (said("<html>"), ServerProblem),
        (said('{"items": 3}'), ServerProblem),
        (said("gateway", 502), module.Unavailable),
        (said("[]", 404), NoSuchThing),
        (said('{"code": "x"}', 418), ServerProblem),
        (said('{"code":"idempotency.unknown","detail":"x"}', 409), Unknown),
        (said('{"code":"rate","detail":"x"}', 429, **{"Retry-After": "1e9"}), module.Unavailable),
    ],
)
def test_what_is_no_console_is_said_to_be_none(transport: httpx2.MockTransport, kind: type[ServerProblem]) -> None:
    pauses: list[float] = []
    client = Client("http://127.0.0.1:1", "x", transport=transport, pause=pauses.append)
    with pytest.raises(kind):
        client.campaign("x")
    with pytest.raises(kind):
        client.pause("x")
    assert all(0 <= pause <= module.LONGEST_PAUSE_S for pause in pauses)


@pytest.mark.parametrize(
    "url", ["", "lab", "ftp://lab", "http://", "https://u:p@lab", "http://lab:x", "https://lab?x=1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        checked(url)
    assert checked("https://lab:8443/api/v1/") == "https://lab:8443"


def test_a_token_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    monkeypatch.delenv(module.TOKEN, raising=False)
    monkeypatch.delenv(module.TOKEN_FILE, raising=False)
    with pytest.raises(Refused, match="no token"):
        token_at_hand()
    monkeypatch.setenv(module.TOKEN_FILE, str(file))
    with pytest.raises(Refused, match="cannot be read"):
        token_at_hand()
    file.write_text("ath_secret\n")
    file.chmod(0o644)
    with pytest.raises(Refused, match="others may read"):
        token_at_hand()
    file.chmod(0o600)
    assert token_at_hand() == "ath_secret"
    file.write_text(" ")
    with pytest.raises(Refused):
        token_at_hand()
    monkeypatch.setenv(module.TOKEN, "ath_other")
    assert token_at_hand() == "ath_other"


def test_commands_on_a_server(lab: Lab, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(words)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    first, second = lab.propose(), lab.propose()
    monkeypatch.setenv(module.TOKEN, lab.token("operator"))
    server = ("--server", lab.url)
    assert lab.campaign in call("list", *server)[1]
    listed = json.loads(call("list", *server, "--json")[1])
    assert [line["id"] for line in listed["campaigns"]] == [lab.campaign]
    shown = call("show", lab.campaign[:6], *server)[1].replace("\n", "")
    assert f"{first.id}@{first.revision[:8]}" in shown
    assert call("approve", f"{first.id}@{first.revision[:8]}", *server)[0] == 0
    assert lab.ledger.experiment(first.id).state == "approved"
    code, _, err = call("approve", f"{first.id}@{first.revision[:8]}", *server)
    assert code == 1 and "approve by operator" in err.replace("\n", " ")
    monkeypatch.setenv(module.SERVER, lab.url)
    assert call("reject", f"{second.id}@{second.revision[:8]}", "--reason", "no")[0] == 0
    assert lab.ledger.experiment(second.id).reason == "no"
    assert "no process drives it" in call("pause", lab.campaign)[2].replace("\n", " ")
    assert json.loads(call("stop-after-step", lab.campaign, "--json")[1])["requested"] == "none"
    assert call("show", "nothing-like-it")[0] == 1
    assert call("list", "--ledger", str(lab.home / "ledger.db"), *server)[0] == 1, "two places"
    assert "bayesian" not in call("list", "--ledger", str(lab.home / "ledger.db"), "--json")[1]
    assert not Latch(lab.place).read().engaged
    code, _, err = call("stop-all", "--reason", "from afar", *server)
    assert code == 3 and "was not running" in err
    assert Latch(lab.place).read().engaged
    monkeypatch.setenv(module.TOKEN, "ath_none")
    code, _, err = call("stop-all", *server)
    assert code == 1 and "NOTHING WAS STOPPED" in err
