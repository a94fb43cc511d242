"""Answers that many pages ask for at once: made once, and again when the ledger has changed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from anyio import CapacityLimiter, to_thread

MOST = 256
"""So many answers are kept; the one asked for least recently goes first."""

AT_ONCE = 2
"""So many are made at once: threads that all compute and read only pass the interpreter back and forth."""

ForSeconds = float | Callable[[Any], float]
"""For how long a value is good, or what tells it of the value."""


class Shared:
    """Values that are good until the ledger has changed, or for some seconds, whichever ends first.

    One caller makes a value, and who asks for the same meanwhile waits for it. Values are not to be changed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._at_once = at_once
        self._guard = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._limit: CapacityLimiter | None = None
        self._making: dict[Hashable, asyncio.Future[Any]] = {}

    def get(self, key: Hashable, position: int, for_s: ForSeconds, make: Callable[[], Any]) -> Any:
        """The value that was made at this position of the journal, or a later one, and is still good; or a new one.

        Raises what `make` raises; nothing is kept of that.
        """
        slot, asked = self._slot(key), self._clock()
        with slot.guard:
            # As of when it was asked for: else, where making takes longer than that, each who waited made another.
            if not slot.is_good(position, asked):
                at = self._clock()
                value = make()
                slot.put(value, position, at + (for_s(value) if callable(for_s) else for_s))
            return slot.value

    async def wait(self, key: Hashable, position: int, for_s: ForSeconds, make: Callable[[], Any]) -> Any:
        """As `get`, from the event loop: `make` runs in a thread, and who waits for it takes none."""
        asked = self._clock()
        while not (slot := self._slot(key)).is_good(position, asked):
            slot.wanted = max(slot.wanted, position)
            making = self._making.get(key)
            if making is None or making.get_loop() is not asyncio.get_running_loop():
                # As of the last position that anybody waits for when it begins: all of them take what it gives.
                making = asyncio.ensure_future(
                    self._in_turn(lambda: self.get(key, max(position, slot.wanted), for_s, make))
                )
                self._making[key] = making
                making.add_done_callback(lambda done: self._made(key, done))
                return await asyncio.shield(making)
            # Begun before we asked: its value is ours only where it is good for us, and its failure is not ours.
            await asyncio.wait([making])
        return slot.value

    async def _in_turn(self, make: Callable[[], Any]) -> Any:
        if self._limit is None:
            self._limit = CapacityLimiter(self._at_once)
        return await to_thread.run_sync(make, limiter=self._limit)

    def _made(self, key: Hashable, done: asyncio.Future[Any]) -> None:
        if self._making.get(key) is done:
            del self._making[key]
        if not done.cancelled():
            done.exception()  # told to whoever asked for it, if they are still there

    def _slot(self, key: Hashable) -> _Slot:
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > MOST:
                self._slots.popitem(last=False)
            return slot


class _Slot:
    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.value: Any = None
        self.wanted = -1
        self._position = -1
        self._until = 0.0

    def put(self, value: Any, position: int, until: float) -> None:
        self.value, self._position, self._until = value, position, until

    def is_good(self, position: int, asked: float) -> bool:
        return self._position >= position and asked <= self._until
