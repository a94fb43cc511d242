"""One axis moved by the person who has the instrument in hand: what will happen, the signed order, and carrying it out.

From a terminal the command itself waits, and its end halts the axis. Over HTTP nobody keeps a line open: there the
person's page asks again and again how far it is, and when nobody has asked for `ATTEND_S`, the axis is halted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from athanor.console.commands.instruments import InstrumentCommands
from athanor.console.commands.refused import Refused
from athanor.console.commands.runs import ending, read_back, worker_of

if TYPE_CHECKING:
    from athanor.instruments.config import Config
    from athanor.instruments.profile import AxisSpec
    from athanor.instruments.wire import Client
    from athanor.memory.ledger import Ledger
    from athanor.memory.orders import Order
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

MARGIN_S = 10.0
ATTEND_S = 15.0
"""Seconds after which a motion that nobody asks about any more is halted."""
LOOK_S = 0.25
KEPT = 50
"""Motions that are remembered after their end; the ledger remembers all of them."""

Value = float | int | str


class NoTarget(Refused):
    """What was given is not where an axis can go: no number, or another unit."""


@dataclass(frozen=True)
class Plan:
    """What a person is about to do: nothing has moved, and nothing was signed."""

    place: InstrumentPlace
    config: Config
    spec: AxisSpec
    axis: str
    target: Value
    tenure: str


def target_of(spec: AxisSpec, axis: str, text: str, unit: str | None) -> Value:
    """Read where an axis is to go, in its own unit. Raises `NoTarget`."""
    if unit is not None and unit != spec.unit:
        raise NoTarget(f"{axis} is in {spec.unit or 'no unit'}, not in {unit}; nothing is converted here")
    if spec.allowed and isinstance(spec.allowed[0], str):
        return text
    try:
        number = float(text)
    except ValueError as error:
        wanted = f"a number in {spec.unit}" if spec.unit else "a number"
        raise NoTarget(f"{axis} needs {wanted}, not {text!r}") from error
    return int(number) if number.is_integer() and (spec.integer or spec.allowed) else number


def check(plan: Plan, here: Any) -> str | None:
    """Why the axis may not go there from where it stands, as its limits say; None where they do not object.

    For showing before anything is asked: whoever is about to move is told at once. The worker checks at the set itself.
    """
    from athanor.instruments.bounds import LimitViolation, unknown

    limit = plan.spec.limit()
    try:
        if limit is None:
            raise unknown(plan.axis, plan.target)
        value = limit.check(plan.axis, plan.target)
        if here is not None and not limit.walk:
            limit.check_step(plan.axis, value, here)
    except LimitViolation as error:
        return str(error)
    return None


class MoveCommands:
    """Motions by hand of one person.

    Args:
        ledger: where orders are kept.
        person: in whose name they are signed.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self.ledger = ledger
        self.person = person
        self._hands = InstrumentCommands(ledger, person)

    def plan(self, place: InstrumentPlace, axis: str, text: str, unit: str | None) -> Plan:
        """What is about to be done.

        Raises:
            Refused: the instrument is not this person's to move, has never run, or has no such axis.
            NoTarget: the axis cannot go to that.
        """
        from athanor.console.cli.context import command
        from athanor.instruments.config import Config

        standing = self._hands.hands(place)[0].read()
        if standing.tenure is None or standing.tenure.holder != self.person:
            who = standing.refusal[1] if standing.refusal is not None else "nobody has it in hand"
            first = command("take-over", place.name, "--for", "30m", "--reason", "why")
            raise Refused(f"{place.name} is not yours to move: {who}", f"Take it over first: {first}")
        try:
            config = Config.read(place)
        except (OSError, ValueError) as error:
            raise Refused(f"{place.name} has never run here: {error}", "Run or check it once, then move it.") from error
        spec = config.profile.axes.get(axis)
        if spec is None:
            raise Refused(f"{place.name} has no axis {axis}", f"Its axes: {', '.join(config.profile.axes)}")
        return Plan(place, config, spec, axis, target_of(spec, axis, text, unit), standing.tenure.nonce)

    def order(self, plan: Plan, reason: str) -> Order:
        """Sign the order, and put it into the journal. It is good for a minute, and once. Raises `GateError`."""
        from athanor.instruments.latch import Latch

        orders = self._hands.hands(plan.place)[1]
        latch = Latch(plan.place).read().count
        return orders.move(plan.place.name, plan.axis, plan.target, plan.tenure, latch, reason)

    def carry_out(self, client: Client, plan: Plan, order: Order) -> dict[str, Any]:
        """Give the order and wait for the axis; where it was and is.

        Raises:
            Refused: with what stands where, whatever went wrong.
            KeyboardInterrupt: the axis was halted.
        """
        from athanor.instruments.wire import WorkerLost
        from athanor.instruments.words import Refused as Declined

        place, axis = plan.place, plan.axis
        try:
            return client.call("move", timeout_s=plan.spec.longest_move_s + MARGIN_S, **order.as_dict())
        except KeyboardInterrupt:
            client.call("abort", reason=f"stopped by {self.person}", by=self.person)
            raise
        except Declined as error:
            raise Refused(f"{axis} was not moved as asked: {error}. {stands(place, axis)}", None) from error
        except WorkerLost as error:
            known = {"instrument": place.name, "axis": axis, "by": self.person}
            self.ledger.add_event(None, "manual_move", {**known, "code": "worker.lost", "detail": str(error)})
            raise Refused(
                f"The worker was lost while it moved {axis}: {error}. {stands(place, axis)}", "Look at the instrument."
            ) from error


def connected(place: InstrumentPlace, config: Config, ledger: Ledger) -> Client:
    """The line to the instrument's worker, which is started if there is none. May take a minute.

    Raises:
        Refused: it hangs.
        InstrumentUnavailable: it does not start.
    """
    from athanor.instruments.executors import executor_for
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.memory import places

    for attempt in range(2):
        try:
            return Client(place.sockets / "worker.sock")
        except WorkerLost as error:
            if error.hung or attempt:
                raise Refused(f"The worker of {place.name} does not answer: {error}", ending(place)) from error
        executor = executor_for(config.profile, config.options, place, ledger.url, places.keys_dir() / "gate.pub")
        try:
            executor.ensure()
        finally:
            executor.close()
    raise AssertionError


def stands(place: InstrumentPlace, axis: str) -> str:
    """Where an axis stands, as a sentence."""
    back = read_back(place)
    here = back["positions"].get(axis)
    if here is None:
        return f"Where {axis} stands cannot be read now"
    return f"{axis} {'still moves, now at' if back['moving'] else 'stands at'} {here}"


# -- while somebody watches ----------------------------------------------------------------------------------------


@dataclass
class Motion:
    """A motion that somebody watches. `before` and `after` are read-backs; `problem` is why it is not as asked."""

    id: str
    plan: Plan
    person: str
    before: Any = None
    after: Any = None
    problem: Exception | None = None
    attended: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def state(self) -> str:
        """`moving`, `arrived` or `failed`."""
        if not self.over.is_set():
            return "moving"
        return "arrived" if self.problem is None else "failed"


def _bare(error: Exception) -> Exception:
    """An error without the way it came, which would hold on to the line, and to all that was heard over it."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = link.__context__ = None
        link = link.__cause__
    return error


class Motions:
    """The motions by hand that this process watches over; what it forgets, the ledger's events still tell."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._known: dict[str, Motion] = {}

    def begin(self, commands: MoveCommands, plan: Plan, client: Client, order: Order) -> Motion:
        """Have an order carried out, in a thread of its own. It is over when the motion's `over` is set."""
        from athanor.memory.orders import terms_of

        motion = Motion(terms_of(order)["nonce"], plan, commands.person, attended=self._clock())
        with self._guard:
            for old in [one for one in self._known.values() if one.over.is_set()][: max(0, len(self._known) - KEPT)]:
                del self._known[old.id]
            self._known[motion.id] = motion
        threading.Thread(
            target=self._carry_out, args=(commands, motion, client, order), name="move", daemon=True
        ).start()
        threading.Thread(target=self._attend, args=(motion, client), name="attend", daemon=True).start()
        return motion

    def find(self, identity: str) -> Motion | None:
        """A motion, for whoever wants to see it; None when it is not known here."""
        with self._guard:
            return self._known.get(identity)

    def attend(self, motion: Motion) -> None:
        """Whoever ordered it is still there."""
        motion.attended = self._clock()

    def _carry_out(self, commands: MoveCommands, motion: Motion, client: Client, order: Order) -> None:
        try:
            facts = commands.carry_out(client, motion.plan, order)
            motion.before, motion.after = facts["from"], facts["to"]
        except Exception as error:  # whatever it was, it is what became of the motion
            if not isinstance(error, Refused):
                log.exception("a motion by hand of %s", motion.plan.place.name)
            motion.problem = _bare(error)
            motion.after = read_back(motion.plan.place)["positions"].get(motion.plan.axis)
        finally:
            client.close()
            motion.over.set()

    def _attend(self, motion: Motion, client: Client) -> None:
        while not motion.over.wait(LOOK_S):
            if self._clock() - motion.attended <= ATTEND_S:
                continue
            try:
                with worker_of(motion.plan.place) as other:
                    reason = f"nobody has watched it for {ATTEND_S:g} s: the page of {motion.person} is gone"
                    other.call("abort", reason=reason, by=motion.person)
            except Refused as error:
                log.warning("a motion that nobody watches: %s", error)
            if not motion.over.wait(MARGIN_S):
                client.close()  # for the worker, whoever asked is then gone, and it halts the axis
            return
