"""The signed heads of the journal's chains: kept beside the keys, outside the ledger.

A ledger alone cannot show that its tail was cut off. So after each commit the last row (seq, position, hash) of each
chain that grew is signed with the anchor key and written to `<keys>/heads/<ledger id>/<chain>.json`. A head only ever
moves forward. It is written after the commit has reached the disk: a crash between the two leaves rows beyond the head,
which `verify` calls unanchored, and never a head beyond the rows.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from athanor.memory.canonical import CanonicalError, canonical, parse
from athanor.memory.records import JournalRow
from athanor.memory.signing import AnchorKey, KeyProblem, PublicKey, verify

LOCK_TIMEOUT_S = 5.0
AGAIN_TIMEOUT_S = 0.1
"""Once the lock was not had in time its holder is probably frozen: the next writes do not wait as long again."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The last row of a chain, as signed."""

    ledger: str
    chain: str
    seq: int
    position: int
    hash: str
    at: str
    signature: str = ""

    def text(self) -> str:
        """Return the canonical text that the signature covers."""
        body = asdict(self)
        del body["signature"]
        return canonical(body)

    def is_signed_by(self, public: PublicKey) -> bool:
        """Return whether the signature is that of `public`'s holder."""
        return verify(public, self.text(), self.signature)

    @classmethod
    def read(cls, value: Any) -> Head:
        """Return the head that a parsed file holds.

        Raises:
            ValueError: it is not one.
        """
        names = ("ledger", "chain", "hash", "at", "signature")
        if not isinstance(value, Mapping) or set(value) != {*names, "seq", "position"}:
            raise ValueError("not a head: wrong fields")
        if not all(isinstance(value[name], str) for name in names):
            raise ValueError("not a head: a field is not text")
        if not all(type(value[name]) is int for name in ("seq", "position")):
            raise ValueError("not a head: seq and position are integers")
        return cls(**value)


class Heads:
    """The folder of one ledger's heads."""

    def __init__(self, keys: Path, ledger_id: str) -> None:
        self.keys = keys
        self.folder = keys / "heads" / ledger_id
        self.ledger_id = ledger_id
        self._timeout_s = LOCK_TIMEOUT_S

    def prepare(self) -> None:
        """Make the folder, and see that it can be written.

        Raises:
            KeyProblem: it cannot.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Only whether it can be locked at all. That somebody holds it now says nothing against this folder.
            with self._open() as descriptor, suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise KeyProblem(
                f"the folder {self.folder} cannot be written ({error.strerror or error}), so the ledger could not sign "
                "what it stores: make it writable, set ATHANOR_KEYS to a folder that is, or open the ledger for reading"
            ) from error

    def advance(self, rows: Iterable[JournalRow], key: AnchorKey) -> None:
        """Sign the last of `rows` of each chain, unless a later one has been signed already.

        A failure is logged and not raised: the rows are committed, and the next write signs beyond them.
        """
        last: dict[str, JournalRow] = {row.chain: row for row in rows}
        if not last:
            return
        try:
            with self._locked():
                for chain, row in last.items():
                    self._advance(chain, row, key)
        except (OSError, ValueError) as error:
            _log.error("the head of ledger %s could not be signed in %s: %s", self.ledger_id, self.folder, error)

    def read(self) -> tuple[dict[str, Head], list[str]]:
        """Return the heads by chain, and a line for each file that is not one."""
        heads: dict[str, Head] = {}
        wrong: list[str] = []
        if not self.folder.is_dir():
            return heads, wrong
        for path in sorted(self.folder.glob("*.json")):
            try:
                head = Head.read(parse(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                wrong.append(f"{path}: {error}")
                continue
            if head.ledger != self.ledger_id or path != self._path(head.chain):
                wrong.append(f"{path}: the head of chain {head.chain} of ledger {head.ledger} is in the wrong place")
                continue
            heads[head.chain] = head
        return heads, wrong

    def retire(self, to: str) -> None:
        """Move all heads into the folder `to` beside them: after a restore they are ahead of the ledger."""
        with self._locked():
            kept = self.folder / to
            kept.mkdir(mode=0o700)
            for path in self.folder.glob("*.json"):
                path.rename(kept / path.name)

    def _advance(self, chain: str, row: JournalRow, key: AnchorKey) -> None:
        path = self._path(chain)
        try:
            if Head.read(parse(path.read_text(encoding="utf-8"))).seq >= row.seq:
                return
        except FileNotFoundError:
            pass
        except CanonicalError as error:
            raise ValueError(f"{path} is not a head ({error}); verify the ledger, then remove it") from error
        unsigned = Head(self.ledger_id, chain, row.seq, row.position, row.hash, row.at)
        head = {**asdict(unsigned), "signature": key.sign(unsigned.text())}
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, canonical(head).encode("utf-8"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(path)

    def _path(self, chain: str) -> Path:
        return self.folder / f"{quote(chain, safe='')}.json"

    @contextmanager
    def _open(self) -> Iterator[int]:
        # A lock goes when its descriptor is closed, so it cannot outlive a killed process.
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not a blocking lock: a holder that is frozen, not dead, must not freeze every other writer with it.
        deadline = time.monotonic() + self._timeout_s
        with self._open() as descriptor:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        self._timeout_s = AGAIN_TIMEOUT_S
                        raise BlockingIOError(error.errno, "another process holds the lock: is it frozen?") from error
                    time.sleep(0.002)
            self._timeout_s = LOCK_TIMEOUT_S
            yield
