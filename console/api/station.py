"""The manual station: what an instrument asks of a person, and the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import Name
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.commands import station
from athanor.console.commands.refused import Refused
from athanor.instruments.station import Answer, MeasureQuestion, SetQuestion, Station

door = Door("station")


class StationOut(BaseModel):
    """What is asked. `standing`: `nothing`, `waiting`, `withdrawn`, or `orphan` when the worker that asked is gone.

    `questions` are those that nobody has answered yet. An answer to an orphan is kept, and counts if the experiment is
    settled as completed.
    """

    instrument: str
    standing: str
    why: str
    experiment: str | None
    questions: list[SetQuestion | MeasureQuestion]


class StationAnswer(Asked):
    """What a person says to the questions that they saw, by id: to what was asked since, it is no answer.

    `done`: every setting is made as asked. `enter`: `entries` by name, each as a person writes it, such as `0.83` or
    `0.83 g/L`; with `is_done` the settings that are not among them are made as asked. `cannot`: it cannot be done, with
    the `reason`; the run fails.
    """

    questions: Annotated[list[Name], Field(min_length=1, max_length=200)]
    verb: Literal["done", "enter", "cannot"]
    entries: Annotated[dict[Name, Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=200)] = {}
    is_done: bool = False
    reason: Annotated[str, Field(max_length=2000)] = ""
    note: Annotated[str, Field(max_length=2000)] = ""


class AnsweredOut(BaseModel):
    """What was laid down, and whether the worker has taken it.

    `taken` is null when it has; else `gone` (kept, for whoever settles the experiment), `slow`, `withdrawn`, or why it
    was refused and is asked for still. `outcomes`: what the answers to a worker that is gone come to.
    """

    answered: list[Answer]
    taken: str | None
    outcomes: dict[str, str]


@door.on("GET", "/instruments/{instrument}/station", "read")
def asked_now(instrument: str, request: Request) -> StationOut:
    """What an instrument asks of a person now."""
    desk = desk_of(request)
    found = Station(desk.place(instrument))
    sheet = found.sheet()
    standing = found.standing(sheet)
    if sheet is None or standing == "nothing" or station.is_settled(found, desk.ledger):
        return StationOut(instrument=found.name, standing="nothing", why="", experiment=None, questions=[])
    return StationOut(
        instrument=found.name,
        standing=standing,
        why=sheet.why,
        experiment=sheet.run.experiment,
        questions=list(station.open_questions(found, sheet)),
    )


@door.on("POST", "/instruments/{instrument}/station/answers", "sample.keep", status=201)
def answer(instrument: str, asked: StationAnswer, request: Request) -> AnsweredOut:
    """Answer what an instrument asks, once; an entry that is not plausible is refused, and asked for still."""
    desk, login = desk_of(request), caller_of(request).person.login
    found = Station(desk.place(instrument))
    station.forget_settled(found, desk.ledger)
    if asked.verb == "enter" and not asked.entries:
        raise Refused("Nothing was entered", "Enter a value, or say that it is done.")
    given = station.answer(
        found,
        login,
        asked.note,
        texts=asked.entries if asked.verb == "enter" else None,
        done=asked.is_done if asked.verb == "enter" else asked.verb == "done",
        cannot=asked.reason if asked.verb == "cannot" else None,
        seen=asked.questions,
    )
    taken = station.await_taken(found, given)
    outcomes: dict[str, str] = {}
    if taken == "gone" and (sheet := found.sheet()) is not None:
        outcomes = station.outcomes(found, sheet)
    return AnsweredOut(answered=given, taken=taken, outcomes=outcomes)
