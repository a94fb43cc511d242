"""A served laboratory as an OPC UA server, by `asyncua`: an object for each device, a variable for each of its values.

Node ids are `s=DEVICE.NAME` in the namespace `urn:athanor:sandbox:NAME`; commands are methods without arguments. What
is measured has the time of measurement, and a bad status when nobody may use it. A refused write is answered with
`BadOutOfRange`, a refused command with `BadInvalidState`. There is no encryption and no user.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

from athanor.sandbox.core import Client, Refusal
from athanor.sandbox.serving.station import Answer, Point, Station

asyncua: Any = import_module("asyncua")  # its type hints do not agree with what it takes
ua = asyncua.ua

KINDS = {
    "float": ua.VariantType.Double,
    "int": ua.VariantType.Int64,
    "str": ua.VariantType.String,
    "bool": ua.VariantType.Boolean,
}
EMPTY = {"float": 0.0, "int": 0, "str": "", "bool": False}


class Sessions(Client):
    """Whoever is connected: OPC UA does not tell a node who asks."""

    def __init__(self, server: Any) -> None:
        super().__init__("opcua")
        self._server = server

    def drop(self) -> None:
        """Cut every connection."""
        for transport in list(self._server.iserver.asyncio_transports):
            transport.abort()


class OpcuaServer:
    """Serves a station's points."""

    protocol = "opcua"

    def __init__(self, station: Station) -> None:
        self.station = station
        self.uri = f"urn:athanor:sandbox:{station.name}"
        self._server = asyncua.Server()
        self._sessions = Sessions(self._server)
        self._is_started = False

    async def start(self, host: str, port: int) -> str:
        """Listen; port 0 is a free one. Returns the address for a profile. Raises OSError."""
        server = self._server
        server.disable_clock()
        await server.init()
        await server.set_application_uri(self.uri)
        server.set_server_name(f"{self.station.name}, simulated")
        place = f"[{host}]" if ":" in host else host
        server.set_endpoint(f"opc.tcp://{place}:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(self.uri)
        objects: dict[str, Any] = {}
        for point in self.station.points.values():
            if point.device not in objects:
                node = ua.NodeId(point.device, index)
                objects[point.device] = await server.nodes.objects.add_object(node, f"{index}:{point.device}")
            await self._add(objects[point.device], index, point)
        self.station.core.join(self._sessions)
        await server.start()
        self._is_started = True
        return f"opc.tcp://{place}:{server.bserver.port}"

    async def close(self) -> None:
        """Hang up."""
        if self._is_started:
            self._sessions.drop()
            await self._server.stop()
            self.station.core.leave(self._sessions)

    def controller_options(self) -> dict[str, Any]:
        """What its profile says of the connection."""
        return {}

    def signal(self, point: Point) -> dict[str, Any]:
        """The point as a profile's signal."""
        node = f"nsu={self.uri};s={_name(point)}"
        if point.kind == "command":
            return {"write": f"call:nsu={self.uri};s={point.device}|{node}", "type": "int"}
        spec: dict[str, Any] = {} if point.kind == "float" else {"type": point.kind}
        if point.read is not None:
            spec["read"] = node
        if point.write is not None:
            spec["write"] = node
        return spec

    # -- nodes --------------------------------------------------------------------------------------------------------

    async def _add(self, device: Any, index: int, point: Point) -> None:
        node, browse = ua.NodeId(_name(point), index), f"{index}:{point.name}"
        if point.kind == "command":
            await device.add_method(node, browse, partial(self._call, point))
            return
        kind = KINDS[point.kind]
        variable = await device.add_variable(node, browse, EMPTY[point.kind], kind)
        space = self._server.iserver.aspace
        if point.read is not None:
            space.set_attribute_value_callback(node, ua.AttributeIds.Value, partial(_read, point.read, kind))
        if point.write is not None:
            await variable.set_writable()
            space.set_attribute_value_setter(node, ua.AttributeIds.Value, partial(self._write, point))

    def _write(self, point: Point, _node: Any, _attribute: Any, found: Any) -> None:
        try:
            self.station.put(point, self._sessions, found.Value.Value)
        except Refusal as refusal:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadOutOfRange) from refusal

    async def _call(self, point: Point, _parent: Any, *_arguments: Any) -> Any:
        try:
            self.station.put(point, self._sessions, 1)
        except Refusal:
            return ua.StatusCode(ua.StatusCodes.BadInvalidState)
        return []


def _name(point: Point) -> str:
    return f"{point.device}.{point.name}"


def _read(read: Callable[[], Answer], kind: Any, _node: Any, _attribute: Any) -> Any:
    answer = read()
    at = datetime.now(UTC) if answer.at is None else datetime.fromtimestamp(answer.at, UTC)
    is_bad = bool(answer.bad) or answer.value is None
    status = ua.StatusCodes.BadSensorFailure if is_bad else ua.StatusCodes.Good
    content = ua.Variant(None, ua.VariantType.Null) if answer.value is None else ua.Variant(answer.value, kind)
    return ua.DataValue(content, StatusCode=ua.StatusCode(status), SourceTimestamp=at)
