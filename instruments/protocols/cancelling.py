"""Awaiting other people's coroutines so that a cancellation is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def cancellable(work: Awaitable[T]) -> T:
    """Await it; when this is cancelled, cancel it, wait until it has ended, and raise `CancelledError` in any case.

    Libraries use `asyncio.wait_for`, which before Python 3.12 loses a cancellation that meets the result: a motion's
    deadline would pass unheard, and the motion be waited for without end.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, or the loop would complain
        raise
    return task.result()
