"""What stands between the worker and a set besides the limits: write switch, count of refusals, call for Stop All."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from athanor.instruments.line import Line
from athanor.instruments.words import Tally
from athanor.instruments.write_switch import WriteGuard

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

ANSWER_S = 5.0


class Safeguards:
    """Those of one instrument. Make them before its configuration is read: what changes later is then seen.

    Without a place nothing but the count is there, which is for engines that stand alone.
    """

    def __init__(self, place: InstrumentPlace | None = None) -> None:
        self.tally = Tally()
        self._socket = place.sockets / "recovery.sock" if place is not None else None
        self._guard: WriteGuard | None = None
        if place is not None:
            self._guard = WriteGuard(place)
            self._guard.switch.create()

    def refusal(self) -> tuple[str, str] | None:
        """Why nothing may be set now, as (stable code, what is wrong), or None."""
        return self._guard.refusal() if self._guard is not None else None

    def facts(self) -> dict[str, Any]:
        """Why nothing may be set, or None. Reads the disk: not for a heartbeat."""
        found = self.refusal()
        return {"writes": None if found is None else f"{found[0]}: {found[1]}"}

    def call_stop_all(self, reason: str) -> None:
        """Ask the recovery process for Stop All. It ends whatever does not end by itself, this process included."""
        log.error("calling for Stop All: %s", reason)
        if self._socket is None:
            return
        try:
            with Line.connect(self._socket) as line:
                line.send({"id": 1, "verb": "stop_all", "reason": reason, "by": "interlock"})
                until = time.monotonic() + ANSWER_S
                while "ok" not in line.receive(until):
                    pass  # that it was accepted comes first
        except (OSError, ValueError) as error:
            log.error("Stop All could not be called for: %s", error)
