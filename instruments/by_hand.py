"""One axis moved by a person: its order is checked and used up, and goes through the same limits as everything else."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.instruments.limits import LimitedAxis, LimitViolation, SetRefused, finished
from athanor.instruments.plans import describe, is_at
from athanor.instruments.spool import sync_folder
from athanor.instruments.words import LOST, Refused
from athanor.memory import orders
from athanor.memory.decisions import BadSignature, ForgedDecision

if TYPE_CHECKING:
    from athanor.instruments.engine import Engine
    from athanor.instruments.latch import Latch
    from athanor.instruments.profile import AxisSpec, Profile
    from athanor.instruments.takeover import TakeOver
    from athanor.memory.orders import Order
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.signing import PublicKey

log = logging.getLogger(__name__)

MARGIN_S = 1.0
LOOK_S = 0.1
"""Seconds between two looks whether whoever moves the axis is still there."""
KEPT_S = 86400.0
"""Seconds for which a used order is remembered: far longer than one is good for."""
_NONCE = re.compile(r"[0-9a-f]{16,64}")


@dataclass
class HandMove:
    """One axis on its way by hand, and what became of it. `before` and `after` are read-backs, None if not read."""

    axis: str
    value: float | int | str
    before: Any = None
    after: Any = None
    failure: Refused | None = None
    ends: str | None = None
    """Why it is to end before its time."""
    lost: str | None = None
    over: threading.Event = field(default_factory=threading.Event)

    async def carry_out(self, axis: LimitedAxis, spec: AxisSpec) -> None:
        """Move, in the RunEngine's loop; never raises, what went wrong is in `failure`."""
        try:
            self.before = (await axis.locate())["readback"]
            limit_s = spec.longest_move_s + MARGIN_S
            async with asyncio.timeout(limit_s):
                await finished(axis.set(self.value))
            self.after = (await axis.locate())["readback"]
            if self.ends is not None or not is_at(self.after, self.value, spec.tolerance):
                self.failure = self._refusal(None)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises becomes the answer
            self.failure = self._refusal(error)
            if not isinstance(error, (LimitViolation, SetRefused)):  # those have let nothing through
                await stop(axis)
            with contextlib.suppress(Exception):  # the first failure says more
                self.after = (await axis.locate())["readback"]

    def _refusal(self, error: Exception | None) -> Refused:
        if self.lost is not None:
            return Refused("instrument.lost", self.lost)
        if self.ends is not None:
            return Refused("move.stopped", self.ends)
        if error is None:
            return Refused("move.elsewhere", f"{self.axis} was sent to {self.value} and stands at {self.after}")
        if isinstance(error, LimitViolation):
            return Refused(error.code, str(error).removeprefix(f"{error.code}: "))
        if isinstance(error, SetRefused):
            return Refused(error.code, error.detail)
        if isinstance(error, TimeoutError) and not error.args:
            return Refused("move.timeout", f"{self.axis} did not arrive in time and was stopped")
        text = describe(error)
        return Refused("instrument.lost" if text.startswith(LOST) else "move.failed", text.removeprefix(LOST))


async def stop(axis: LimitedAxis) -> None:
    """Stop an axis; what goes wrong with that is logged, as nothing else can be done here."""
    try:
        status = axis.stop(success=False)
        if inspect.isawaitable(status):
            await status
    except Exception:
        log.exception("%s was not stopped", axis.name)


class UsedOrders:
    """Which orders were used up, on disk before anything moves."""

    def __init__(self, place: InstrumentPlace) -> None:
        self._folder = place.directory / "orders"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        oldest = time.time() - KEPT_S
        for path in self._folder.iterdir():
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def use(self, nonce: str) -> None:
        """Use an order up. Raises `Refused` when it was before, or the disk does not take it."""
        if not _NONCE.fullmatch(nonce):
            raise Refused("order.malformed", f"{nonce!r} is no nonce")
        try:
            handle = os.open(self._folder / nonce, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.close(handle)
            sync_folder(self._folder)
        except FileExistsError as error:
            raise Refused("order.used", "this order was carried out before; nothing moves twice by one") from error
        except OSError as error:
            raise Refused("order.unmarked", f"nothing was moved: {error}") from error


class ByHand:
    """Carries out the orders of the person who has the instrument in hand. Waits: not for a control thread.

    Args:
        place: where the instrument keeps its things.
        profile: its axes.
        latch: of its Stop All.
        public: the gate's public key.
        takeover: who has it in hand.
        engine: what moves.
        tell: puts an event into the journal.
    """

    def __init__(
        self,
        place: InstrumentPlace,
        profile: Profile,
        latch: Latch,
        public: PublicKey,
        takeover: TakeOver,
        engine: Engine,
        tell: Callable[..., None],
    ) -> None:
        self._profile = profile
        self._latch = latch
        self._public = public
        self._takeover = takeover
        self._engine = engine
        self._tell = tell
        self._used = UsedOrders(place)

    def move(self, order: Order, aborts: int, is_attended: Callable[[], bool]) -> dict[str, Any]:
        """Move one axis, and wait until it stands; where it was and is.

        Args:
            order: the signed order.
            aborts: what `Engine.count_aborts` said when the request came.
            is_attended: whether whoever asked is still there; when not, the axis is stopped.

        Raises:
            Refused: with its code, in the journal too. Whether anything has moved, the event there says.
        """
        about: dict[str, Any] = {"axis": None, "value": None, "by": None, "order": None, "from": None, "to": None}
        try:
            terms = self._terms(order)
            about |= {"axis": terms["axis"], "value": terms["value"], "by": terms["by"], "order": terms["nonce"]}
            self._check(terms)
            self._used.use(terms["nonce"])
            hand = HandMove(terms["axis"], terms["value"])
            self._engine.move(hand, aborts)
            while not hand.over.wait(LOOK_S):
                if not is_attended():
                    self._engine.abort("the console that moved it is gone")
            about |= {"from": hand.before, "to": hand.after}
            if hand.failure is not None:
                raise hand.failure
        except Refused as error:
            self._tell("manual_move", **about, code=error.code, detail=error.detail)
            raise
        self._tell("manual_move", **about, code=None, detail=None)
        return {"axis": hand.axis, "from": hand.before, "to": hand.after}

    def _terms(self, order: Order) -> dict[str, Any]:
        try:
            terms = orders.check(order, self._public)
        except BadSignature as error:
            raise Refused("order.signature", str(error)) from error
        except ForgedDecision as error:
            raise Refused("order.malformed", str(error)) from error
        if terms["kind"] != "move":
            raise Refused("order.kind", f"an order of kind {terms['kind']!r} moves nothing")
        return terms

    def _check(self, terms: dict[str, Any]) -> None:
        """Raises `Refused` unless the order holds here and now; limits and interlocks are the axis's own part."""
        if terms["instrument"] != self._profile.name:
            raise Refused("instrument.wrong", f"this is {self._profile.name}, the order is for {terms['instrument']}")
        if terms["expires_at"] <= datetime.now(UTC):
            raise Refused("order.expired", f"the order was good until {terms['expires_at']:%H:%M:%S} UTC; give another")
        standing = self._takeover.read()
        if standing.trouble is not None:
            raise Refused("takeover.unknown", standing.trouble)
        if standing.tenure is None:
            raise Refused("takeover.none", "nobody has the instrument in hand; take it over first")
        if (terms["by"], terms["tenure"]) != (standing.tenure.holder, standing.tenure.nonce):
            raise Refused("takeover.other", str(standing.tenure))
        latch = self._latch.read()
        if latch.engaged:
            raise Refused("latch.engaged", f"Stop All is latched ({latch.reason}): reset it with a reason first")
        if terms["latch"] != latch.count:
            raise Refused("latch.changed", "Stop All was used since this was ordered: look, and order it again")
        if terms["axis"] not in self._profile.axes:
            raise Refused("limit.unknown", f"no axis {terms['axis']!r}; there are {', '.join(self._profile.axes)}")
