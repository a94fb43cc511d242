"""What a person does to stocks: begins one, adds to it, says what is really there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.resources import Level, Sample


class NoAmount(Refused):
    """An amount or a unit that is none."""


class ResourceCommands:
    """Commands of one person about samples and stocks.

    Args:
        ledger: where they are kept.
        person: whose name they carry.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self.ledger = ledger
        self.person = person

    def add_sample(
        self, label: str, location: str | None = None, parent: str | None = None, description: str = ""
    ) -> Sample:
        """Add a sample, made of another one where `parent` names that. Raises `Duplicate`, `NotFound`."""
        from athanor.memory.records import new_id
        from athanor.memory.resources import Sample

        made_from = self.ledger.sample(parent).id if parent is not None else None
        sample = Sample(
            id=new_id("sample"), label=label, description=description, location=location, parent_id=made_from
        )
        return self.ledger.add_sample(sample)

    def add_stock(
        self,
        name: str,
        amount: float,
        unit: str | None = None,
        low: float | None = None,
        description: str = "",
        reason: str = "",
    ) -> Level:
        """Add to a stock, or begin one; how it stands then.

        Raises:
            NoAmount: an amount or a unit that is none.
            Refused: the stock is kept in another unit.
        """
        from athanor.memory.errors import NotFound
        from athanor.memory.resources import Consumable

        check_unit(unit)
        if not 0 <= amount < float("inf") or (low is not None and not 0 <= low < float("inf")):
            raise NoAmount("amounts are finite and not below 0")
        try:
            there = self.ledger.consumable(name)
        except NotFound:
            new = Consumable(id=name, description=description, unit=unit, amount=amount, low=low)
            self.ledger.add_consumable(new)
        else:
            _same_unit(there.id, there.unit, unit)
            if not there.amount + amount < float("inf"):
                raise NoAmount("amounts are finite, and so is what they add up to")
            self.ledger.refill(name, amount, self.person, reason)
            if low is not None:
                self.ledger.set_stock(name, self.person, reason, low=low)
        return self.level(name)

    def set_stock(self, name: str, amount: float | None, low: float | None, reason: str) -> Level:
        """Correct what is there, or the level at which people are told; how it stands then.

        Raises:
            NoAmount: neither is given, or no reason for another amount.
        """
        if amount is None and low is None:
            raise NoAmount("give the amount that is there, or the level at which you are told")
        if amount is not None and not reason.strip():
            raise NoAmount("say why the amount was wrong")
        self.ledger.set_stock(name, self.person, reason, amount=amount, low=low)
        return self.level(name)

    def level(self, name: str) -> Level:
        """How a stock stands. Raises `NotFound`."""
        self.ledger.consumable(name)
        [level] = self.ledger.levels([name])
        return level


def check_unit(unit: str | None) -> None:
    """Raise `NoAmount` for what is no unit."""
    if unit is None:
        return
    from athanor.instruments.units import unit_of

    try:
        unit_of(unit)
    except ValueError as error:
        raise NoAmount(f"{unit!r} is no unit") from error


def _same_unit(name: str, there: str | None, given: str | None) -> None:
    from athanor.instruments.units import same_unit

    if given is not None and not same_unit(there, given):
        raise Refused(f"{name} is kept in {there or 'plain numbers'}, not in {given}", "Give the amount in that.")
