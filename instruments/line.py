"""JSON lines over a Unix socket, every step with a deadline. Standard library only: Stop All imports this module."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 1 << 20
"""Bytes of the longest line taken."""


class LineClosed(ConnectionError):
    """The other side has closed the line, or is not there."""


@dataclass(frozen=True)
class Peer:
    """The process at the other end, as the kernel knows it; None where the system does not tell."""

    pid: int | None
    uid: int | None

    @property
    def is_ours(self) -> bool:
        """Whether it runs under our own account. Where the system does not tell, the socket's mode 0600 decides."""
        return self.uid is None or self.uid == os.getuid()


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end. For a connection we made, that is the process which listens, frozen or not."""
    if sys.platform == "linux":
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return Peer(pid or None, uid)
    if sys.platform == "darwin":
        # <sys/un.h>: level SOL_LOCAL is 0, LOCAL_PEERCRED 1 (struct xucred: version, uid, ...), LOCAL_PEERPID 2.
        (pid,) = struct.unpack("i", sock.getsockopt(0, 2, 4))
        _, uid = struct.unpack_from("Ii", sock.getsockopt(0, 1, 128))
        return Peer(pid or None, uid)
    return Peer(None, None)


class Line:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.peer = peer_of(sock)
        self._rest = b""

    @classmethod
    def connect(cls, path: Path, timeout_s: float = 0.3) -> Line:
        """Connect to a socket; raises `LineClosed` when nobody listens there, `TimeoutError` when nobody accepts."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            return cls(sock)
        except (FileNotFoundError, ConnectionError, NotADirectoryError) as error:
            sock.close()
            raise LineClosed(f"nothing listens at {path}") from error
        except BaseException:
            sock.close()
            raise

    def send(self, message: Mapping[str, Any], timeout_s: float = 0.3) -> None:
        """Send one message; raises `LineClosed` or `TimeoutError`."""
        self.sock.settimeout(timeout_s)
        try:
            self.sock.sendall(json.dumps(message, default=str).encode() + b"\n")
        except ConnectionError as error:
            raise LineClosed("the line was closed") from error

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next message, waiting until `deadline` (`time.monotonic`; None: for ever).

        Raises `TimeoutError`, `LineClosed`, or `ValueError` for what is not a JSON object or too long.
        """
        while b"\n" not in self._rest:
            if len(self._rest) > LARGEST:
                raise ValueError(f"a line longer than {LARGEST} bytes")
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no answer in time")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except ConnectionError as error:
                raise LineClosed("the line was closed") from error
            if not data:
                raise LineClosed("the line was closed")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("not a JSON object")
        return message

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
