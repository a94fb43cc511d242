"""How an MQTT broker is reached: the options of its controller; and the topics that signals name."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from athanor.instruments.protocols.client import Option
from athanor.instruments.protocols.loopback import is_loopback
from athanor.instruments.protocols.mqtt_session import Broker
from athanor.instruments.protocols.pointers import steps

FILES = frozenset({"root_certificates", "certificate", "private_key"})
OPTIONS = FILES | {"alive", "alive_value", "user", "password_env", "password_file", "keepalive_s", "insecure"}
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Topic:
    """A topic, and where in its messages the value stands; `is_json` unless the whole message is plain text."""

    name: str
    pointer: tuple[str, ...] = ()
    is_json: bool = False

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Raise `ValueError` when it makes no sense."""
        name, mark, pointer = text.partition("#")
        if not name or "+" in name or "\0" in name or name.endswith("/") or (pointer and not pointer.startswith("/")):
            raise ValueError(f"{text!r} is no address; write a topic without wildcards, `lab/stage/state#/position`")
        return cls(name, steps(pointer), bool(mark))

    def word(self, payload: bytes) -> str:
        """What stands there as text; empty when nothing does."""
        try:
            content: Any = json.loads(payload) if self.is_json else payload.decode()
            for step in self.pointer:
                content = content[step]
        except (ValueError, KeyError, TypeError):
            return ""
        return str(content).strip()


class Access:
    """The way to one broker. Raises `ValueError` naming an option that is unknown, missing or of no sense."""

    def __init__(self, address: str, options: Mapping[str, Option]) -> None:
        parts = urlsplit(address)
        if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"{address!r} is no MQTT address; write mqtts://host:port, or mqtt://host:port")
        if parts.username is not None:
            raise ValueError("an address holds no user; give options user and password_env")
        given = options.keys()
        if unknown := sorted(given - OPTIONS):
            raise ValueError(f"no such option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}")
        if ("password_env" in given or "password_file" in given) != ("user" in given):
            raise ValueError("user and its password belong together; give user and password_env or password_file")
        is_encrypted = parts.scheme == "mqtts"
        if not is_encrypted and (stray := sorted(given & FILES)):
            raise ValueError(f"{', '.join(stray)} without encryption; write mqtts:// in the address")
        if ("certificate" in given) != ("private_key" in given):
            raise ValueError("certificate and private_key belong together; give both")
        if not isinstance(options.get("insecure", False), bool):
            raise ValueError(f"insecure is true or false, not {options['insecure']!r}")
        is_open = "user" in given and not is_encrypted and not is_loopback(parts.hostname)
        if is_open and options.get("insecure", False) is not True:
            raise ValueError(
                "the password would go unencrypted to another computer; write mqtts://, or insecure: true if it must"
            )
        keepalive_s = options.get("keepalive_s", 10)
        if isinstance(keepalive_s, bool) or not isinstance(keepalive_s, int) or not 1 <= keepalive_s <= 600:
            raise ValueError(f"keepalive_s is a whole number from 1 to 600, not {keepalive_s!r}")
        self.alive = Topic.parse(str(options["alive"])) if "alive" in options else None
        self.alive_value = str(options.get("alive_value", "online"))
        self._host, self._port = parts.hostname, parts.port or PORTS[parts.scheme]
        self._is_encrypted = is_encrypted
        self._keepalive_s = keepalive_s
        self._options = {option: str(value) for option, value in options.items()}

    def broker(self) -> Broker:
        """Where to go, and as whom; reads files. Raises `OSError` or `ValueError` when something is missing."""
        context = None
        if self._is_encrypted:
            context = ssl.create_default_context(cafile=self._path("root_certificates"))
            if (certificate := self._path("certificate")) is not None:
                context.load_cert_chain(certificate, self._path("private_key"))
        user = self._options.get("user")
        password = None if user is None else self._password()
        return Broker(self._host, self._port, self._keepalive_s, user, password, context)

    def _path(self, option: str) -> str | None:
        path = self._options.get(option)
        return None if path is None else str(Path(path).expanduser())

    def _password(self) -> str:
        if "password_env" in self._options:
            name = self._options["password_env"]
            if name not in os.environ:
                raise ValueError(f"the environment has no {name}; set it to the password")
            return os.environ[name]
        return Path(self._options["password_file"]).expanduser().read_text(encoding="utf-8").rstrip("\n")
