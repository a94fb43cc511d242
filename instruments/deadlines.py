"""Work that may never end, and answers by a deadline all the same. Standard library only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def spawn(work: Callable[[], T], name: str) -> Future[T]:
    """Run in a daemon thread, so that work that never ends cannot keep the process."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future


def outcome(future: Future[Any], deadline: float) -> tuple[Any, str | None]:
    """The result of `future`, or in words what went wrong; waits until `deadline` (`time.monotonic`)."""
    try:
        return future.result(max(0.0, deadline - time.monotonic())), None
    except TimeoutError as error:
        return None, "no answer in time" if not future.done() else str(error) or "timed out"
    except Exception as error:  # noqa: BLE001 - any driver may raise anything; the others are still stopped
        return None, f"{type(error).__name__}: {error}"
