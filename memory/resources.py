"""Records of what an experiment uses up or needs to itself: samples, consumables, reservations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from athanor.memory.records import Moment, Name, Record, Text, now

SampleState = Literal["free", "reserved", "retired"]
ReservationState = Literal["reserved", "drawn", "released"]
Amount = Annotated[float, Field(ge=0)]


class Sample(Record):
    """A thing that is measured: what it is called, where it is, what it was made from.

    `experiment_id` is the experiment that has it to itself. Labels are unique among samples that are not retired.
    """

    id: Name
    label: Name
    description: Text = ""
    location: Text | None = None
    parent_id: Name | None = None
    state: SampleState = "free"
    reason: Text | None = None
    experiment_id: Name | None = None
    created_at: Moment = Field(default_factory=now)


class Consumable(Record):
    """A stock that runs draw down. `amount` is what is there, `low` the level at which people are told; in `unit`."""

    id: Name
    description: Text = ""
    unit: Text | None = None
    amount: Amount = 0.0
    low: Amount | None = None
    created_at: Moment = Field(default_factory=now)


class Reservation(Record):
    """What one experiment has to itself, all or nothing, until it has ended; then its amounts are drawn or released."""

    id: Name
    experiment_id: Name
    campaign_id: Name
    samples: list[Name] = Field(default_factory=list)
    amounts: dict[Name, Amount] = Field(default_factory=dict)
    devices: list[Name] = Field(default_factory=list)
    state: ReservationState = "reserved"
    reason: Text | None = None
    created_at: Moment = Field(default_factory=now)


@dataclass(frozen=True)
class Needs:
    """What an experiment needs: ids of samples, amounts by consumable in its unit, other instruments by name."""

    samples: tuple[str, ...] = ()
    amounts: Mapping[str, float] = field(default_factory=dict)
    devices: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.samples or self.amounts or self.devices)


@dataclass(frozen=True)
class Level:
    """How a stock stands: what is there, how much of it is promised to experiments under way."""

    consumable: Consumable
    reserved: float

    @property
    def available(self) -> float:
        """What the next experiment could have."""
        return max(0.0, self.consumable.amount - self.reserved)

    @property
    def is_low(self) -> bool:
        """Whether people are to be told."""
        return self.consumable.low is not None and self.available <= self.consumable.low


@dataclass(frozen=True)
class Change:
    """One line of the history of a sample or a stock, as the journal has it."""

    at: datetime
    kind: str
    body: Mapping[str, Any]
