"""Sitting at a manual station in a terminal: each question as it comes, asked again until the answer counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from athanor.console.cli import asking, output
from athanor.console.cli.failures import Refused
from athanor.console.commands.station import open_questions

if TYPE_CHECKING:
    from athanor.instruments.station import Answer, AnyQuestion, Sheet, Station

LOOK_S = 0.5


class Leave(Exception):
    """The person leaves; what is asked stays."""


class Bench:
    """One person at one station.

    Args:
        station: Whose questions are answered.
        by: Who answers.
        note: Kept with every answer; asked for when it is empty.
        pause: Waits so many seconds between two looks for the next question.
    """

    def __init__(self, station: Station, by: str, note: str, pause: Callable[[float], object] = time.sleep) -> None:
        self._pause = pause
        self._station = station
        self._by = by
        self._note = note

    def sit(self) -> None:
        """Answer what is asked until the person leaves, or at once when nothing is."""
        has_answered = False
        try:
            while (sheet := self._next(has_answered)) is not None:
                has_answered = self._answer(sheet) or has_answered
        except (Leave, typer.Abort, KeyboardInterrupt):
            output.say("\n[quiet]Left. What is asked stays, until somebody answers it.[/]")

    def _next(self, wait: bool) -> Sheet | None:
        """The sheet that asks something now; None when there is nothing to sit here for."""
        has_said = False
        while True:
            sheet = self._station.sheet()
            standing = self._station.standing(sheet)
            is_open = sheet is not None and bool(open_questions(self._station, sheet))
            if standing in ("waiting", "orphan") and is_open:
                return sheet
            if standing in ("orphan", "withdrawn") or not wait:
                output.say(asking.page(self._station, sheet))
                return None
            if not has_said:
                has_said = True
                output.say("[quiet]Waiting for the next question. Ctrl-C leaves.[/]\n")
            self._pause(LOOK_S)

    def _answer(self, sheet: Sheet) -> bool:
        """Put the sheet to the person; whether the answer counts."""
        from athanor.console.cli.station import kept
        from athanor.console.commands.station import await_taken, lay_down
        from athanor.instruments.entries import EntryRefused

        questions = open_questions(self._station, sheet)
        settings = tuple(one for one in questions if one.kind == "set")
        asked = settings or questions  # first what is to be set, and the measurement by itself
        output.say("\n".join([*asking.head(self._station, sheet), *asking.body(asked), ""]))
        with self._watched(sheet):
            try:
                given = self._settings(settings) if settings else self._readings(asked)
            except EntryRefused as error:
                output.say(f"[bad]✗[/] {output.plain(str(error))}\n")
                return False
        if not given:
            return False
        try:
            lay_down(self._station, given)
        except Refused as error:
            output.say(f"[bad]✗[/] {output.plain(str(error))}\n")
            return False
        why = await_taken(self._station, given)
        if why is None:
            output.say(f"[good]✓[/] Noted, by {output.plain(self._by)}.\n")
        elif why == "gone":
            output.say(kept(self._station, given))
        elif why == "slow":
            output.say("[warn]■[/] Kept; the instrument has not taken it yet.\n")
        else:
            said = "the question was taken back" if why == "withdrawn" else why
            output.say(f"[bad]✗[/] It does not count: {output.plain(said)}.\n")
        return True

    @contextmanager
    def _watched(self, sheet: Sheet) -> Iterator[None]:
        """Tell the person at once when the question is taken back while the cursor waits."""
        over = threading.Event()

        ids = {one.id for one in sheet.questions}

        def watch() -> None:
            while not over.wait(LOOK_S):
                now = self._station.sheet()
                if now is None or self._station.standing(now) in ("nothing", "withdrawn"):
                    left = False
                else:
                    left = any(one.id in ids for one in now.questions)
                if not left:
                    output.say("\a\n[bad]■ Stop: this is not asked any more.[/] Press Enter.")
                    return

        watcher = threading.Thread(target=watch, name="station-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    # -- what the person says -----------------------------------------------------------------------------------------

    def _settings(self, questions: tuple[AnyQuestion, ...]) -> list[Answer]:
        from athanor.instruments import entries

        while True:
            word = _ask("y = set as asked · v = it stands elsewhere · c = cannot be done · q = leave").lower()
            if word in ("y", "yes"):
                return entries.done(questions, self._by, self._note, "terminal")
            if word == "v":
                return entries.entered(questions, self._elsewhere(questions), self._by, self._note_of(), "terminal")
            if word in ("c", "cannot", "q"):
                return self._cannot(questions, word)

    def _elsewhere(self, questions: tuple[AnyQuestion, ...]) -> dict[str, str]:
        """Where each axis really stands, as typed; what is too far from what was asked is asked for again."""
        from athanor.instruments import entries
        from athanor.instruments.station import SetQuestion

        texts: dict[str, str] = {}
        for one in questions:
            assert isinstance(one, SetQuestion)
            while True:
                asked = asking.amount(one.shown, one.unit)
                text = _ask(f"  {one.device} (Enter = {asked})") or str(one.shown)
                try:
                    value = text if isinstance(one.value, str) else entries.number(one.device, text, one.unit)
                    entries.reached(one, value)
                except entries.EntryRefused as error:
                    output.say(f"  [bad]✗[/] {output.plain(str(error))}")
                    continue
                texts[one.device] = text
                break
        return texts

    def _readings(self, questions: tuple[AnyQuestion, ...]) -> list[Answer]:
        from athanor.instruments import entries
        from athanor.instruments.station import MeasureQuestion

        output.say("[quiet]Enter each value, or the name of a CSV file; c = cannot be done, q = leave.[/]")
        texts: dict[str, str] = {}
        shown = []
        for one in questions:
            assert isinstance(one, MeasureQuestion)
            for name, signal in one.signals.items():
                while True:
                    text = _ask(f"  {name}" + (f" [{signal.unit}]" if signal.unit else ""))
                    if text.lower() in ("c", "cannot", "q"):
                        return self._cannot(questions, text.lower())
                    if text.lower().endswith(".csv"):
                        return entries.from_csv(Path(text).expanduser(), questions, self._by, self._note_of())
                    try:
                        value = entries.plausible(name, entries.number(name, text, signal.unit), signal)
                    except entries.EntryRefused as error:
                        output.say(f"  [bad]✗[/] {output.plain(str(error))}")
                        continue
                    texts[name] = text
                    shown.append(f"{name} {asking.amount(value, signal.unit)}")
                    break
        note = self._note_of()
        if _ask(f"Enter {', '.join(shown)}? (Enter = yes, n = no)").lower() not in ("", "y", "yes"):
            return []
        return entries.entered(questions, texts, self._by, note, "terminal")

    def _cannot(self, questions: tuple[AnyQuestion, ...], word: str) -> list[Answer]:
        from athanor.instruments import entries

        if word == "q":
            raise Leave
        reason = _ask("Why can it not be done? The run fails with this reason (Enter = go back)")
        return entries.cannot(questions, reason, self._by, self._note) if reason else []

    def _note_of(self) -> str:
        return self._note or _ask("  note (Enter for none)")


def _ask(text: str) -> str:
    """What the person types, without blanks around it. Raises `typer.Abort` on Ctrl-C or the end of the input."""
    answer: str = typer.prompt(text, default="", show_default=False, err=True)
    return answer.strip()
