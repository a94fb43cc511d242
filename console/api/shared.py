"""Answers that many pages ask for at once: made once, and again when the ledger has changed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

MOST = 256
"""So many answers are kept; the one asked for least recently goes first."""


class Shared:
    """Values that are good until the ledger has changed, or for some seconds, whichever ends first.

    One caller makes a value, and who asks for the same meanwhile waits for it. Values are not to be changed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, key: Hashable, position: int, for_s: float, make: Callable[[], Any]) -> Any:
        """The value that was made at this position of the journal not longer ago than `for_s`, or a new one.

        Raises what `make` raises; nothing is kept of that.
        """
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > MOST:
                self._slots.popitem(last=False)
        with slot.guard:
            if slot.position != position or self._clock() - slot.at > for_s:
                at = self._clock()
                slot.value, slot.position, slot.at = make(), position, at
            return slot.value


class _Slot:
    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.position = -1
        self.at = 0.0
        self.value: Any = None
