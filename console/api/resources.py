"""Samples and consumables: what there is, where it is, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import Name, Reason, Shown
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.commands.resources import ResourceCommands
from athanor.memory.resources import Change, Level

door = Door("samples and stock")

Words = Annotated[str, Field(max_length=2000)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SampleOut(Shown):
    """A sample. `experiment_id` is the experiment that has it to itself."""

    id: str
    label: str
    description: str
    location: str | None
    parent_id: str | None
    state: str
    reason: str | None
    experiment_id: str | None
    created_at: datetime


class ChangeOut(BaseModel):
    """One line of a history, as the journal has it; `position` numbers it within the history."""

    position: int
    at: datetime
    kind: str
    body: dict[str, Any]


class StockOut(BaseModel):
    """A consumable: `amount` is there, `reserved` promised to experiments under way, in `unit`."""

    id: str
    description: str
    unit: str | None
    amount: float
    low: float | None
    reserved: float
    available: float
    is_low: bool

    @classmethod
    def of(cls, level: Level) -> StockOut:
        """As it is shown."""
        stock = level.consumable
        return cls(
            id=stock.id,
            description=stock.description,
            unit=stock.unit,
            amount=stock.amount,
            low=stock.low,
            reserved=level.reserved,
            available=level.available,
            is_low=level.is_low,
        )


class NewSample(Asked):
    """A sample to add. `parent` is the id or label of what it was made from."""

    label: Name
    location: Words | None = None
    parent: Name | None = None
    description: Words = ""


class SampleMoved(Asked):
    """Where a sample is now."""

    location: Annotated[str, Field(min_length=1, max_length=2000)]
    reason: Words = ""


class SampleSplit(Asked):
    """What the parts of a sample are called."""

    labels: Annotated[list[Name], Field(min_length=1, max_length=500)]
    reason: Words = ""


class SampleRetired(Asked):
    """Why it is not used any more."""

    reason: Reason


class StockAdded(Asked):
    """An amount to add to a stock, in its unit, or to begin one with; `low` is the level at which people are told."""

    name: Name
    amount: Amount
    unit: Annotated[str, Field(max_length=100)] | None = None
    low: Amount | None = None
    description: Words = ""
    reason: Words = ""


class StockSet(Asked):
    """What is really there, or another level at which people are told."""

    name: Name
    amount: Amount | None = None
    low: Amount | None = None
    reason: Words = ""


# -- samples -----------------------------------------------------------------------------------------------------------


@door.on("GET", "/samples", "read")
def samples(
    request: Request,
    retired: Annotated[bool, Query(description="Also those that are no longer used.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> Page[SampleOut]:
    """The samples, in the order in which they were added."""
    found = desk_of(request).ledger.samples(with_retired=retired)
    return page([SampleOut.of(sample) for sample in found], limit, after, lambda line: line.id)


@door.on("POST", "/samples", "sample.keep", status=201)
def add_sample(asked: NewSample, request: Request) -> SampleOut:
    """Add a sample."""
    sample = _commands(request).add_sample(asked.label, asked.location, asked.parent, asked.description)
    desk = desk_of(request)
    desk.note("sample_added", {"sample": sample.id, "label": sample.label, "by": caller_of(request).person.login})
    return SampleOut.of(sample)


@door.on("GET", "/samples/{sample}", "read")
def one_sample(sample: str, request: Request) -> SampleOut:
    """A sample, by id or label."""
    return SampleOut.of(desk_of(request).ledger.sample(sample))


@door.on("GET", "/samples/{sample}/history", "read")
def sample_history(sample: str, request: Request, limit: Limit = 100, after: After = None) -> Page[ChangeOut]:
    """What happened to a sample, in order."""
    return _changes(desk_of(request).ledger.sample_history(sample), limit, after)


@door.on("POST", "/samples/{sample}/move", "sample.keep")
def move_sample(sample: str, asked: SampleMoved, request: Request) -> SampleOut:
    """Note where a sample is now."""
    login = caller_of(request).person.login
    return SampleOut.of(desk_of(request).ledger.move_sample(sample, asked.location, login, asked.reason))


@door.on("POST", "/samples/{sample}/split", "sample.keep", status=201)
def split_sample(sample: str, asked: SampleSplit, request: Request) -> list[SampleOut]:
    """Make several samples of one: all parts, or none."""
    login = caller_of(request).person.login
    parts = desk_of(request).ledger.split_sample(sample, asked.labels, login, asked.reason)
    return [SampleOut.of(part) for part in parts]


@door.on("POST", "/samples/{sample}/retire", "sample.keep")
def retire_sample(sample: str, asked: SampleRetired, request: Request) -> SampleOut:
    """Take a sample out of use for good; its history stays."""
    ledger = desk_of(request).ledger
    found = ledger.sample(sample)
    ledger.retire_sample(found.id, caller_of(request).person.login, asked.reason)
    return SampleOut.of(ledger.sample(found.id))


# -- stock -------------------------------------------------------------------------------------------------------------


@door.on("GET", "/stock", "read")
def stock(request: Request, limit: Limit = 100, after: After = None) -> Page[StockOut]:
    """The consumables, by name."""
    found = [StockOut.of(level) for level in desk_of(request).ledger.levels()]
    return page(found, limit, after, lambda line: line.id)


@door.on("GET", "/stock/history", "read")
def stock_history(
    request: Request,
    name: Annotated[str, Query(max_length=200, description="The consumable.")],
    limit: Limit = 100,
    after: After = None,
) -> Page[ChangeOut]:
    """What a consumable was used for, in order."""
    return _changes(desk_of(request).ledger.stock_history(name), limit, after)


@door.on("POST", "/stock", "sample.keep", status=201)
def add_stock(asked: StockAdded, request: Request) -> StockOut:
    """Add to a stock, or begin one."""
    level = _commands(request).add_stock(
        asked.name, asked.amount, asked.unit, asked.low, asked.description, asked.reason
    )
    return StockOut.of(level)


@door.on("POST", "/stock/set", "sample.keep")
def set_stock(asked: StockSet, request: Request) -> StockOut:
    """Correct what is there, or the level at which people are told."""
    return StockOut.of(_commands(request).set_stock(asked.name, asked.amount, asked.low, asked.reason))


def _commands(request: Request) -> ResourceCommands:
    return ResourceCommands(desk_of(request).ledger, caller_of(request).person.login)


def _changes(found: list[Change], limit: int, after: str | None) -> Page[ChangeOut]:
    lines = [
        ChangeOut(position=number, at=one.at, kind=one.kind, body=dict(one.body)) for number, one in enumerate(found, 1)
    ]
    return page(lines, limit, after, lambda line: str(line.position))
