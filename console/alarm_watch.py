"""The watch over the alarms: a thread that looks at what is so and says what came and what went.

Any number of consoles may run one. A lease lets one of them do it at a time, and what it says is written only if nobody
else has said it meanwhile. What came while none ran is seen by the first that starts.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from athanor.agents.holders import holder, is_gone
from athanor.console.conditions import Conditions, Site
from athanor.governance.alarm_delays import Deadband
from athanor.memory.errors import LeaseHeld, LeaseLost

if TYPE_CHECKING:
    from athanor.governance.alarm_history import Alarms
    from athanor.memory.records import Lease

log = logging.getLogger(__name__)

RESOURCE = "watch:alarms"
LOOK_S = 2.0
LEASE_S = 30.0
LEAVE_S = 5.0


class AlarmWatch:
    """Looks at a site for as long as a console runs.

    Args:
        site: what is looked at.
        alarms: where it is told.
    """

    def __init__(self, site: Site, alarms: Alarms) -> None:
        self._ledger = site.ledger
        self._conditions = Conditions(site)
        self._alarms = alarms
        self._deadband = Deadband(alarms.catalogue)
        self._me = holder()
        self._lease: Lease | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let another one look. Waits for a look that is under way, but not for long."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)
        if self._lease is not None and not self._thread.is_alive():
            with contextlib.suppress(Exception):
                self._ledger.release_lease(self._lease)
            self._lease = None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:
                log.exception("the alarms could not be looked after; it is tried again")
            self._ended.wait(LOOK_S)

    def look(self) -> bool:
        """Look once, and tell; False when another console does."""
        if not self._holds():
            self._deadband = Deadband(self._alarms.catalogue)  # what it has seen is old when its turn comes
            return False
        self._alarms.expire()
        found = self._conditions.look()
        due = self._deadband.due(found.conditions, found.unread, self._alarms.all(), self._ledger.now())
        for identifier in due.unexplain:
            self._alarms.unexplain(identifier)
        for identifier in due.clear:
            self._alarms.clear(identifier)
        for condition, cause in due.explain:
            self._alarms.explain(condition, cause)
        for condition in due.raise_:
            self._alarms.raise_(condition)
        return True

    def _holds(self) -> bool:
        """Whether it is for us to look, for some time yet."""
        now = self._ledger.now()
        try:
            if self._lease is None:
                self._lease = self._ledger.acquire_lease(RESOURCE, self._me, LEASE_S, is_gone)
            elif self._lease.expires_at - now < timedelta(seconds=LEASE_S * 2 / 3):
                self._lease = self._ledger.renew_lease(self._lease)
        except (LeaseHeld, LeaseLost):
            self._lease = None
            return False
        return True
