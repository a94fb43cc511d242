"""A RunEngine for a test, gone with its thread and its event loop when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bluesky.run_engine import RunEngine


@contextmanager
def run_engine(**options: Any) -> Iterator[RunEngine]:
    """Bluesky leaves a RunEngine's loop to the process; a loop found unclosed later fails some other test."""
    made = RunEngine({}, context_managers=[], **options)
    try:
        yield made
    finally:
        made.loop.call_soon_threadsafe(made.loop.stop)
        made._th.join(5)
        made.loop.close()
