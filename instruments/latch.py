"""The latch: whether an instrument is stopped, kept so that neither a crash nor a full disk can undo it.

The file is created once at its full size and from then on only overwritten in place, so engaging it needs no free
block. It holds two slots; a write goes to the slot that is not the current one and is followed by `fsync`, so a write
that is cut short leaves the other slot readable. Each slot carries its own SHA-256. Whatever cannot be read counts as
engaged: only a person, with a reason, lets an instrument move again.

Standard library only: Stop All imports this module.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

SLOT = 4096
"""Bytes of one slot: a page, so that one write is one sector-aligned block."""
SLOTS = 2
MAGIC = b"athanor-latch-1"
UNKNOWN = -1
"""The count of a latch whose two slots are both lost."""


class Placed(Protocol):
    """What the latch needs of an instrument's place."""

    @property
    def directory(self) -> Path:
        """The instrument's folder."""
        ...


class LatchError(Exception):
    """The latch cannot be reset: it stays engaged. The message names the file and the remedy."""


@dataclass(frozen=True)
class LatchState:
    """What the latch says.

    `count` grows with every change, so a decision bound to the count it was made under outlives neither the stop nor
    the reset. It is odd while engaged and even while released, and `UNKNOWN` when the file has lost it. `at` is an
    ISO-8601 UTC time. `saved` is False when the state is held in this process only, and `detail` then says why.
    """

    count: int
    engaged: bool
    reason: str | None = None
    by: str | None = None
    at: str | None = None
    saved: bool = True
    detail: str | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode(state: LatchState) -> bytes:
    """One slot: magic, SHA-256 of the body, body as JSON, padding. Long texts are cut to fit."""
    reason = state.reason
    while True:
        fields = {"at": state.at, "by": state.by, "count": state.count, "engaged": state.engaged, "reason": reason}
        body = json.dumps(fields, sort_keys=True).encode()
        line = b" ".join((MAGIC, hashlib.sha256(body).hexdigest().encode(), body))
        if len(line) < SLOT:
            return line.ljust(SLOT - 1) + b"\n"
        reason = (reason or "")[: len(reason or "") // 2]


def _decode(slot: bytes) -> LatchState | None:
    """The state of one slot, or None when the slot is not what was written."""
    parts = slot.split(b" ", 2)
    if len(slot) != SLOT or len(parts) != 3 or parts[0] != MAGIC:
        return None
    body = parts[2].rstrip()
    if hashlib.sha256(body).hexdigest().encode() != parts[1]:
        return None
    fields = json.loads(body)
    return LatchState(fields["count"], fields["engaged"], fields["reason"], fields["by"], fields["at"])


def _write_at(handle: int, data: bytes, offset: int) -> None:
    written = os.pwrite(handle, data, offset)
    if written != len(data):
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes written")


class Latch:
    """The latch of one instrument. Reading and engaging never raise; resetting may (`LatchError`).

    An object that has engaged the latch without being able to write it keeps it engaged in memory until the file
    shows a later reset. Safe to use from several threads and processes.
    """

    LOCK_WAIT_S = 0.2
    READS = 3

    def __init__(self, place: Placed) -> None:
        self.path = place.directory / "latch"
        # Left behind at creation: a latch that is gone although this is there was removed, and counts as engaged.
        self.marker = place.directory / "latch.created"
        self._guard = threading.Lock()
        self._held: LatchState | None = None

    def create(self) -> LatchState:
        """Lay the file out at its full size, released, if there is none; called before the instrument may move.

        Raises `OSError` when the file cannot be made: an instrument without a latch must not be started.
        """
        if not self.path.exists() and not self.marker.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lay_out(LatchState(0, False, at=_now()))
        if self.path.exists():
            self.marker.touch(mode=0o600)
        return self.read()

    def read(self) -> LatchState:
        """The state now. Corrupt, unreadable or removed reads as engaged, with the reason in `reason`."""
        state, is_sound = self._read_file()
        with self._guard:
            held = self._held
            if held is None:
                return state
            if is_sound and _is_after(state, held):
                self._held = None  # The file has it, or a later reset: the file is the truth again.
                return state
            return held

    @property
    def is_held(self) -> bool:
        """Whether this object keeps the latch engaged because the file does not; touches no disk."""
        return self._held is not None

    def hold(self, reason: str, by: str) -> LatchState:
        """Engage in this process only: no disk is touched beyond one read.

        A file that reads as engaged only because it cannot be read is no reason not to: it may become readable again.
        """
        state, is_sound = self._read_file()
        with self._guard:
            if self._held is None and not (is_sound and state.engaged):
                count = state.count + 1 if is_sound else UNKNOWN
                detail = "held in memory, not yet written"
                self._held = LatchState(count, True, reason, by, _now(), saved=False, detail=detail)
            return self._held or state

    def engage(self, reason: str, by: str) -> LatchState:
        """Engage. Idempotent: an engaged latch keeps its count and its first reason. Never raises.

        When the file cannot be written, the state returned has `saved=False` and the cause in `detail`, and this
        object goes on reading as engaged.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            first = LatchState(_fresh_count() if self.marker.exists() else 1, True, reason, by, _now())
            if not self.path.exists() and self._lay_out(first):
                state = first
            else:
                with self._locked(strict=False):
                    slots = self._slots()
                    state, whole = self._judge(slots)
                    if not whole:  # Written anew, so that it is known to be kept; the damage stays part of the reason.
                        count = _fresh_count() if state.count == UNKNOWN else state.count
                        state = LatchState(count, True, f"{reason}; {state.reason}", by, _now())
                        self._write(slots, state)
                    elif not state.engaged:
                        state = LatchState(state.count + 1, True, reason, by, _now())
                        self._write(slots, state)
        except OSError as error:
            detail = f"{self.path} cannot be written: {error}"
            state = replace(self.hold(reason, by), saved=False, detail=detail)
            with self._guard:
                if self._held is not None:
                    self._held = state
            return state
        with self._guard:
            if self._held is not None and state.count >= self._held.count:
                self._held = None
        return state

    def reset(self, reason: str, by: str) -> LatchState:
        """Release the latch. The count moves past every engagement, also one another process holds in memory only.

        Raises `ValueError` without a reason and `LatchError` when the file cannot be written or stays locked.
        """
        if not reason.strip():
            raise ValueError("resetting the stop needs a reason: say why the instrument may move again")
        try:
            state = LatchState(_fresh_count() + 1, False, reason, by, _now())
            if self.path.exists() or not self._lay_out(state):
                with self._locked(strict=True):
                    slots = self._slots()
                    count = self._judge(slots)[0].count
                    count = (_fresh_count() if count == UNKNOWN else count) + 1
                    state = LatchState(count + count % 2, False, reason, by, _now())
                    self._write(slots, state)
        except OSError as error:
            raise LatchError(f"{self.path} cannot be written ({error}): free or repair the disk, then reset") from error
        with self._guard:
            self._held = None
        return state

    # -- the file -----------------------------------------------------------------------------------------------

    def _lay_out(self, state: LatchState) -> bool:
        """Write the whole file beside and move it into place, so that it never exists half made.

        Returns False when another process was first: that one's latch stands.
        """
        made = self.path.with_name(f"latch.{os.getpid()}.{threading.get_ident()}.new")
        try:
            handle = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                # Real bytes in every block: a merely reserved block may still need room when first written.
                _write_at(handle, _encode(state) * SLOTS, 0)
                os.fsync(handle)
            finally:
                os.close(handle)
            # A link, not a rename: of two processes that lay it out at once, the second must not undo the first.
            os.link(made, self.path)
        except FileExistsError:
            return False
        finally:
            made.unlink(missing_ok=True)
        self.marker.touch(mode=0o600)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def _slots(self) -> list[bytes]:
        with self.path.open("rb", buffering=0) as file:
            data = file.read(SLOT * SLOTS)
        return [data[i * SLOT : (i + 1) * SLOT] for i in range(SLOTS)]

    def _read_file(self) -> tuple[LatchState, bool]:
        """What the file says, and whether it says so itself (else: it cannot be read, and counts as engaged)."""
        for _ in range(self.READS):
            try:
                state, whole = self._judge(self._slots())
            except FileNotFoundError:
                if not self.marker.exists():
                    return LatchState(0, False), True
                reason = f"{self.path} was removed; inspect the instrument, then reset the stop"
                return LatchState(UNKNOWN, True, reason), False
            except OSError as error:
                reason = f"{self.path} cannot be read ({error}); repair it, then reset the stop"
                return LatchState(UNKNOWN, True, reason), False
            if whole:
                break
            time.sleep(0.002)  # Another process may be half way through its write.
        return state, whole

    def _judge(self, slots: list[bytes]) -> tuple[LatchState, bool]:
        """The state the slots add up to, and whether all are whole: the highest count if so, else engaged."""
        known = [state for state in map(_decode, slots) if state is not None]
        if not known:
            return LatchState(
                UNKNOWN, True, f"{self.path} is corrupt; inspect the instrument, then reset the stop"
            ), False
        state = max(known, key=lambda one: one.count)
        if len(known) == SLOTS:
            return state, True
        # The lost slot may have been the newer one; the count moves past whatever it can have said, and stays odd.
        reason = f"{self.path} is partly corrupt; inspect the instrument, then reset the stop"
        return LatchState(state.count + (2 if state.engaged else 3), True, reason), False

    def _write(self, slots: list[bytes], state: LatchState) -> None:
        """Overwrite the older slot, sync, then every other slot that cannot be read."""
        decoded = [_decode(slot) for slot in slots]
        counts = [UNKNOWN if one is None else one.count for one in decoded]
        first = counts.index(min(counts))
        handle = os.open(self.path, os.O_RDWR)
        try:
            for index in [first, *(i for i in range(SLOTS) if decoded[i] is None and i != first)]:
                _write_at(handle, _encode(state), index * SLOT)
                os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _locked(self, strict: bool) -> Iterator[None]:
        """One writer at a time. Engaging goes ahead after `LOCK_WAIT_S` even so: a frozen process must not stop it."""
        handle = os.open(self.path, os.O_RDWR)
        try:
            deadline = time.monotonic() + self.LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() < deadline:
                        time.sleep(0.005)
                    elif strict:
                        raise LatchError(f"{self.path} is held by another process: end it, then reset") from error
                    else:
                        break
            yield
        finally:
            os.close(handle)


def _is_after(state: LatchState, held: LatchState) -> bool:
    """Whether the file's state is at least as new as what is held in memory."""
    if held.count != UNKNOWN:
        return state.count >= held.count
    return state.engaged or (state.at or "") > (held.at or "")


def _fresh_count() -> int:
    """An odd count that no counted stop can have reached: used only when the file has lost its own."""
    return int(time.time()) | 1
