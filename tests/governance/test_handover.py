"""A handover from its draft to the second signature, and what is refused on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from athanor.governance.handover import (
    KIND,
    OLDEST_FACTS,
    TITLES,
    Fact,
    Handover,
    HandoverError,
    Handovers,
    StaleHandover,
)
from athanor.governance.handover_text import document, markdown
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify

FACTS = {"campaigns": [Fact("c1 on reactor: running", "c1")], "stock": [Fact("MeCN: 19 mL left", "MeCN")]}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(home: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(home / "ledger.db", clock=clock) as made:
        yield made


@pytest.fixture
def all_(ledger: Ledger) -> Handovers:
    return Handovers(ledger)


def begun(all_: Handovers, clock: Clock, by: str = "ada") -> Handover:
    return all_.begin(by, clock.now - timedelta(hours=8), clock.now, FACTS)  # type: ignore[arg-type]


def signed(all_: Handovers, clock: Clock) -> Handover:
    one = begun(all_, clock)
    return all_.sign(one.id, "ada", one.revision, one.sha256)


def test_from_the_draft_to_the_second_signature(all_: Handovers, ledger: Ledger, clock: Clock) -> None:
    one = begun(all_, clock)
    assert (one.state, one.outgoing, one.revision) == ("draft", "ada", 1)
    assert [section.id for section in one.sections] == list(TITLES)
    noted = all_.note(one.id, "ada", 1, "campaigns", "  let it run\nuntil noon ")
    assert noted.sections[0].note == "let it run\nuntil noon" and noted.sections[0].noted_by == "ada"
    assert noted.sha256 != one.sha256 and noted.revision == 2
    clock.now += timedelta(minutes=5)
    fresh = all_.refresh(one.id, "ada", 2, clock.now, {"doubt": [Fact("c1.4: no end")]})
    assert fresh.sections[0].facts == () and fresh.sections[0].note and fresh.until == clock.now
    first = all_.sign(one.id, "ada", 3, fresh.sha256)
    assert (first.state, first.signed_at, first.signed_sha256) == ("signed", clock.now, fresh.sha256)
    assert first.sha256 == fresh.sha256, "signing changes nothing of what is signed"
    second = all_.accept(one.id, "bob", first.sha256, "I have read it")
    assert (second.state, second.incoming, second.remark) == ("accepted", "bob", "I have read it")
    assert second.is_as_signed and Handovers(ledger).one(one.id) == second
    verbs = [(event.body["verb"], event.body["by"]) for event in all_.history(one.id)]
    assert verbs == [("drafted", "ada"), ("noted", "ada"), ("refreshed", "ada"), ("signed", "ada"), ("accepted", "bob")]
    assert all_.history(one.id)[-1].body["sha256"] == second.sha256 and verify(ledger).is_clean


def test_the_second_is_another_person(all_: Handovers, clock: Clock) -> None:
    one = begun(all_, clock)
    with pytest.raises(HandoverError, match="ada's to sign first"):
        all_.sign(one.id, "bob", 1, one.sha256)
    with pytest.raises(HandoverError, match="still a draft"):
        all_.accept(one.id, "bob", one.sha256)
    first = all_.sign(one.id, "ada", 1, one.sha256)
    with pytest.raises(HandoverError, match="by two people"):
        all_.accept(one.id, "ada", first.sha256)


def test_what_was_signed_does_not_change(all_: Handovers, clock: Clock) -> None:
    one = signed(all_, clock)
    for do in (
        lambda: all_.note(one.id, "ada", one.revision, "stock", "x"),
        lambda: all_.refresh(one.id, "ada", one.revision, clock.now, {}),
        lambda: all_.sign(one.id, "ada", one.revision, one.sha256),
        lambda: all_.discard(one.id, "ada", "x"),
    ):
        with pytest.raises(HandoverError, match="signed by ada"):
            do()
    all_.accept(one.id, "bob", one.sha256)
    for do in (
        lambda: all_.note(one.id, "ada", one.revision, "stock", "x"),
        lambda: all_.send_back(one.id, "bob", "x"),
        lambda: all_.accept(one.id, "eve", one.sha256),
    ):
        with pytest.raises(HandoverError, match="accepted by bob"):
            do()


def test_a_signature_is_for_what_was_seen(all_: Handovers, clock: Clock) -> None:
    one = begun(all_, clock)
    with pytest.raises(StaleHandover):
        all_.sign(one.id, "ada", 1, "0" * 64)
    all_.note(one.id, "eve", 1, "remarks", "the pump is loud")
    with pytest.raises(StaleHandover, match="changed by eve at 14:00:00 UTC"):
        all_.sign(one.id, "ada", 1, one.sha256)
    now = all_.one(one.id)
    first = all_.sign(one.id, "ada", now.revision, now.sha256)
    with pytest.raises(StaleHandover):
        all_.accept(one.id, "bob", one.sha256)
    assert all_.accept(one.id, "bob", first.sha256).state == "accepted"


def test_old_facts_are_not_signed_for(all_: Handovers, clock: Clock) -> None:
    one = begun(all_, clock)
    clock.now += OLDEST_FACTS + timedelta(seconds=1)
    with pytest.raises(HandoverError, match=r"from 2026-05-04 14:00 UTC") as refused:
        all_.sign(one.id, "ada", 1, one.sha256)
    assert "Refresh" in str(refused.value.remedy)


def test_of_two_who_write_at_once_one_is_told(all_: Handovers, ledger: Ledger, clock: Clock) -> None:
    one = begun(all_, clock)
    start = threading.Barrier(2)
    lost: list[str] = []

    def write(name: str) -> None:
        mine = Handovers(ledger)
        mine.one(one.id)
        start.wait()
        try:
            mine.note(one.id, name, 1, "remarks", f"by {name}")
        except StaleHandover as error:
            lost.append(str(error))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("ada", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = all_.one(one.id)
    [section] = [section for section in now.sections if section.id == "remarks"]
    assert len(lost) == 1 and f"changed by {section.noted_by}" in lost[0] and now.revision == 2


def test_sent_back_and_signed_anew(all_: Handovers, clock: Clock) -> None:
    one = signed(all_, clock)
    with pytest.raises(HandoverError, match="say why"):
        all_.send_back(one.id, "bob", " ")
    back = all_.send_back(one.id, "bob", "what of the pump?")
    assert (back.state, back.signed_at, back.returned) == ("draft", None, "what of the pump? (bob)")
    noted = all_.note(one.id, "ada", back.revision, "remarks", "the pump was replaced")
    again = all_.sign(one.id, "ada", noted.revision, noted.sha256)
    assert all_.accept(one.id, "bob", again.sha256).is_as_signed


def test_one_open_at_a_time_for_each_person(all_: Handovers, clock: Clock) -> None:
    one = begun(all_, clock)
    begun(all_, clock, by="eve")
    with pytest.raises(HandoverError, match=one.id):
        begun(all_, clock)
    assert all_.discard(one.id, "bob", "she has gone home").discarded == "she has gone home (bob)"
    assert begun(all_, clock).state == "draft" and len(all_.all()) == 3


def test_a_shift_makes_sense(all_: Handovers, clock: Clock) -> None:
    for since in (clock.now + timedelta(seconds=1), clock.now - timedelta(days=7, seconds=1)):
        with pytest.raises(HandoverError, match="a shift began"):
            all_.begin("ada", since, clock.now, {})
    with pytest.raises(NotFound):
        all_.note("handover-x", "ada", 1, "remarks", "x")
    one = begun(all_, clock)
    for section, text in (("nowhere", "x"), ("remarks", "x" * 5001)):
        with pytest.raises(HandoverError, match="a note"):
            all_.note(one.id, "ada", 1, section, text)  # type: ignore[arg-type]


def test_what_is_slipped_in_beside_it_shows(all_: Handovers, ledger: Ledger, clock: Clock) -> None:
    one = signed(all_, clock)
    body = {"handover": one.id, "verb": "noted", "by": "ada", "section": "remarks", "note": "I said so"}
    ledger.add_event(None, KIND, body)
    ledger.add_event(None, KIND, {"nothing": "of this"})
    now = all_.one(one.id)
    assert not now.is_as_signed and "this is not what was signed" in markdown(now)
    with pytest.raises(HandoverError, match="is not what ada signed"):
        all_.accept(one.id, "bob", now.sha256)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_as_a_document_nothing_that_was_written_is_markup(all_: Handovers, clock: Clock) -> None:
    one = begun(all_, clock)
    nasty = "<script>alert(1)</script>\n# big\n[x](http://evil.example) *b* `c` | a &amp;"
    noted = all_.note(one.id, "ada", 1, "stock", nasty)
    first = all_.sign(one.id, "ada", noted.revision, noted.sha256)
    done = all_.accept(one.id, "bob", first.sha256, "<b>seen</b>")
    page = Tags()
    page.feed(document(done))
    assert not page.seen & {"script", "b", "a", "img", "link"} and nasty in page.text and "<b>seen</b>" in page.text
    text = markdown(done)
    assert "<script" not in text.replace("\\<", "") and "\n# big" not in text and "[x](" not in text
    for found in (page.text, text):
        assert done.sha256 in found and "2026-05-04 14:00 UTC" in found and "MeCN: 19 mL left" in found
    for title in TITLES.values():
        assert title in page.text and title in text
