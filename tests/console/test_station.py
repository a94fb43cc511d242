"""`athanor station`: what a person is told, and what becomes of what the person says."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from athanor.console.cli import asking, bench
from athanor.console.cli.app import run
from athanor.instruments.entries import EntryRefused, check
from athanor.instruments.station import Sheet, Station
from athanor.memory.places import InstrumentPlace
from tests.instruments.stationing import measurement, setting, sheet, station, worker


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    found = station(home)[1]
    found.directory.mkdir(parents=True)
    (found.directory / "config.json").write_text(
        json.dumps({"profile": {"outcomes": {"y": {"signal": "yield"}}, "reduction": "mean"}})
    )
    return found


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["station", "bench", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@contextmanager
def taking(place: InstrumentPlace, asked: Sheet) -> Iterator[Station]:
    """A worker that takes the answers to a sheet as they come."""
    found, over = Station(place), threading.Event()
    found.write(asked)

    def work() -> None:
        left = {one.id: one for one in asked.questions}
        while left and not over.wait(0.01):
            for name, one in list(left.items()):
                if (answer := found.answer(name)) is not None:
                    try:
                        check(one, answer)
                        del left[name]
                    except EntryRefused as error:
                        found.set_aside(name)
                        left[name] = one.model_copy(update={"refused": str(error)})
                    found.write(asked.model_copy(update={"questions": tuple(left.values())}))

    with worker(place):
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()


def test_nothing_is_waiting(place: InstrumentPlace, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys)
    assert (code, out.strip()) == (0, "Nothing is waiting for a person at bench.")
    code, out, _ = call(capsys, "--json")
    assert json.loads(out) == {"instrument": "bench", "standing": "nothing", "questions": []}
    code, _, err = call(capsys, "--done")
    assert code == 1
    assert "Nothing is waiting" in err


def test_an_instrument_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys)
    assert code == 1
    assert "no instrument bench" in err


def test_the_page_says_what_to_do_by_when_and_how_to_answer(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    Station(place).write(sheet(setting(was=25), measurement(refused="yield = 9 lies outside")))
    with worker(place):
        code, out, _ = call(capsys)
        _, plain, _ = call(capsys, "--json")
    assert code == 0
    for words in (
        "bench asks you, for experiment bench-abcd.3",
        "It waits until",
        "furnace  450 °C ± 1 (from 25 °C)",
        "Set it.",
        "Please measure: balance, reading 1 of 2",
        "yield   g/L between 0 and 5",
        "The last answer was refused: yield = 9 lies outside",
        "station bench --done",
        "--enter 'yield=…' 'purity=…'",
        "--cannot",
    ):
        assert words in out, words
    assert [one["device"] for one in json.loads(plain)["questions"]] == ["furnace", "balance"]


def test_a_setting_is_confirmed_and_a_measurement_entered(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    with taking(place, sheet(setting(), measurement())) as found:
        code, _, err = call(capsys, "--done", "--by", "anna", "--note", "slow")
        assert code == 0, err
        assert "✓ furnace: set, by anna." in err
        code, out, err = call(capsys, "--enter", "yield=0.83", "purity=0.97", "--json")
        assert code == 0, err
        assert json.loads(out)["answered"][0]["rows"] == [{"yield": 0.83, "purity": 0.97}]
        answer = found.answer(setting().id)
        assert answer is not None
        assert (answer.verb, answer.by, answer.note) == ("done", "anna", "slow")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--enter", "yield=9", "purity=1"), "lies outside the plausible 0 … 5 g/L"),
        (("--enter", "yield=nan", "purity=1"), "no measurement"),
        (("--enter", "yield=1 mg", "purity=1"), "is in g/L, not in mg"),
        (("--enter", "yield=1"), "no value for purity"),
        (("--enter", "colour=1"), "nobody asks for 'colour'"),
        (("--enter", "furnace=20"), "more than 1 degC from 450.123"),
        (("--csv", "none.csv"), "no such file"),
        (("--cannot", " "), "no reason"),
    ],
)
def test_what_does_not_count_is_refused_and_still_asked_for(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    found = Station(place)
    found.write(sheet(setting(), measurement()))
    with worker(place):
        code, _, err = call(capsys, *words)
    assert code == 1
    assert "still asked for" in err
    assert said in err
    assert found.answers("intent-1") == []
    assert '"refused"' in (found.folder / "log.jsonl").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("--enter", "yield"),
        ("--enter", "yield=1", "yield=2"),
        ("--done", "--cannot", "x"),
        ("--csv", "a.csv", "--enter", "yield=1"),
    ],
)
def test_what_is_used_wrongly_is_said_so(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert call(capsys, *words)[0] == 2


def test_the_second_to_answer_is_told_who_was_first(place: InstrumentPlace, capsys: pytest.CaptureFixture[str]) -> None:
    found = Station(place)
    found.write(sheet(setting()))
    with worker(place):
        first = call(capsys, "--done", "--by", "anna")
        assert "has not taken it yet" in first[2]  # nobody takes anything here
        code, _, err = call(capsys, "--done", "--by", "ben")
    assert code == 1
    assert "Everything that was asked is answered" in err


def test_what_is_answered_after_the_worker_died_is_kept_with_the_way_to_settle_it(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Station(place)
    found.write(sheet(measurement()))
    code, out, _ = call(capsys)
    assert "The worker that asked is gone" in out
    code, _, err = call(capsys, "--enter", "yield=0.8", "purity=1", "--by", "anna")
    assert code == 0
    assert "reconcile bench-abcd.3" in err
    assert "--outcomes" not in err  # one of two readings
    second = measurement(id="intent-1.003.balance", reading=2)
    found.write(sheet(second))
    _, _, err = call(capsys, "--enter", "yield=1.0", "purity=1", "--by", "anna")
    assert "--outcomes=y=0.9±0.09999999999999998" in err
    assert len(found.answers("intent-1")) == 2
    _, out, _ = call(capsys)
    assert "Everything that was asked is answered" in out


def test_a_question_that_was_taken_back_takes_no_answer(
    place: InstrumentPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Station(place)
    found.write(sheet(setting(), state="withdrawn", why="Stop All"))
    with worker(place):
        _, out, _ = call(capsys)
        assert "asks no more: Stop All" in out
        assert "Do not go on." in out
        code, _, err = call(capsys, "--done")
    assert code == 1
    assert "asks for nothing any more: Stop All" in err


# -- in a terminal -----------------------------------------------------------------------------------------------------


def sit(monkeypatch: pytest.MonkeyPatch, place: InstrumentPlace, *typed: str) -> list[str]:
    """Sit down and type; what was asked for."""
    import typer

    lines, prompts = deque(typed), []

    def prompt(text: str, **_: Any) -> str:
        prompts.append(text)
        if not lines:
            raise typer.Abort
        return lines.popleft()

    def nap(_: float) -> None:
        raise KeyboardInterrupt  # nobody stays to wait for the next question

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(bench, "LOOK_S", 0.02)
    bench.Bench(Station(place), "anna", "", nap).sit()
    return prompts


def test_in_a_terminal_a_wrong_word_or_value_is_asked_for_again(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with taking(place, sheet(setting(), measurement())) as found:
        typed = ("", "what", "v", "300", "450.5", "hot", "one", "0.83", "0.97", "", "y")
        prompts = sit(monkeypatch, place, *typed)
        answers = found.answers("intent-1")
    assert [(one.device, one.value, one.rows) for one in answers] == [
        ("furnace", 450.5, ()),
        ("balance", None, ({"yield": 0.83, "purity": 0.97},)),
    ]
    assert answers[0].note == "hot"
    assert answers[0].source == "terminal"
    said = capsys.readouterr().err
    assert "furnace = 300 degC is more than 1 degC from 450.123" in said
    assert "'one' is not a number" in said
    assert sum("yield [g/L]" in prompt for prompt in prompts) == 2


def test_in_a_terminal_one_may_leave_or_say_that_it_cannot_be_done(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with taking(place, sheet(setting())) as found:
        sit(monkeypatch, place, "q")
        assert found.answers("intent-1") == []
        assert "What is asked stays" in capsys.readouterr().err
        sit(monkeypatch, place, "c", "", "c", "no power")
        [answer] = found.answers("intent-1")
    assert (answer.verb, answer.reason) == ("cannot", "no power")


def test_in_a_terminal_a_file_may_be_named(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "plate.csv"
    path.write_text("yield,purity\n0.8,1\n0.9,1\n")
    with taking(place, sheet(measurement())) as found:
        sit(monkeypatch, place, str(path), "")
        [answer] = found.answers("intent-1")
    assert [row["yield"] for row in answer.rows] == [0.8, 0.9]


def test_in_a_terminal_one_is_told_at_once_when_it_is_taken_back(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Station(place)
    found.write(sheet(setting()))
    told = threading.Event()
    monkeypatch.setattr(bench, "LOOK_S", 0.02)
    monkeypatch.setattr(bench.output, "say", lambda text="", **_: "not asked any more" in str(text) and told.set())
    with worker(place), bench.Bench(found, "anna", "")._watched(sheet(setting())):
        found.write(sheet(state="over"))
        assert told.wait(30)


def test_nothing_to_sit_for(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sit(monkeypatch, place)
    assert "Nothing is waiting" in capsys.readouterr().err


def test_one_line_says_it_all() -> None:
    text = asking.line(sheet(setting(), measurement()))
    assert text.startswith("set furnace to 450 °C, and measure yield, purity (since ")
