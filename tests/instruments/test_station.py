from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from athanor.instruments.station import AlreadyAnswered, Position, StationError
from tests.instruments.stationing import NOW, answer, measurement, setting, sheet, station, worker


def test_a_sheet_comes_back_as_it_was_written(home: Path) -> None:
    found, _ = station(home)
    assert found.sheet() is None
    assert found.standing(None) == "nothing"
    asked = sheet(setting(), measurement(refused="too much"))
    found.write(asked)
    assert found.sheet() == asked
    for path in (found.folder, *found.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_one_waits_only_while_the_worker_that_asked_listens(home: Path) -> None:
    found, place = station(home)
    asked = sheet(setting())
    assert found.standing(asked) == "orphan"
    with worker(place):
        assert found.standing(asked) == "waiting"
        assert found.standing(sheet()) == "nothing"
        assert found.standing(sheet(setting(), state="over")) == "nothing"
        assert found.standing(sheet(setting(), state="withdrawn")) == "withdrawn"
        assert found.standing(sheet(setting(), pid=os.getpid() + 1)) == "orphan"  # that one is another worker


def test_a_question_is_answered_once_however_many_try(home: Path) -> None:
    found, _ = station(home)
    question = setting()

    def attempt(number: int) -> bool:
        try:
            found.give(answer(question, "done", note=str(number)))
        except AlreadyAnswered as error:
            assert "anna" in str(error)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 1
    assert found.answer(question.id) is not None
    assert [path.name for path in (found.folder / "answers").iterdir()] == [f"{question.id}.json"]


def test_an_answer_set_aside_is_kept_and_makes_room(home: Path) -> None:
    found, _ = station(home)
    for _ in range(2):
        found.give(answer(setting(), "enter", value=3.0))
        found.set_aside(setting().id)
    found.give(answer(setting(), "done"))
    names = sorted(path.name for path in (found.folder / "answers").iterdir())
    assert names == [f"{setting().id}{ending}" for ending in (".json", ".refused-1", ".refused-2")]
    assert [one.verb for one in found.answers("intent-1")] == ["done"]
    assert found.answers("intent-2") == []


def test_a_damaged_file_is_named(home: Path) -> None:
    found, _ = station(home)
    found.write(sheet(setting()))
    (found.folder / "asked.json").write_text('{"instrument": "bench", "half')
    with pytest.raises(StationError, match=r"asked\.json is damaged"):
        found.sheet()
    found.withdraw("a stop goes on all the same")


def test_withdrawing_leaves_what_was_asked_last(home: Path) -> None:
    found, _ = station(home)
    found.withdraw("nothing there")
    found.write(sheet(setting()))
    found.withdraw("Stop All")
    left = found.sheet()
    assert left is not None
    assert (left.state, left.why, len(left.questions)) == ("withdrawn", "Stop All", 1)
    found.write(sheet(state="over"))
    found.withdraw("Stop All")
    assert found.sheet() == sheet(state="over")


def test_where_an_axis_stands_is_remembered(home: Path) -> None:
    found, _ = station(home)
    assert found.position("furnace") is None
    found.note_position("furnace", Position(value=450, by="anna", at=NOW))
    assert found.position("furnace") == Position(value=450, by="anna", at=NOW)


def test_an_id_is_no_way_out_of_the_folder(home: Path) -> None:
    found, _ = station(home)
    with pytest.raises(StationError, match="no question's id"):
        found.answer("../../gate")


def test_the_log_has_a_line_for_each(home: Path) -> None:
    found, _ = station(home)
    found.log("refused", code="entry.unit")
    found.log("used")
    lines = [json.loads(line) for line in (found.folder / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["refused", "used"]
