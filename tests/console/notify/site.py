"""A site that tells people of what happens, with a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from athanor.console.api.desk import Desk
from athanor.console.notify.notifier import Notifier
from athanor.console.settings import Settings, parse
from athanor.governance.gate import Gate
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.records import Experiment, revision_of
from athanor.memory.signing import GateKey
from tests.console.post import Hook, Post
from tests.instruments.rig import PROBLEM, new_campaign

NOON = datetime(2026, 1, 14, 12, 0, tzinfo=UTC)
KEY = "whsec_c2VzYW1lIG9wZW4="


class Telling:
    def __init__(self, home: Path, post: Post, hook: Hook) -> None:
        self.home, self.post, self.hook = home, post, hook
        self.now = NOON
        self.ledger = Ledger.create(home / "ledger.db", clock=lambda: self.now)
        self.campaign = new_campaign(self.ledger, "flow", simulated=True).id
        self.place = InstrumentPlace.of("snar-flow", home)
        self.place.directory.mkdir(parents=True)
        Latch(self.place).create()
        self.desk = Desk(self.ledger, home)
        for login in ("ada", "bob", "eve"):
            self.desk.people.add(login, login.title(), "operator", "setup")
        for name, text in (("hook", KEY), ("mail", "between us")):
            file = home / f"{name}-secret"
            file.touch(mode=0o600)
            file.write_text(text)
        self.notifiers: list[Notifier] = []
        self.notifier: Notifier

    def settings(self, rules: str, more: str = "", ada: str = "", mail: str = "security: none") -> Settings:
        text = f"""
notifications:
  address: https://lab.example:8443/
  {more}
  people:
    - {{login: ada, email: ada@example.org{ada}}}
    - {{login: bob, email: bob@example.org}}
    - {{login: eve, email: eve@example.org}}
  mail: {{host: 127.0.0.1, port: {self.post.port}, sender: athanor@example.org, {mail}}}
  webhooks:
    - {{name: chat, url: "http://127.0.0.1:{self.hook.port}/hook", secret_file: hook-secret}}
  rules:
{rules}
"""
        return parse(text, self.home / "console.yaml")

    def start(self, rules: str, **settings: Any) -> Notifier:
        """A console begins to tell; a second one takes over from the one before when that has let go."""
        found = self.settings(rules, **settings).notifications
        self.desk.settings = Settings(notifications=found)
        self.notifier = Notifier(self.ledger, self.desk.people, found, lambda: [self.place])
        self.notifiers.append(self.notifier)
        self.look()
        return self.notifier

    def look(self, minutes: float = 0.0) -> None:
        """Let time go by, look, and wait until everything is sent."""
        self.now += timedelta(minutes=minutes)
        self.notifier.look()
        self.notifier.settle()

    def propose(self) -> Experiment:
        ordinal = self.ledger.next_ordinal(self.campaign)
        parts: dict[str, Any] = {"values": {"temperature": 61.5}, "purpose": "explore", "replicates": 1}
        none: dict[str, Any] = {"registration_id": None, "block": None, "arm": None}
        revision = revision_of(campaign=self.campaign, ordinal=ordinal, problem_hash=PROBLEM, **parts, **none)
        return self.ledger.add_experiment(
            Experiment(
                id=f"{self.campaign}.{ordinal}",
                campaign_id=self.campaign,
                ordinal=ordinal,
                revision=revision,
                created_at=self.now,
                **parts,
            )
        )

    def withdraw(self, experiment: Experiment) -> None:
        self.ledger.set_experiment_state(experiment.id, "withdrawn", reason="not now")

    def doubt(self) -> Experiment:
        """An experiment that was started, and of which nobody knows what became."""
        experiment = self.propose()
        gate = Gate(self.ledger, GateKey.load_or_create(keys_dir()), "ada")
        decision = gate.approve(experiment.id, experiment.revision, Latch(self.place).read().count)
        lease = self.ledger.acquire_lease("instrument:snar-flow", "test", 600)
        self.ledger.commit_intent(experiment.id, decision.id, "snar-flow", "test", lease.epoch)
        self.ledger.set_experiment_state(experiment.id, "in_doubt", reason="the worker died")
        return experiment

    def went(self, state: Any, reason: str = "because 42 degC") -> None:
        self.ledger.set_campaign_state(self.campaign, state, reason=reason)

    def stopped(self, reason: str = "a leak") -> Latch:
        latch = Latch(self.place)
        latch.engage(reason, "bob")
        return latch

    def happens(self, kind: str, **body: Any) -> None:
        self.ledger.add_event(None, kind, body)

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event.body for event in self.ledger.events(kinds=[kind])]

    def subjects(self, login: str = "ada") -> list[str]:
        return self.post.to(f"{login}@example.org")

    def close(self) -> None:
        for notifier in self.notifiers:
            notifier.stop()
        self.ledger.close()
