from __future__ import annotations

import socket

from tests.sandbox.serving.behaviours import Behaviours, Serve, connect, engine, serve
from tests.sandbox.serving.served import Served

__all__ = ["connect", "engine", "serve"]


class TestScpi(Behaviours):
    protocol = "scpi"


class Terminal:
    """A person at a terminal."""

    def __init__(self, served: Served) -> None:
        _, host, port, _ = served.profile().controllers["served"].address.split("::")
        self.socket = socket.create_connection((host, int(port)), timeout=10.0)
        self.lines = self.socket.makefile("r")

    def say(self, text: str) -> None:
        self.socket.sendall(text.encode() + b"\n")

    def ask(self, text: str) -> str:
        self.say(text)
        return self.lines.readline().strip()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def test_a_person_at_a_terminal(serve: Serve) -> None:
    served = serve("scpi")
    one, two = Terminal(served), Terminal(served)
    try:
        assert one.ask("*idn?") == "Athanor,snar-flow,simulated,1"
        assert one.ask("*OPC?") == "1"
        one.say("temperature:setpoint 80.5")
        assert one.ask(":TEMPERATURE:SETPOINT?") == "80.5"
        assert two.ask("Temperature:Readback?") == "80.5"
        assert one.ask("analyser:sty?") == "9.91E+37"
        assert one.ask("analyser:status?") == '"nothing was measured yet"'
        one.say("")
        assert one.ask("SYST:ERR?") == '0,"No error"'
        one.say("TEMPERATURE:SETPOINT hot")
        one.say("NOWHERE?")  # is not answered
        one.say("TEMPERATURE:STOP?")
        one.say("TEMPERATURE:SETPOINT nan")
        assert two.ask("SYST:ERR?") == '0,"No error"'  # each has a queue of its own
        errors = [one.ask("SYSTEM:ERROR?") for _ in range(5)]
        assert [error.split(",")[0] for error in errors] == ["-104", "-113", "-113", "-200", "0"]
        assert "not_finite" in errors[3]
        one.say("NOWHERE?")
        one.say("*CLS")
        assert one.ask("SYST:ERR?") == '0,"No error"'
        one.say("x" * 100_000)  # is hung up on; the others are not
        assert one.lines.readline() == ""
        assert two.ask("*IDN?") == "Athanor,snar-flow,simulated,1"
    finally:
        one.close()
        two.close()
