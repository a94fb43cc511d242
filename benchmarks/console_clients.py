"""People who watch: clients that do what a page does, for `console_load`, in a process of their own.

Each holds the stream of changes and, as a page does, reads again what it shows when something changed that concerns it,
at most every 0.2 to 0.3 s, each a little differently. Half of them show the overview, half a campaign. What is written
down, as JSON on standard output:

- `data_s`: how long each answer took,
- `lag_s`: from the moment in a journal row until an answer arrived that was asked for after hearing of it,
- `lost`: streams that broke, answers that were none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

SOON_S = (0.2, 0.3)


@dataclass
class Told:
    """What all clients have seen."""

    data_s: list[float] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Watcher:
    """One person at one page."""

    def __init__(self, base: str, token: str, campaign: str | None, told: Told) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(base_url=base, headers=headers, timeout=30.0)
        self._campaign = campaign
        self._path = "/overview" if campaign is None else f"/campaigns/{campaign}/board"
        self._told = told
        self._heard: list[float] = []
        self._wake = asyncio.Event()
        self._soon_s = random.uniform(*SOON_S)

    async def watch(self, until: float) -> None:
        """Listen and read, until a moment of `time.monotonic`."""
        async with self._client:
            await self._read([])
            reading = asyncio.create_task(self._refresh())
            try:
                async with asyncio.timeout(max(0.1, until - time.monotonic())):
                    await self._listen()
            except TimeoutError:
                pass
            except httpx.HTTPError as error:
                self._told.lost.append(f"stream: {error!r}")
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    async def _listen(self) -> None:
        async with self._client.stream("GET", "/changes", timeout=60.0) as answer:
            kind = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "change":
                    self._hear(json.loads(value))
                elif name == "data" and kind == "ended":
                    self._told.lost.append(f"ended: {value}")
                    return

    def _hear(self, change: dict[str, Any]) -> None:
        if self._campaign is None or change["campaign_id"] in (None, self._campaign):
            self._heard.append(datetime.fromisoformat(change["at"]).timestamp())
            self._wake.set()

    async def _refresh(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            heard, self._heard = self._heard, []
            began = time.monotonic()
            await self._read(heard)
            await asyncio.sleep(max(0.0, self._soon_s - (time.monotonic() - began)))

    async def _read(self, heard: list[float]) -> None:
        began = time.monotonic()
        try:
            answer = await self._client.get(self._path)
        except httpx.HTTPError as error:
            self._told.lost.append(f"answer: {error!r}")
            return
        if answer.status_code != 200:
            self._told.lost.append(f"answer: {answer.status_code} {answer.text[:120]}")
            return
        self._told.data_s.append(time.monotonic() - began)
        # Of several changes that one answer shows, each has waited its own time.
        self._told.lag_s.extend(time.time() - at for at in heard)


async def main() -> None:
    """Read `{base, tokens, campaigns, seconds}` from standard input, watch, and write what was seen."""
    asked = json.loads(sys.stdin.readline())
    told, until = Told(), time.monotonic() + asked["seconds"]
    campaigns = asked["campaigns"]
    watchers = [
        Watcher(asked["base"], token, None if index % 2 == 0 else campaigns[index // 2 % len(campaigns)], told)
        for index, token in enumerate(asked["tokens"])
    ]
    await asyncio.gather(*(watcher.watch(until) for watcher in watchers))
    sys.stdout.write(json.dumps(vars(told)))


if __name__ == "__main__":
    asyncio.run(main())
