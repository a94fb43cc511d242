"""A real HTTP server, in threads of its own: a plain JSON service, and a node in the manner of MADSci."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from athanor.instruments.protocols.client import SignalSpec
from tests.instruments.protocols.conformance import Rig


class Service(ThreadingHTTPServer):
    """Routes requests to the rig, keeps connections open, and can stall or hang up."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, port: int, rig: HttpRig) -> None:
        self.rig = rig
        self.lines: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def hang_up(self) -> None:
        self.shutdown()
        self.server_close()
        for line in list(self.lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.lines.add(self.connection)

    def finish(self) -> None:
        self.server.lines.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        rig = self.server.rig
        rig.arrived += 1
        rig.going.wait(60)
        rig.heard.append((self.command, self.path, body, dict(self.headers)))
        status, document = rig.answer(self.command, self.path, body)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


class HttpRig(Rig):
    """A plain service: `GET /state`, `PUT /position`, `POST /halt`."""

    protocol: ClassVar[str] = "http"
    has_quality: ClassVar[bool] = True
    package: ClassVar[str | None] = "httpx2"
    extra: ClassVar[str] = "http"

    def __init__(self) -> None:
        super().__init__()
        self.going = threading.Event()
        self.going.set()
        self.arrived = 0
        """Requests that came, also those that are not answered yet."""
        self.heard: list[tuple[str, str, Any, dict[str, str]]] = []
        self._service: Service | None = None
        self._port = 0

    def signals(self) -> dict[str, SignalSpec]:
        return {
            "setpoint": SignalSpec(write="PUT /position#/value", read="/state#/axis/target"),
            "readback": SignalSpec(read="/state#/axis/position"),
            "moving": SignalSpec(read="/state#/axis/moving", type="bool"),
            "stop": SignalSpec(write="POST /halt", type="int"),
            "measured": SignalSpec(read="/measured#/0/value", options={"time": "/0/time", "quality": "/0/quality"}),
            "label": SignalSpec(read="/state#/label", type="str"),
            "count": SignalSpec(read="/state#/count", type="int"),
            "nowhere": SignalSpec(read="/nowhere#/value"),
        }

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        plant = self.plant
        match method, path:
            case "GET", "/state":
                return 200, self.state()
            case "GET", "/measured":
                value = plant.measured if math.isfinite(plant.measured) else None
                return 200, [
                    {"value": value, "time": time.time(), "quality": "good" if plant.is_good else "bad"},
                ]
            case "PUT", "/position":
                if not isinstance(body, dict) or not isinstance(body.get("value"), float):
                    return 422, {"detail": "value must be a number"}
                plant.move(body["value"])
                return 200, {}
            case "POST", "/halt":
                plant.stop()
                return 200, {}
            case "GET", "/page":
                return 200, "not what was meant"
            case "GET", "/often":
                return 429, {"detail": "Too Many Requests"}
            case "GET", "/moved":
                return 307, None
        return 404, {"detail": "Not Found"}

    def state(self) -> dict[str, Any]:
        plant = self.plant
        axis = {"position": plant.position, "target": plant.target, "moving": plant.is_moving}
        return {"axis": axis, "label": plant.label, "count": plant.count}

    def start(self) -> None:
        self._serve()
        self.address = f"http://127.0.0.1:{self._port}"

    def _serve(self) -> None:
        self._service = Service(self._port, self)
        self._port = self._service.server_address[1]
        threading.Thread(target=self._service.serve_forever, args=(0.01,), daemon=True).start()

    def drop(self) -> None:
        if self._service is not None:
            self._service.hang_up()
            self._service = None

    def restore(self) -> None:
        self._serve()

    def stall(self) -> None:
        self.going.clear()

    def resume(self) -> None:
        self.going.set()

    def close(self) -> None:
        self.drop()
        self.resume()


class NodeRig(HttpRig):
    """A node: `GET /status /state`, `POST /action/NAME`, `.../ID/start`, `POST /admin/VERB`, as MADSci 0.8 has them."""

    has_quality: ClassVar[bool] = False
    options = {"probe": "/status"}

    def __init__(self) -> None:
        super().__init__()
        self.is_stopped = False
        self.errors: list[str] = []
        self.actions: dict[str, dict[str, Any]] = {}

    def signals(self) -> dict[str, SignalSpec]:
        return {
            **super().signals(),
            "setpoint": SignalSpec(
                write="action:move#/target", read="/state#/axis/target", options={"body": '{"v": 2}'}
            ),
            "moving": SignalSpec(read="/status#/busy", type="bool"),
            "stop": SignalSpec(write="admin:cancel", type="int"),
            "measured": SignalSpec(read="/state#/measured"),
        }

    def state(self) -> dict[str, Any]:
        measured = self.plant.measured if math.isfinite(self.plant.measured) else None
        return {**super().state(), "measured": measured}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        errors = [{"message": text} for text in self.errors]
        match method, parts:
            case "GET", ["status"]:
                busy = self.plant.is_moving
                return 200, {"busy": busy, "stopped": self.is_stopped, "errored": bool(errors), "errors": errors}
            case "POST", ["action", name]:
                if name not in ("move", "measure"):
                    return 404, {"detail": f"Action {name} not found"}
                if name == "move" and set(body["args"]) != {"target", "v"}:
                    return 422, {"detail": "arguments"}
                identity = f"01ACTION{len(self.actions)}"
                self.actions[identity] = {"name": name, "args": body["args"], "status": "not_started"}
                return 200, {"action_id": identity}
            case "POST", ["action", _, identity, "start"]:
                return 200, self._start(self.actions[identity], errors)
            case "GET", ["action", _, identity, "status"]:
                return 200, self._of(self.actions[identity])["status"]
            case "GET", ["action", _, identity, "result"]:
                return 200, self._of(self.actions[identity])
            case "POST", ["admin", verb]:
                return self._admin(verb)
        return super().answer(method, path, body)

    def _start(self, action: dict[str, Any], errors: list[dict[str, str]]) -> dict[str, Any]:
        if self.is_stopped or errors:
            action["status"] = "not_ready"
            return {"status": "not_ready", "errors": errors or [{"message": "Node is stopped"}]}
        action["status"] = "running"
        if action["name"] == "move":
            self.plant.move(action["args"]["target"])
        return self._of(action)

    def _of(self, action: dict[str, Any]) -> dict[str, Any]:
        if action["status"] == "running" and not self.plant.is_moving:
            action["status"] = "succeeded" if not self.errors else "failed"
        result = {"counts": self.plant.measured} if action["status"] == "succeeded" else None
        return {
            "status": action["status"],
            "json_result": result,
            "errors": [{"message": text} for text in self.errors],
        }

    def _admin(self, verb: str) -> tuple[int, Any]:
        acts: dict[str, Callable[[], None]] = {
            "cancel": self._cancel,
            "safety_stop": self._safety_stop,
            "reset": self._reset,
        }
        if verb not in acts:
            return 200, {"success": False, "errors": [{"message": f"Admin command {verb} is not supported"}]}
        acts[verb]()
        return 200, {"success": True, "errors": []}

    def _cancel(self) -> None:
        self.plant.stop()
        for action in self.actions.values():
            if action["status"] == "running":
                action["status"] = "cancelled"

    def _safety_stop(self) -> None:
        self._cancel()
        self.is_stopped = True

    def _reset(self) -> None:
        self.is_stopped = False
        self.errors = []
