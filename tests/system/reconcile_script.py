"""Reconcile an instrument, and die by SIGKILL at the n-th moment that a crash could tear something apart.

usage: reconcile_script.py LEDGER INSTRUMENT N
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from athanor.instruments.reconcile import reconcile
from athanor.memory._store import Store
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace

moments = 0


def moment() -> None:
    global moments
    moments += 1
    if moments == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


def arm() -> None:
    """Each write to the ledger and each change of a file is two moments: before it and after it."""
    writing = Store._writing

    @contextmanager
    def dying(self: Store) -> Iterator[Any]:
        moment()
        with writing(self) as writer:
            yield writer
        moment()

    Store._writing = dying  # type: ignore[method-assign]
    for name in ("rename", "unlink", "write_text"):
        original = getattr(Path, name)

        def changed(self: Path, *args: Any, original: Any = original, **options: Any) -> Any:
            moment()
            result = original(self, *args, **options)
            moment()
            return result

        setattr(Path, name, changed)


def main() -> None:
    ledger = Ledger.open(sys.argv[1])
    place = InstrumentPlace.of(sys.argv[2], ledger.path.parent)
    arm()
    reconcile(ledger, place)
    sys.stdout.write(f"{moments}\n")


if __name__ == "__main__":
    main()
