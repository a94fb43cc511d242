"""A site with a campaign on a simulated and one on a real instrument, and somebody of every role."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import argon2
from starlette.testclient import TestClient

from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.spec import parse
from athanor.console.api.app import create_app
from athanor.console.api.desk import Desk
from athanor.console.api.door import CSRF
from athanor.console.api.limits import RATES, Limits, Rate
from athanor.governance.alarm_catalogue import WRITES_OFF
from athanor.governance.alarms import Condition
from athanor.governance.rights import ROLES
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from athanor.memory.records import Experiment
from tests.instruments.rig import new_campaign

PASSWORD = "seven brown otters swim"
HOST = "127.0.0.1:8765"
POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}


class Site:
    """The application, its people, and clients that are signed in."""

    def __init__(self, home: Path) -> None:
        self.ledger = Ledger.create(home / "ledger.db")
        self.desk = Desk(self.ledger, home)
        self.now = 1_800_000_000.0
        self.desk.people._clock = lambda: self.now
        # The tests ask more in a second than people do in an hour.
        self.desk.limits = Limits(dict.fromkeys(RATES, Rate(1e6, 1e6)))
        self.app = create_app(self.desk, [HOST])
        found: Any = load("snar-flow")
        self.campaign: str = open_campaign(parse(found.campaign_file().read_text()), self.ledger)
        self.place = InstrumentPlace.of("snar-flow", home)
        self.place.directory.mkdir(parents=True, exist_ok=True)
        Config(found.profile(), {}).write(self.place)
        self.real = new_campaign(self.ledger, "real", simulated=False, instrument="reactor-7").id
        self.experiment = self.propose()
        # A password costs a twentieth of a second on purpose; the tests try hundreds.
        self.desk.people._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        hashed = self.desk.people._hasher.hash(PASSWORD)
        for role in ROLES:
            with self.desk.people._change() as file:
                file.execute(
                    "INSERT INTO person (login, name, role, is_active, added, password, must_change)"
                    " VALUES (?, ?, ?, 1, ?, ?, 0)",
                    (role, role.title(), role, self.now, hashed),
                )

    @cached_property
    def alarm(self) -> str:
        """An alarm of the simulated instrument, raised when it is first asked for."""
        raised = self.desk.alarms.raise_(
            Condition(WRITES_OFF, "snar-flow", "new tubing", instrument="snar-flow", simulated=True)
        )
        assert raised is not None
        return raised.id

    def propose(self) -> Experiment:
        return self.propose_at(POINT)

    def propose_at(self, values: Mapping[str, float]) -> Experiment:
        return propose_experiment(self.ledger, self.campaign, dict(values), by="test")

    def visitor(self, **headers: str) -> TestClient:
        """Somebody who is not signed in."""
        return TestClient(self.app, base_url=f"http://{HOST}", headers=headers, client=("127.0.0.1", 1))

    def signed_in(self, login: str, password: str = PASSWORD) -> TestClient:
        client = self.visitor()
        answer = client.post("/api/v1/session", json={"login": login, "password": password})
        assert answer.status_code == 200, answer.text
        client.headers[CSRF] = answer.json()["csrf"]
        return client

    def program(self, login: str, *scopes: Any, life_s: float = 3600.0) -> TestClient:
        """A program with a token."""
        secret = self.desk.people.issue(login, "test", scopes, life_s, login)
        return self.visitor(Authorization=f"Bearer {secret}")

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event.body for event in self.ledger.events(kinds=[kind])]


def code(answer: Any) -> str:
    return str(answer.json()["code"])
