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


def ask_to_put(name: str, value: Any) -> int:
    """Hand a put on; returns the number that the test's `done` will carry."""
    number = next(_numbers)
    say(put=name, value=value.item() if hasattr(value, "item") else value, id=number)
    return number
