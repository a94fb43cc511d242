"""Connecting an instrument so that it can say where it stands: its worker is started, nothing moves.

That may take a minute, which is longer than anybody should wait for an answer over HTTP: it goes on in a thread.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from athanor.console.commands.moving import connected
from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace


class Connecting:
    """The instruments that this process is connecting, and why the last try of each failed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._threads: dict[Path, threading.Thread] = {}
        self._failures: dict[Path, Exception] = {}

    def begin(self, ledger: Ledger, place: InstrumentPlace, wait_s: float) -> bool:
        """Have its worker started, unless it runs; whether it is there after `wait_s` at most.

        Raises:
            Refused: it has never run here, or its worker hangs.
            InstrumentUnavailable: it does not start.
        """
        key = place.directory.resolve()
        with self._guard:
            thread = self._threads.get(key)
            if thread is None or not thread.is_alive():
                self._failures.pop(key, None)
                thread = threading.Thread(target=self._connect, args=(ledger, place, key), name="connect", daemon=True)
                self._threads[key] = thread
                thread.start()
        thread.join(wait_s)
        if (failure := self.failure(place)) is not None:
            raise failure
        return not thread.is_alive()

    def is_underway(self, place: InstrumentPlace) -> bool:
        """Whether it is being connected now."""
        thread = self._threads.get(place.directory.resolve())
        return thread is not None and thread.is_alive()

    def failure(self, place: InstrumentPlace) -> Exception | None:
        """Why the last try failed; None when it did not."""
        return self._failures.get(place.directory.resolve())

    def _connect(self, ledger: Ledger, place: InstrumentPlace, key: Path) -> None:
        from athanor.instruments.config import Config
        from athanor.memory import places
        from athanor.memory.signing import GateKey

        try:
            GateKey.load_or_create(places.keys_dir())  # the worker is told whose signature counts
            try:
                config = Config.read(place)
            except (OSError, ValueError) as error:
                raise Refused(f"{place.name} has never run here: {error}", "Run or check it once.") from error
            connected(place, config, ledger).close()
        except Exception as error:  # noqa: BLE001 - told to whoever asked for it
            self._failures[key] = error
