"""How a SiLA server is reached: the options of its controller, and the gRPC channel that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from athanor.instruments.protocols.client import Option
from athanor.instruments.protocols.loopback import is_loopback

FILES = ("root_certificates", "private_key", "certificate")
OPTIONS = frozenset({*FILES, "server_name", "uuid", "insecure"})
CHANNEL: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 0),  # nothing is ever sent twice
    ("grpc.enable_http_proxy", 0),  # what moves hardware goes where the profile says
    ("grpc.use_local_subchannel_pool", 1),  # a new channel connects at once, whatever became of the one before
    ("grpc.service_config_disable_resolution", 1),
)


class Access:
    """The way to one server. Raises `ValueError` naming an option that is unknown, missing or of no sense."""

    def __init__(self, address: str, options: Mapping[str, Option]) -> None:
        parts = urlsplit(f"//{address}")
        if not parts.hostname or parts.port is None or parts.path or parts.username is not None:
            raise ValueError(f"{address!r} is no SiLA address; write host:port")
        if unknown := sorted(options.keys() - OPTIONS):
            raise ValueError(f"no such option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}")
        insecure = options.get("insecure", False)
        if not isinstance(insecure, bool):
            raise ValueError(f"insecure is true or false, not {insecure!r}")
        if insecure:
            if stray := sorted(options.keys() & {*FILES, "server_name"}):
                raise ValueError(f"{', '.join(stray)} with insecure; give one or the other")
            if not is_loopback(parts.hostname):
                raise ValueError(
                    f"insecure is for servers on this computer, not for {parts.hostname}; give root_certificates, or "
                    "reach it through a tunnel that begins here"
                )
        if ("certificate" in options) != ("private_key" in options):
            raise ValueError("certificate and private_key belong together; give both")
        self.uuid = str(options.get("uuid", "")).lower()
        self._address = address
        self._is_insecure = insecure
        self._options = {option: str(value) for option, value in options.items()}

    def channel(self, grpc: Any) -> Any:
        """A new channel, not yet connected. Raises `OSError` when a file cannot be read."""
        if self._is_insecure:
            return grpc.insecure_channel(self._address, options=list(CHANNEL))
        options = list(CHANNEL)
        if "server_name" in self._options:
            options.append(("grpc.ssl_target_name_override", self._options["server_name"]))
        roots, key, certificate = (self._content(option) for option in FILES)
        return grpc.secure_channel(self._address, grpc.ssl_channel_credentials(roots, key, certificate), options)

    def _content(self, option: str) -> bytes | None:
        path = self._options.get(option)
        return None if path is None else Path(path).expanduser().read_bytes()
