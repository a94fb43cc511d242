"""The server's end of `ioc_rig`: JSON lines from and to the test that started it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

_numbers = count(1)
_writing = threading.Lock()


def say(**what: Any) -> None:
    """Tell the test."""
    with _writing:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def said() -> Iterator[dict[str, Any]]:
    """What the test tells, until it ends."""
    for line in sys.stdin:
        yield json.loads(line)


def next_number() -> int:
    """A number for a put: the test's `done` will carry it."""
    return next(_numbers)


def ask_to_put(number: int, name: str, value: Any) -> None:
    """Hand a put on. Be ready for its `done` before."""
    say(put=name, value=value.item() if hasattr(value, "item") else value, id=number)
