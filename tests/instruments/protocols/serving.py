"""An event loop in a thread of its own, for a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Loop:
    """Runs until closed; what is still running then is cancelled."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="server", daemon=True)
        self._thread.start()

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Run it there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(20.0)

    def close(self) -> None:
        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        try:
            self.do(end())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10.0)
            self.loop.close()
