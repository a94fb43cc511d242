"""What a person does to an instrument as a whole: takes it over, hands it back, lets it be set or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from athanor.console.commands import runs
from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from datetime import timedelta

    from athanor.governance.orders import Orders
    from athanor.instruments.takeover import Standing, TakeOver, Tenure
    from athanor.instruments.write_switch import WriteState
    from athanor.memory.ledger import Ledger
    from athanor.memory.orders import Order
    from athanor.memory.places import InstrumentPlace


@dataclass(frozen=True)
class Released:
    """An emergency release: what there was, and whether an axis was stopped that was moved by hand."""

    was: Standing
    stopped: bool


class InstrumentCommands:
    """Commands of one person about instruments.

    Args:
        ledger: where orders are kept.
        person: in whose name they are signed.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self.ledger = ledger
        self.person = person

    def hands(self, place: InstrumentPlace) -> tuple[TakeOver, Orders]:
        """The instrument's tenure, and what signs this person's orders about it."""
        from athanor.governance.orders import Orders
        from athanor.instruments.takeover import TakeOver
        from athanor.memory import places
        from athanor.memory.signing import GateKey

        key = GateKey.load_or_create(places.keys_dir())
        return TakeOver(place, key.public), Orders(self.ledger, key, self.person)

    def take(self, place: InstrumentPlace, ttl: timedelta, reason: str, *, abort: bool = False) -> Tenure:
        """Take an instrument over, or renew one's own tenure. The run in hand is not waited for: see `clear`.

        `abort`: that the run in hand will be aborted, so that a paused one is no reason to refuse.

        Raises:
            Refused: a run is paused, or the worker hangs.
            TakenOver: somebody else has it, or nobody can tell.
            GateError: no reason, or a time that makes no sense.
            OSError: the disk does not take it.
        """
        it, orders = self.hands(place)
        if not abort and (paused := _paused(place)) is not None:
            from athanor.console.cli.context import command

            raise Refused(
                f"{paused} is paused on {place.name}",
                f"Let it end first ({command('resume-run', place.name)}), or abort it with --now.",
            )
        return it.take(self.person, lambda: orders.take_over(place.name, ttl, reason))

    def clear(self, place: InstrumentPlace, tenure: Tenure) -> str | None:
        """Abort what the instrument has in hand, now that it was taken over; what still is after `runs.END_S`."""
        facts = runs.status_of(place)
        if facts is None or runs.in_hand(facts) is None:
            return None
        with runs.worker_of(place) as client:
            client.call("abort", reason=f"taken over by {self.person}: {tenure.reason}", by=self.person)
            return runs.await_end(client, runs.END_S)

    def left(self, place: InstrumentPlace) -> str | None:
        """What the instrument has in hand."""
        facts = runs.status_of(place)
        return None if facts is None else runs.in_hand(facts)

    def hand_back(self, place: InstrumentPlace) -> Tenure:
        """Hand an instrument back; what the tenure was. Campaigns that paused do not go on by themselves.

        Raises:
            Refused: it is being moved by hand.
            TakenOver: somebody else has it, or nobody has, or nobody can tell.
        """
        it, orders = self.hands(place)
        if state_of(place) == "moving":
            raise Refused(f"{place.name} is being moved by hand", "Wait until it has arrived, or stop it.")
        return it.hand_back(self.person, lambda nonce: orders.hand_back(place.name, nonce))

    def release(self, place: InstrumentPlace, reason: str, seen: str | None) -> Released:
        """End somebody else's tenure, or one that cannot be read; whoever moves an axis by hand has lost it.

        `seen` is the nonce of the tenure that the person looked at; None where nobody could tell who has it.

        Raises:
            Refused: nobody has it in hand.
            TakenOver: it is another tenure than that.
            GateError: no reason.
        """
        it, orders = self.hands(place)

        def order(tenure: Tenure | None) -> Order:
            nonce, holder = (tenure.nonce, tenure.holder) if tenure is not None else (None, None)
            return orders.release(place.name, nonce, holder, reason)

        was = it.release(order, seen)
        if was.refusal is None:
            raise Refused(f"Nobody has {place.name} in hand", "Nothing to release.")
        stopped = state_of(place) == "moving"
        if stopped:
            with runs.worker_of(place) as client:
                client.call("abort", reason=f"released by {self.person}: {reason}", by=self.person)
        return Released(was, stopped)

    def waiting(self, place: InstrumentPlace) -> list[str]:
        """The campaigns of this ledger that paused because the instrument was taken over."""
        began = f"{place.name} was taken over"
        mine = [campaign for campaign in self.ledger.campaigns() if campaign.instrument == place.name]
        return [item.id for item in mine if item.state == "paused" and (item.reason or "").startswith(began)]


def set_writes(place: InstrumentPlace, is_on: bool, reason: str, person: str, seen: str | None = None) -> WriteState:
    """Turn an instrument's writes on or off. Look at `on` of what comes back: a disk may have taken nothing.

    `seen` is the time of the state that the person looked at: writes that somebody turned off since are not turned on
    by somebody who has not seen why.

    Raises:
        Refused: they were turned since.
        SwitchError: on, and the disk does not take it.
        ValueError: no reason.
    """
    from athanor.instruments.write_switch import WriteSwitch

    switch = WriteSwitch(place)
    if not is_on:
        return switch.off(reason, person)
    now = switch.read()
    if seen is not None and not now.on and now.at is not None and now.at != seen:
        raise Refused(
            f"{now.by or 'somebody'} has turned the writes of {place.name} off since you looked: {now.reason}",
            "Look again, then turn them on if it is safe.",
        )
    return switch.on(reason, person)


def state_of(place: InstrumentPlace) -> str | None:
    """The state of the instrument's worker; None without one. Raises `Refused` when it hangs."""
    facts = runs.status_of(place)
    return None if facts is None else str(facts["state"])


def _paused(place: InstrumentPlace) -> str | None:
    facts = runs.status_of(place)
    return None if facts is None or facts["state"] != "paused" else str(facts["experiment"])
