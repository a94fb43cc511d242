"""A real instrument that speaks SCPI over TCP, in a thread of its own."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from typing import ClassVar

from athanor.instruments.protocols.client import SignalSpec
from tests.instruments.protocols.conformance import Rig


class ScpiServer:
    """Answers `*IDN? POS? POS x TARG? MEAS? LAB? COUN? MOV? STOP SYST:ERR? *OPC?` of the plant.

    A query that it does not know is not answered, as with real instruments, and leaves an error in the queue.
    """

    def __init__(self, rig: ScpiRig) -> None:
        self.rig = rig
        self.heard: list[str] = []
        self.port = 0
        self._errors: list[str] = []
        self._going = threading.Event()
        self._going.set()
        self._listener: socket.socket | None = None
        self._lines: list[socket.socket] = []
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []

    def listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def hang_up(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._guard:
            lines, self._lines = self._lines, []
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def close(self) -> None:
        self.hang_up()
        self.resume()
        for thread in self._threads:
            thread.join(5.0)
            assert not thread.is_alive()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._guard:
                if self._listener is not listener:
                    line.close()
                    return
                self._lines.append(line)
            self._start(self._serve, line)

    def _serve(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError), line.makefile("rwb") as stream:
            for raw in stream:
                self._going.wait(60)
                if (answer := self._obey(raw.decode().strip())) is not None:
                    stream.write(answer.encode() + b"\n")
                    stream.flush()

    def _obey(self, text: str) -> str | None:
        self.heard.append(text)
        plant = self.rig.plant
        word, _, argument = text.partition(" ")
        match word:
            case "*IDN?":
                return "Athanor,Bench stage,1,0"
            case "*OPC?":
                return "1"
            case "SYST:ERR?":
                return self._errors.pop(0) if self._errors else '0,"No error"'
            case "POS?":
                return repr(plant.position)
            case "TARG?":
                return repr(plant.target)
            case "POS":
                try:
                    plant.move(float(argument))
                except ValueError:
                    self._errors.append('-104,"Data type error"')
            case "MEAS?":
                return _number(plant.measured)
            case "LAB?":
                return f'"{plant.label}"'
            case "COUN?":
                return str(plant.count)
            case "MOV?":
                return "1" if plant.is_moving else "0"
            case "STOP":
                plant.stop()
            case _:
                self._errors.append('-113,"Undefined header"')
        return None


def _number(value: float) -> str:
    """A number as SCPI-99 writes it."""
    if math.isnan(value):
        return "9.91E+37"
    return repr(value) if math.isfinite(value) else f"{math.copysign(9.9e37, value):.1E}"


class ScpiRig(Rig):
    protocol: ClassVar[str] = "scpi"

    def __init__(self) -> None:
        super().__init__()
        self.server = ScpiServer(self)

    def signals(self) -> dict[str, SignalSpec]:
        return {
            "setpoint": SignalSpec(write="POS {value}", read="TARG?"),
            "readback": SignalSpec(read="POS?"),
            "moving": SignalSpec(read="MOV?", type="bool"),
            "stop": SignalSpec(write="STOP", type="int"),
            "measured": SignalSpec(read="MEAS?"),
            "label": SignalSpec(read="LAB?", type="str"),
            "count": SignalSpec(read="COUN?", type="int"),
            "nowhere": SignalSpec(read="NOWH?"),
        }

    def start(self) -> None:
        self.server.listen()
        self.address = f"TCPIP::127.0.0.1::{self.server.port}::SOCKET"

    def drop(self) -> None:
        self.server.hang_up()

    def restore(self) -> None:
        self.server.listen()

    def stall(self) -> None:
        self.server.stall()

    def resume(self) -> None:
        self.server.resume()

    def close(self) -> None:
        self.server.close()


class VisaRig(ScpiRig):
    """The same instrument, reached through pyvisa and pyvisa-py."""

    package: ClassVar[str | None] = "pyvisa"
    extra: ClassVar[str] = "scpi"
    options = {"backend": "@py"}
