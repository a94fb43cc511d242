"""A real SiLA 2 server, of the library itself, in this process: encrypted, or in the clear on loopback."""

from __future__ import annotations

import functools
import socket
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar
from unittest import mock
from uuid import UUID

from sila2.framework.errors.defined_execution_error import DefinedExecutionError
from sila2.server import FeatureImplementationBase, SilaServer
from sila2.server.encryption import generate_self_signed_certificate

from athanor.instruments.protocols.client import SignalSpec
from athanor.instruments.protocols.sila_features import load
from tests.instruments.protocols.conformance import Rig
from tests.instruments.protocols.ioc_rig import free_port
from tests.instruments.protocols.relay import Relay

SERVER = UUID("6f3cf5ac-6c0e-4a8b-9a3b-0d1f1c2b7a11")
NAME = "org.athanor/tests/Stage/v1"
# By our own way, as client and server share this process: the library can load each feature in one way only.
FEATURE = load([(NAME, Path(__file__).with_name("stage.sila.xml").read_text())], "rig").sound[NAME]


@functools.cache
def certificate() -> tuple[bytes, bytes]:
    """Private key and certificate of the server, made once."""
    return generate_self_signed_certificate(SERVER, "127.0.0.1")


class Silent:
    """In place of the server's discovery, which opens multicast sockets even when it is off, and never closes them."""

    registered_server_infos: ClassVar[dict[Any, Any]] = {}


class Stage(FeatureImplementationBase):
    """The feature, over the rig's plant."""

    def __init__(self, server: SilaServer, rig: SilaRig) -> None:
        super().__init__(server)
        self.rig = rig
        self._Label_producer_queue: Queue[str] = Queue()
        self._Label_producer_queue.put(rig.plant.label)

    def get_Position(self, *, metadata: Any) -> float:
        return self.rig.plant.position

    def get_Target(self, *, metadata: Any) -> float:
        return self.rig.plant.target

    def get_Moving(self, *, metadata: Any) -> bool:
        return self.rig.plant.is_moving

    def get_Count(self, *, metadata: Any) -> int:
        return self.rig.plant.count

    def get_Measured(self, *, metadata: Any) -> tuple[float, bool, datetime]:
        plant = self.rig.plant
        return plant.measured, plant.is_good, datetime.now(UTC)

    def Label_on_subscription(self, *, metadata: Any) -> None:
        """Subscribers share one queue."""

    def MoveTo(self, Target: float, *, metadata: Any) -> None:
        self.rig.plant.move(Target)

    def Halt(self, *, metadata: Any) -> None:
        self.rig.plant.stop()

    def Measure(self, Average: int, *, metadata: Any) -> tuple[float, str]:
        plant = self.rig.plant
        if not plant.is_good:
            raise DefinedExecutionError(FEATURE.defined_execution_errors["Blocked"], "the shutter is closed")
        return plant.measured * Average, plant.label

    def Travel(self, Target: float, Mode: str, *, metadata: Any, instance: Any) -> float:
        instance.begin_execution()
        plant = self.rig.plant
        start = plant.position
        plant.move(Target)
        while plant.is_moving and not self.rig.is_ending.wait(0.002):
            pass
        if Mode == "blocked":
            raise DefinedExecutionError(FEATURE.defined_execution_errors["Blocked"], "a cable is in the way")
        return float(plant.position - start)


class SilaRig(Rig):
    """Encrypted, with a certificate that the client pins; commands that return at once."""

    protocol: ClassVar[str] = "sila"
    package: ClassVar[str | None] = "sila2"
    extra: ClassVar[str] = "sila"
    has_quality: ClassVar[bool] = True
    is_encrypted: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.is_ending = threading.Event()
        self._server: SilaServer | None = None
        self._relay: Relay | None = None
        self._folder = tempfile.TemporaryDirectory()
        self.authority = Path(self._folder.name) / "server.pem"
        if self.is_encrypted:
            self.authority.write_bytes(certificate()[1])
            self.options = {"root_certificates": str(self.authority)}
        else:
            self.options = {"insecure": True}

    def signals(self) -> dict[str, SignalSpec]:
        return {
            "setpoint": SignalSpec(write="Stage.MoveTo", read="Stage.Target"),
            "readback": SignalSpec(read="org.athanor/tests/Stage/v1.Position"),
            "moving": SignalSpec(read="Stage.Moving", type="bool"),
            "stop": SignalSpec(write="Stage.Halt", type="int"),
            "measured": SignalSpec(read="Stage.Measured#/Value", options={"time": "/Taken", "quality": "/Valid"}),
            "label": SignalSpec(read="Stage.Label", type="str"),
            "count": SignalSpec(read="Stage.Count", type="int"),
            "nowhere": SignalSpec(read="Stage.Nowhere"),
        }

    def start(self) -> None:
        port = free_port(socket.SOCK_STREAM)
        with mock.patch("sila2.server.sila_server.SilaServiceBroadcaster", Silent):
            server = self._server = SilaServer(
                *("bench", "Bench", "A stage for tests", "1.0", "https://example.org", SERVER),
                max_grpc_workers=16,
                max_child_task_workers=8,
            )
        server.set_feature_implementation(FEATURE, Stage(server, self))
        if self.is_encrypted:
            server.start("127.0.0.1", port, *certificate(), enable_discovery=False)
        else:
            server.start_insecure("127.0.0.1", port, enable_discovery=False)
        self._relay = Relay(port)
        self._relay.start()
        self.address = f"127.0.0.1:{self._relay.port}"

    def drop(self) -> None:
        assert self._relay is not None
        self._relay.drop()

    def restore(self) -> None:
        self._relay.start()

    def stall(self) -> None:
        self._relay.stall()

    def resume(self) -> None:
        self._relay.resume()

    def close(self) -> None:
        self.is_ending.set()
        self._folder.cleanup()
        if self._relay is not None:
            self._relay.close()
        if self._server is not None:
            self._server.stop(0)


class ObservableRig(SilaRig):
    """In the clear; the axis is moved by an observable command."""

    is_encrypted = False

    def signals(self) -> dict[str, SignalSpec]:
        travel = SignalSpec(
            write="Stage.Travel#/Target", read="Stage.Target", options={"parameters": '{"Mode": "fast"}'}
        )
        return {**super().signals(), "setpoint": travel}
