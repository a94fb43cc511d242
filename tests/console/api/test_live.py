"""The stream of changes, from a console in a process of its own, over a real line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from athanor.console.api import live
from athanor.console.api.live import Watch
from athanor.console.api.problems import Denied
from athanor.governance.people import PEOPLE, People
from athanor.memory.canonical import time_text
from athanor.memory.errors import LedgerBusy
from athanor.memory.ledger import Ledger
from tests.console.serving import free_port, serving
from tests.instruments.rig import new_campaign


class Line:
    """A stream that is being read, message by message."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()

    def next(self) -> dict[str, Any]:
        """The next message that is one."""
        said: dict[str, Any] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                said[name] = value
            elif "event" in said:
                return {**said, "data": json.loads(said["data"])}
            else:
                said = {}
        raise AssertionError("the stream ended")


class Site:
    """A console, its ledger, and a program that reads."""

    def __init__(self, home: Path, port: int) -> None:
        self.ledger = Ledger.open(home / "ledger.db")
        self.people = People(home / PEOPLE, lambda kind, body: None)
        secret = self.people.issue("owner", "test", ["read"], 600.0, "owner")
        headers = {"Authorization": f"Bearer {secret}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=60.0)

    def listen(self, after: int | None = None) -> Any:
        return self.client.stream("GET", "/changes", headers={} if after is None else {"Last-Event-ID": str(after)})


@pytest.fixture
def site(home: Path, tmp_path: Path) -> Iterator[Site]:
    port, log = free_port(), tmp_path / "log"
    with serving(port, log):
        made = Site(home, port)
        # The password that was given out would have to be changed first; that is tested elsewhere.
        with made.people._change() as file:
            file.execute("UPDATE person SET must_change = 0")
        yield made
        made.client.close()
        made.ledger.close()


def test_changes_are_told_and_a_cut_stream_goes_on_where_it_was(site: Site) -> None:
    with site.listen() as answer:
        line = Line(answer)
        site.ledger.add_event(None, "one", {"secret": "of the site"})
        first = line.next()
        assert first["event"] == "change" and first["data"].pop("at") <= time_text(datetime.now(UTC))
        assert first["data"] == {"kind": "event", "campaign_id": None}
        assert int(first["id"]) == site.ledger.changes()
    for kind in ("two", "three"):
        site.ledger.add_event(None, kind, {})
    with site.listen(int(first["id"])) as answer:
        line = Line(answer)
        assert [int(line.next()["id"]) for _ in range(2)] == [int(first["id"]) + 1, int(first["id"]) + 2]
        site.ledger.add_event(None, "four", {})
        assert int(line.next()["id"]) == int(first["id"]) + 3


def test_who_missed_too_much_is_told_to_read_anew(site: Site) -> None:
    newest = site.ledger.changes()
    with site.listen(newest + 10**6) as answer:  # of another ledger, or of one that was restored
        line = Line(answer)
        told = line.next()
        assert (told["event"], int(told["id"])) == ("reload", newest)
        site.ledger.add_event(None, "one", {})
        assert line.next()["event"] == "change"


def test_a_stream_ends_with_the_right_to_it(site: Site) -> None:
    with site.listen() as answer:
        line = Line(answer)
        site.people.end(site.people.tokens()[0].id, "owner")
        told = line.next()
        assert told["event"] == "ended" and told["data"]["code"] == "token.ended"
        with pytest.raises(AssertionError, match="ended"):
            line.next()


def test_nobody_listens_without_a_right_to(site: Site) -> None:
    answer = httpx.get(f"{site.client.base_url}changes")
    assert answer.status_code == 401


def test_the_ledger_is_looked_at_once_for_everybody(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Ledger.create(home / "ledger.db") as ledger:
        looks: list[int] = []
        lines = ledger.lines
        monkeypatch.setattr(ledger, "lines", lambda after, limit: looks.append(after) or lines(after, limit))
        watch = Watch(ledger)
        start = watch.position()
        for index in range(3):
            ledger.add_event(None, f"event-{index}", {})
        assert watch.position() == start, "as of a moment ago"
        now += live.LOOK_S
        assert [watch.position() for _ in range(50)] == [start + 3] * 50 and looks == [start]
        newest, rows = watch.since(start + 1)
        assert newest == start + 3 and rows is not None and [row.position for row in rows] == [start + 2, start + 3]
        assert watch.since(start + 3) == (start + 3, []) and looks == [start]
        newest, rows = watch.since(start - 1)  # from before it began to look
        assert rows is not None and [row.position for row in rows] == list(range(start, start + 4))
        assert watch.since(start + 4)[1] is None, "of another ledger"


def test_a_campaign_is_known_by_where_it_changed_last(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Ledger.create(home / "ledger.db") as ledger:
        one, other = (new_campaign(ledger, name, simulated=True).id for name in ("one", "other"))
        watch = Watch(ledger)
        start = watch.position()
        assert watch.of(one) == watch.of(other) == start
        ledger.add_event(one, "something", {})
        now += live.LOOK_S
        watch.position()
        assert (watch.of(one), watch.of(other)) == (start + 1, start)
        assert watch.campaigns() == start
        ledger.set_campaign_state(other, "running")
        ledger.add_event(one, "something", {})
        now += live.LOOK_S
        assert watch.position() == start + 3 and watch.campaigns() == start + 2


def test_so_many_may_listen_and_who_left_makes_room() -> None:
    seats = live.Seats(of_one=2, of_all=3)
    mine = [seats.take("me"), seats.take("me")]
    with pytest.raises(Denied, match="too many listen"):
        seats.take("me")
    yours = seats.take("you")
    with pytest.raises(Denied, match="too many listen"):
        seats.take("them")
    mine.pop()
    mine.append(seats.take("me"))
    mine[0].leave()  # whoever may still hold it
    assert seats.take("me") is not None and yours is not None


def test_what_is_asked_for_is_made_before_a_change_is_told(home: Path) -> None:
    async def watching() -> None:
        made: list[tuple[str, int]] = []

        def make(name: str) -> Any:
            async def one(position: int) -> int:
                made.append((name, position))
                await asyncio.sleep(0)
                return position

            return one

        watch = Watch(ledger)
        start = await watch.answer("all", None, make("all"))
        assert await watch.answer("one", one, make("one")) == await watch.answer("other", other, make("other")) == start
        made.clear()
        ledger.add_event(one, "something", {})
        while watch.told == start:
            await watch.news()
        assert watch.told == start + 1 and sorted(made) == [("all", start + 1), ("one", start + 1)]

    with Ledger.create(home / "ledger.db") as ledger:
        one, other = (new_campaign(ledger, name, simulated=True).id for name in ("one", "other"))
        asyncio.run(watching())


def test_what_cannot_be_made_keeps_no_change_from_being_told(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(live, "RENEW_S", 0.01)

    async def watching() -> None:
        async def fails(position: int) -> None:
            raise RuntimeError("no")

        async def never(position: int) -> None:
            await asyncio.Event().wait()

        watch = Watch(ledger)
        await watch.look()
        for key, make in (("fails", fails), ("never", never)):
            with contextlib.suppress(RuntimeError, TimeoutError):
                await asyncio.wait_for(watch.answer(key, None, make), 0.01)
        start = watch.told
        ledger.add_event(None, "something", {})
        await watch.look()
        while watch.told == start:
            await watch.news()
        assert watch.told == start + 1

    with Ledger.create(home / "ledger.db") as ledger:
        asyncio.run(watching())


def test_a_look_that_fails_or_is_left_alone_is_followed_by_another(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    async def watching() -> None:
        watch = Watch(ledger)
        await watch.look()
        start = watch.told
        ledger.add_event(None, "something", {})
        monkeypatch.setattr(ledger, "lines", busy)
        with pytest.raises(LedgerBusy):
            while True:
                await watch.news()
        monkeypatch.undo()
        alone = asyncio.ensure_future(watch.look())
        await asyncio.sleep(0)
        alone.cancel()
        while watch.told == start:
            await watch.news()
        assert watch.told == start + 1

    def busy(*_given: object) -> None:
        raise LedgerBusy("somebody has it")

    with Ledger.create(home / "ledger.db") as ledger:
        asyncio.run(watching())


def test_what_is_known_waits_for_no_look(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(after: int, limit: int) -> list[Any]:
        began.set()
        assert go.wait(30)
        return lines(after, limit)

    with Ledger.create(home / "ledger.db") as ledger:
        watch = Watch(ledger)
        start = watch.position()
        lines = ledger.lines
        monkeypatch.setattr(ledger, "lines", slow)
        monkeypatch.setattr(live, "LOOK_S", 0.0)
        looking = threading.Thread(target=watch.position)
        looking.start()
        assert began.wait(30)
        assert (watch.of("a"), watch.known(start)) == (start, (start, []))
        go.set()
        looking.join()
