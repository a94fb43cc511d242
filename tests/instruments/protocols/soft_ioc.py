"""A soft IOC for the tests: `python -m tests.instruments.protocols.soft_ioc PREFIX`. See `ioc_rig`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

from caproto import AlarmSeverity, AlarmStatus, ChannelType
from caproto.asyncio.server import Context
from caproto.server import PVGroup, pvproperty

from tests.instruments.protocols.ioc_child import ask_to_put, next_number, said, say

ENDLESS_S = 3600.0


class Stage(PVGroup):
    """The plant's PVs, and one of every kind."""

    setpoint = pvproperty(value=0.0, name="SETPOINT")
    readback = pvproperty(value=0.0, name="READBACK", read_only=True)
    moving = pvproperty(value="Idle", name="MOVING", enum_strings=["Idle", "Moving"], dtype=ChannelType.ENUM)
    halt = pvproperty(value=0, name="STOP")
    measured = pvproperty(value=0.0, name="MEASURED", read_only=True, alarm_group="measured")
    label = pvproperty(value="", name="LABEL", dtype=ChannelType.STRING)
    number = pvproperty(value=0, name="COUNT", dtype=ChannelType.LONG)

    mode = pvproperty(value="Off", name="MODE", enum_strings=["Off", "Slow", "Fast"], dtype=ChannelType.ENUM)
    short = pvproperty(value=0, name="SHORT", dtype=ChannelType.INT)
    single = pvproperty(value=0.5, name="SINGLE", dtype=ChannelType.FLOAT)
    notes = pvproperty(value="", name="NOTES", dtype=ChannelType.CHAR, max_length=200)
    spectrum = pvproperty(value=[1.0, 2.0, 3.0], name="SPECTRUM")
    locked = pvproperty(value=1.0, name="LOCKED")
    slow = pvproperty(value=0.0, name="SLOW")
    severity = pvproperty(value=0, name="SEVERITY")
    status = pvproperty(value=0, name="STATUS")
    alarmed = pvproperty(value=2.5, name="ALARMED", alarm_group="alarmed")
    stamped = pvproperty(value=1.0, name="STAMPED")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix=prefix)
        self.waiting: dict[int, asyncio.Future[None]] = {}

    async def _hand_on(self, name: str, value: Any) -> None:
        done = asyncio.get_running_loop().create_future()
        number = next_number()
        self.waiting[number] = done
        ask_to_put(number, name, value)
        await done

    @setpoint.putter
    async def setpoint(self, instance: Any, value: float) -> None:
        await self._hand_on("SETPOINT", value)

    @halt.putter
    async def halt(self, instance: Any, value: int) -> None:
        await self._hand_on("STOP", value)

    @locked.putter
    async def locked(self, instance: Any, value: float) -> None:
        raise ValueError("it is locked")

    @slow.putter
    async def slow(self, instance: Any, value: float) -> None:
        await self._hand_on("SLOW", value)
        await asyncio.sleep(ENDLESS_S)

    @status.putter
    async def status(self, instance: Any, value: int) -> None:
        await self.alarmed.write(2.5, severity=AlarmSeverity(self.severity.value), status=AlarmStatus(value))

    async def serve(self, what: dict[str, Any]) -> None:
        """Do what the test says."""
        if "done" in what:
            self.waiting.pop(what["done"]).set_result(None)
            return
        for name, value in what["set"].items():
            pv = self.pvdb[self.prefix + name]
            if name == "MOVING":
                value = "Moving" if value else "Idle"
            if name == "MEASURED":
                bad = what["bad"]
                alarm = {
                    "severity": AlarmSeverity.INVALID_ALARM if bad else AlarmSeverity.NO_ALARM,
                    "status": AlarmStatus.READ if bad else AlarmStatus.NO_ALARM,
                }
                await pv.write(value, **alarm, verify_value=False)
            else:
                await pv.write(value, verify_value=False)
        say(ack=what["id"])


async def main(prefix: str) -> None:
    """Serve until the test goes."""
    stage = Stage(prefix)
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for what in said():
            loop.call_soon_threadsafe(told.put_nowait, what)
        os._exit(0)

    async def started(_: Any) -> None:
        await stage.stamped.write(1.0, timestamp=1_000_000_000.25)
        threading.Thread(target=listen, daemon=True).start()
        say(ready=True)
        while True:
            await stage.serve(await told.get())

    await Context(stage.pvdb, ["127.0.0.1"]).run(log_pv_names=False, startup_hook=started)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
