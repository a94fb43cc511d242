"""What a worker tells the journal beside its runs: who paused one, who moved an axis by hand. A thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from athanor.memory.errors import LedgerBusy, LedgerFull

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

log = logging.getLogger(__name__)

_Entry = tuple[str | None, str, dict[str, Any]]


class Diary:
    """Takes events and puts them into the ledger, in order; tries for as long as the ledger is locked or full.

    Telling never waits. What the ledger has not taken when the worker dies is lost: whatever must not be lost is in
    the ledger before the worker is asked.
    """

    RETRY_S = 0.2

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._open = ledger
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        threading.Thread(target=self._work, name="diary", daemon=True).start()

    def tell(self, campaign: str | None, kind: str, body: dict[str, Any]) -> None:
        """Have an event written, of a campaign or of the site."""
        self._entries.put((campaign, kind, body))

    def finish(self, timeout_s: float) -> bool:
        """Let the thread end after what it has; whether it did in time."""
        self._entries.put(None)
        return self._ended.wait(timeout_s)

    def _work(self) -> None:
        while (entry := self._entries.get()) is not None:
            while not self._is_written(*entry):
                time.sleep(self.RETRY_S)
        self._ended.set()

    def _is_written(self, campaign: str | None, kind: str, body: dict[str, Any]) -> bool:
        """Whether nothing more can be done for the event: it is written, or never will be."""
        try:
            self._open().add_event(campaign, kind, body)
        except (LedgerBusy, LedgerFull, OSError) as error:  # it will pass
            log.debug("the ledger does not take %s: %s", kind, error)
            return False
        except Exception:
            log.exception("the ledger refuses %s %s", kind, body)
        return True
