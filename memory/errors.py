"""What can go wrong with the ledger. Every message names the offender and the remedy."""

from __future__ import annotations

from datetime import datetime


class LedgerError(Exception):
    """The base of all errors of the ledger."""


class NotFound(LedgerError):
    """Something is referred to that the ledger does not hold."""

    def __init__(self, kind: str, identifier: str) -> None:
        self.kind = kind
        self.identifier = identifier
        super().__init__(f"the ledger has no {kind} {identifier!r}")


class Duplicate(LedgerError):
    """A row with this identity, or in this place, is already there."""


class InvalidRecord(LedgerError):
    """A record contradicts itself or what the ledger holds."""


class IllegalTransition(LedgerError):
    """A state change that no rule allows, or that came too late because the state is no longer the expected one."""

    def __init__(self, entity: str, identifier: str, old: str, new: str, why: str = "") -> None:
        self.entity = entity
        self.identifier = identifier
        self.old = old
        self.new = new
        super().__init__(f"{entity} {identifier} cannot go from {old} to {new}{': ' + why if why else ''}")


class DecisionRequired(LedgerError):
    """A state change that only a person's signed decision allows."""


class StaleRevision(LedgerError):
    """A decision on a revision that is not the one now proposed."""

    def __init__(self, experiment_id: str, given: str, current: str, why: str) -> None:
        self.experiment_id = experiment_id
        self.given = given
        self.current = current
        super().__init__(f"{experiment_id}@{given[:12]} cannot be decided: {why} (current revision {current[:12]})")


class LeaseHeld(LedgerError):
    """Somebody else drives this campaign or instrument."""

    def __init__(self, resource: str, holder: str, expires_at: datetime) -> None:
        self.resource = resource
        self.holder = holder
        self.expires_at = expires_at
        super().__init__(f"{resource} is held by {holder} until {expires_at.isoformat(timespec='seconds')}")


class LeaseLost(LedgerError):
    """A lease has gone to another holder: whoever gets this must stop driving."""


class ResourceTaken(LedgerError):
    """Something that an experiment needs to itself is another's; `waits` says whether it will be free again."""

    def __init__(self, what: str, why: str, waits: bool) -> None:
        self.what = what
        self.waits = waits
        super().__init__(f"{what} is not free: {why}")


class ResourceShort(LedgerError):
    """Not enough is left of a consumable."""

    def __init__(self, name: str, needed: float, available: float, unit: str | None) -> None:
        self.name = name
        self.needed = needed
        self.available = available
        tail = f" {unit}" if unit else ""
        self.remedy = f"athanor stock add {name} AMOUNT"
        super().__init__(f"{name} runs short: {needed:g}{tail} are needed, {available:g}{tail} are left")


class NoSuchPlace(NotFound):
    """A list was to go on after something that is not in it."""

    def __init__(self, after: str) -> None:
        super().__init__("place after", after)


class LedgerBusy(LedgerError):
    """Another process held the write lock for longer than the ledger waits."""


class Overtaken(LedgerBusy):
    """Something was added to a history after what the writer had read of it: read on, and decide anew."""


class LedgerFull(LedgerError):
    """The disk took no more: nothing was written, and it can be tried again once there is room."""


class LedgerUnreadable(LedgerError):
    """The file is not a ledger, or is damaged."""


class ReadOnlyLedger(LedgerError):
    """A write through a ledger that was opened for reading only."""


class SchemaTooNew(LedgerError):
    """The ledger was written by a newer Athanor."""


class SchemaTooOld(LedgerError):
    """The ledger was written by an older Athanor."""


class NetworkFilesystem(LedgerError):
    """The ledger would lie on a network file system, on which SQLite's write-ahead log is not safe."""


class UnsupportedDatabase(LedgerError):
    """The URL names a database that this release does not speak to."""
