"""A PV Access server for the tests: `python -m tests.instruments.protocols.pva_server PREFIX`. See `ioc_rig`."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from p4p.nt import NTEnum, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from tests.instruments.protocols.ioc_child import ask_to_put, next_number, said, say

PATIENCE_S = 60.0


class Handler:
    """Takes what clients write."""

    def __init__(self, name: str, waiting: dict[int, threading.Event]) -> None:
        self.name = name
        self.waiting = waiting

    def put(self, pv: Any, operation: Any) -> None:
        """Hand it on to the test, keep it, then confirm."""
        value = operation.value()
        if self.name == "LOCKED":
            operation.done(error="it is locked")
            return
        if self.name in ("SETPOINT", "STOP"):
            done = threading.Event()
            number = next_number()
            self.waiting[number] = done
            ask_to_put(number, self.name, value)
            done.wait(PATIENCE_S)
        elif self.name == "SLOW":
            ask_to_put(next_number(), self.name, value)
            return  # never confirmed
        elif self.name == "ALARM":
            severity, status, message = value.raw["value"].split(",")
            alarmed = PVS["ALARMED"]
            update = ALARMED.wrap(2.5, timestamp=time.time())
            update["alarm.severity"], update["alarm.status"], update["alarm.message"] = (
                int(severity),
                int(status),
                message,
            )
            alarmed.post(update)
        pv.post(value, timestamp=time.time())
        operation.done()


def scalar(code: str) -> Any:
    """A normative type."""
    return NTScalar(code)


PVS: dict[str, Any] = {}
ALARMED = scalar("d")


def serve(prefix: str) -> None:
    """Serve until the test goes."""
    waiting: dict[int, threading.Event] = {}
    initial: dict[str, tuple[Any, Any]] = {
        "SETPOINT": (scalar("d"), 0.0),
        "READBACK": (scalar("d"), 0.0),
        "MOVING": (scalar("?"), False),
        "STOP": (scalar("i"), 0),
        "MEASURED": (scalar("d"), 0.0),
        "LABEL": (scalar("s"), ""),
        "COUNT": (scalar("i"), 0),
        "MODE": (NTEnum(), {"index": 0, "choices": ["Off", "Slow", "Fast"]}),
        "SHORT": (scalar("h"), 0),
        "BYTE": (scalar("B"), 0),
        "LONG": (scalar("l"), 0),
        "SINGLE": (scalar("f"), 0.5),
        "FLAG": (scalar("?"), False),
        "SPECTRUM": (scalar("ad"), [1.0, 2.0, 3.0]),
        "LOCKED": (scalar("d"), 1.0),
        "SLOW": (scalar("d"), 0.0),
        "ALARM": (scalar("s"), ""),
        "ALARMED": (ALARMED, 2.5),
    }
    for name, (kind, value) in initial.items():
        PVS[name] = SharedPV(nt=kind, initial=value, handler=Handler(name, waiting))
    PVS["STAMPED"] = SharedPV(nt=scalar("d"), initial=1.0, timestamp=1_000_000_000.25)
    with Server(providers=[{prefix + name: pv for name, pv in PVS.items()}]):
        say(ready=True)
        for what in said():
            if "done" in what:
                waiting.pop(what["done"], threading.Event()).set()
                continue
            for name, value in what["set"].items():
                update = initial[name][0].wrap(value, timestamp=time.time())
                if name == "MEASURED" and what["bad"]:
                    update["alarm.severity"], update["alarm.status"], update["alarm.message"] = 3, 2, "READ"
                PVS[name].post(update)
            say(ack=what["id"])


if __name__ == "__main__":
    serve(sys.argv[1])
