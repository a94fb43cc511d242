"""The worker's side of a station: what stands on the sheet, and when it goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from athanor.instruments import entries
from athanor.instruments.laboratory import RunContext
from athanor.instruments.protocols.desk import CannotBeDone, Desk, NobodyAnswered, Withdrawn
from athanor.instruments.station import Sheet, Station
from tests.instruments.stationing import measurement, setting, station


def context(number: int = 1) -> RunContext:
    return RunContext(f"intent-{number}", f"bench-abcd.{number}", number, 1, 1)


@pytest.fixture
def found(home: Path) -> Station:
    return station(home)[0]


@pytest.fixture
def desk(found: Station) -> Desk:
    desk = Desk(found, "bench", ["furnace", "balance"])
    desk.begin(context())
    return desk


def sheet_of(found: Station) -> Sheet:
    sheet = found.sheet()
    assert sheet is not None
    return sheet


def test_what_is_asked_together_stands_on_one_sheet_in_the_profiles_order(found: Station, desk: Desk) -> None:
    async def play() -> None:
        asked = [desk.ask(measurement()), desk.ask(setting())]
        waits = [asyncio.ensure_future(desk.answer(one, 30)) for one in asked]
        while found.sheet() is None:
            await asyncio.sleep(0.01)
        sheet = sheet_of(found)
        assert [one.id for one in sheet.questions] == ["intent-1.002.furnace", "intent-1.001.balance"]
        for one in entries.done(sheet.questions, "anna"):
            found.give(one)
        assert (await waits[1]).verb == "done"
        assert [one.device for one in sheet_of(found).questions] == ["balance"]
        desk.end()
        with pytest.raises(Withdrawn):
            await waits[0]

    asyncio.run(play())
    assert (sheet_of(found).state, sheet_of(found).questions) == ("over", ())


def test_a_new_run_asks_nothing_of_the_old_one(found: Station, desk: Desk) -> None:
    async def play() -> None:
        waiting = asyncio.ensure_future(desk.answer(desk.ask(setting()), 30))
        while found.sheet() is None:
            await asyncio.sleep(0.01)
        desk.begin(context(2))
        with pytest.raises(Withdrawn):
            await waiting
        assert desk.ask(setting()).id == "intent-2.001.furnace"

    asyncio.run(play())


def test_it_waits_no_longer_than_allowed(found: Station, desk: Desk) -> None:
    with pytest.raises(NobodyAnswered, match=r"balance: nobody entered what it measures within 0\.1 s"):
        asyncio.run(desk.answer(desk.ask(measurement()), 0.1))
    assert sheet_of(found).questions == ()


def test_who_cannot_says_why(found: Station, desk: Desk) -> None:
    asked = desk.ask(setting())
    for one in entries.cannot([asked], "no power", "anna"):
        found.give(one)
    with pytest.raises(CannotBeDone, match=r"^no power \(said anna\)$"):
        asyncio.run(desk.answer(asked, 30))


def test_a_disk_that_takes_nothing_fails_the_question(found: Station, desk: Desk) -> None:
    found.folder.parent.mkdir(parents=True, exist_ok=True)
    found.folder.write_text("in the way")
    with pytest.raises(OSError, match="station"):
        asyncio.run(desk.answer(desk.ask(setting()), 30))


def test_where_nothing_runs_nobody_is_asked(home: Path) -> None:
    with pytest.raises(RuntimeError, match="outside of a run"):
        Desk(None, "bench").ask(setting())
    with pytest.raises(RuntimeError, match="outside of a run"):
        Desk(station(home)[0], "bench").ask(setting())
    Desk(None, "bench").stop()
    Desk(None, "bench").end()
