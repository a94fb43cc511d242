"""The write switch: whether an instrument may be set at all, kept on disk and read at every set.

It differs from Stop All: it halts nothing that moves, voids no approval and counts no latch; it only lets no further
set through until a person turns writes on again. Whatever cannot be read counts as off. Standard library only, so that
it can be turned while the worker is frozen, dead or busy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

OFF = "writes.off"
CHANGED = "config.changed"
LARGEST = 1 << 16


class Placed(Protocol):
    """What is needed of an instrument's place."""

    @property
    def directory(self) -> Path:
        """The instrument's folder."""
        ...


class SwitchError(Exception):
    """Writes could not be turned on: they stay off. The message names the file and the remedy."""


@dataclass(frozen=True)
class WriteState:
    """What the switch says. `at` is an ISO-8601 UTC time; `saved` is False when the disk did not take the reason."""

    on: bool
    reason: str | None = None
    by: str | None = None
    at: str | None = None
    saved: bool = True


class WriteSwitch:
    """The write switch of one instrument. Reading and turning off never raise."""

    def __init__(self, place: Placed) -> None:
        self.path = place.directory / "writes.json"
        # Left behind at creation: a switch that is gone although this is there was removed, and counts as off.
        self.marker = place.directory / "writes.created"

    def create(self) -> WriteState:
        """Lay the switch out, on, if the instrument never had one. Raises `OSError` when the disk does not take it."""
        if not self.path.exists() and not self.marker.exists():
            self._write(WriteState(True, at=_now()))
        if self.path.exists():
            self.marker.touch(mode=0o600)
        return self.read()

    def read(self) -> WriteState:
        """The state now. A switch that is corrupt, unreadable or removed reads as off, and the reason says so."""
        try:
            with self.path.open("rb") as file:
                text = file.read(LARGEST)
        except FileNotFoundError:
            if not self.marker.exists():
                return WriteState(True)
            return WriteState(False, f"{self.path} was removed; inspect the instrument, then turn writes on")
        except OSError as error:
            return WriteState(False, f"{self.path} cannot be read ({error}); repair it, then turn writes on")
        try:
            fields = json.loads(text)
            body, seal = fields["switch"], fields["sha256"]
            is_whole = seal == _seal(body) and isinstance(body["on"], bool)
            state = WriteState(body["on"], body["reason"], body["by"], body["at"])
        except (ValueError, TypeError, KeyError, RecursionError):
            is_whole = False
        if not is_whole:
            return WriteState(False, f"{self.path} is corrupt; inspect the instrument, then turn writes on")
        return state

    def off(self, reason: str, by: str) -> WriteState:
        """Let nothing be set any more. Raises `ValueError` without a reason, and nothing else.

        On a disk that takes nothing the file is emptied instead, which needs no room and reads as off. If even that
        fails the state returned has `on` as the file has it: look at it.
        """
        state = WriteState(False, _reason(reason), by, _now())
        try:
            self._write(state)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self.path, 0)
            return WriteState(self.read().on, reason, by, state.at, saved=False)
        return state

    def on(self, reason: str, by: str) -> WriteState:
        """Allow sets again. Raises `ValueError` without a reason and `SwitchError` when the disk does not take it."""
        state = WriteState(True, _reason(reason), by, _now())
        try:
            self._write(state)
        except OSError as error:
            raise SwitchError(f"{self.path} cannot be written ({error}): free or repair the disk, try again") from error
        return state

    def _write(self, state: WriteState) -> None:
        """Whole or not at all, and on disk when this returns."""
        body = {"on": state.on, "reason": state.reason, "by": state.by, "at": state.at}
        data = json.dumps({"switch": body, "sha256": _seal(body)}, indent=1).encode() + b"\n"
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f"writes.{os.getpid()}.{threading.get_ident()}.new")
        try:
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        self.marker.touch(mode=0o600)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class WriteGuard:
    """Asked before every set: whether writes are on, and the instrument's configuration is still the one we hold.

    Make it before the configuration is read: any later change of the file is then seen.
    """

    def __init__(self, place: Placed) -> None:
        self.switch = WriteSwitch(place)
        self._config = place.directory / "config.json"
        self._seen = self._stamp()
        self._digest = self._hash()

    def refusal(self) -> tuple[str, str] | None:
        """Why nothing may be set now, as (stable code, what is wrong), or None."""
        state = self.switch.read()
        if not state.on:
            by = f" by {state.by}" if state.by else ""
            return OFF, f"writes were turned off{by}: {state.reason or 'no reason given'}"
        stamp = self._stamp()
        if stamp is None or stamp != self._seen:
            digest = self._hash()
            if digest is None:
                return CHANGED, f"{self._config} cannot be read: the limits in force cannot be told"
            if digest != self._digest:
                return CHANGED, f"{self._config} is not what this worker was started with: start it anew"
            self._seen = stamp
        return None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._config.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _hash(self) -> str | None:
        try:
            return hashlib.sha256(self._config.read_bytes()).hexdigest()
        except OSError:
            return None


def _seal(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _reason(text: str) -> str:
    if not text.strip():
        raise ValueError("the write switch needs a reason: say why")
    return text.strip()[:2000]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
