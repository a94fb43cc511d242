"""The instrument profile of a served laboratory, ready to be named in a campaign."""

from __future__ import annotations

import io
from typing import Any, Protocol

from athanor.instruments.profile import parse_profile
from athanor.sandbox.serving.station import RUN, TOLD, Point, Station

HEAD = "# Written by `athanor sandbox serve`"
CONNECT_S = 10.0
REPLY_S = 3.0
POLL_S = 0.02
CONTROLLER = "served"


class Server(Protocol):
    """A front end: serves a station's points over one protocol."""

    protocol: str
    station: Station

    async def start(self, host: str, port: int) -> str:
        """Listen; port 0 is a free one. Returns the address for a profile. Raises OSError."""
        ...

    async def close(self) -> None:
        """End."""
        ...

    def controller_options(self) -> dict[str, Any]:
        """What its profile says of the connection."""
        ...

    def signal(self, point: Point) -> dict[str, Any]:
        """The point as a profile's signal."""
        ...


def profile_text(server: Server, address: str) -> str:
    """The profile as YAML; checked as a person's would be."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(_tree(server, address), stream)
    text = f"{HEAD}: {server.station.name} over {server.protocol}, simulated.\n{stream.getvalue()}"
    parse_profile(text)
    return text


def _tree(server: Server, address: str) -> dict[str, Any]:
    station = server.station
    profile = station.core.laboratory.profile()
    longest = station.core.options.timeout_s
    axes = {}
    for name, axis in profile.axes.items():
        said = axis.model_dump(mode="json", exclude_defaults=True) | {"timeout_s": longest or axis.timeout_s}
        axes[name] = _flow({key: int(value) if _is_whole(value) else value for key, value in said.items()})
    outcomes = {
        name: _flow({"signal": name if station.is_reduced_on_board else outcome.signal, "unit": outcome.unit})
        for name, outcome in profile.outcomes.items()
    }
    return {
        "name": f"{profile.name}-{server.protocol}",
        "laboratory": "wired",
        "simulated": True,
        "title": f"{profile.title or profile.name}, simulated, over {server.protocol}",
        "axes": axes,
        "detectors": {
            name: {
                "signals": _flow(dict(detector.signals)),
                "timeout_s": longest or profile.detectors[name].timeout_s,
            }
            for name, detector in station.detectors.items()
        },
        "outcomes": outcomes,
        "reduction": "mean" if station.is_reduced_on_board else profile.reduction,
        "controllers": {
            CONTROLLER: {
                "protocol": server.protocol,
                "address": address,
                "connect_s": CONNECT_S,
                "options": _flow(server.controller_options()),
            }
        },
        "devices": _devices(server),
        "prepare": [
            {
                "controller": CONTROLLER,
                "signal": _flow(_write_only(server.signal(station.points[RUN, name]))),
                "value": f"{{{name}}}" if name in TOLD else 1,
                "reply_s": REPLY_S,
            }
            for name in [*TOLD, "begin"]
        ],
    }


def _devices(server: Server) -> dict[str, Any]:
    points = server.station.points
    pace = {"reply_s": REPLY_S, "poll_s": POLL_S}
    devices: dict[str, Any] = {}
    for axis in server.station.core.laboratory.profile().axes:
        devices[axis] = {
            "controller": CONTROLLER,
            "setpoint": _flow(_with_unit(server, points[axis, "setpoint"])),
            "readback": _flow(_with_unit(server, points[axis, "readback"])),
            "done": _flow(server.signal(points[axis, "moving"])),
            "done_value": False,
            "stop": _flow(server.signal(points[axis, "stop"])),
            **pace,
        }
    for name, detector in server.station.detectors.items():
        devices[name] = {
            "controller": CONTROLLER,
            "trigger": _flow(server.signal(points[name, "trigger"])),
            "done": _flow(server.signal(points[name, "done"])),
            "signals": {signal: _flow(_with_unit(server, points[name, signal])) for signal in detector.signals},
            **pace,
        }
    return devices


def _with_unit(server: Server, point: Point) -> dict[str, Any]:
    return server.signal(point) | ({"unit": point.unit} if point.unit is not None else {})


def _write_only(signal: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in signal.items() if key != "read"}


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _flow(mapping: dict[str, Any]) -> Any:
    """A mapping that is written on one line."""
    from ruamel.yaml.comments import CommentedMap

    made = CommentedMap(mapping)
    made.fa.set_flow_style()
    return made
