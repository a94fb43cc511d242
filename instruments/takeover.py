"""Whether a person has taken an instrument over: an exclusive tenure with a holder and an end, kept beside the latch.

While one is in force the worker starts nothing for any campaign, whoever asks. It is kept as the signed order it was
made by, so that nobody without the gate's key can take an instrument over, or pass for its holder. It ends by itself at
its time, by its holder's hand-back, or by an emergency release. What cannot be read counts as taken over. The file, not
a process, is the tenure: it outlives console, worker and ledger alike.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from athanor.memory.decisions import ForgedDecision
from athanor.memory.orders import Order, check, terms_of

if TYPE_CHECKING:
    from athanor.instruments.latch import Placed
    from athanor.memory.signing import PublicKey

HELD = "takeover.held"
UNKNOWN = "takeover.unknown"
LARGEST = 1 << 16
_ASK = "Ask them; if they are gone: athanor take-over NAME --emergency-release --reason …"


class TakenOver(Exception):
    """The instrument is in somebody else's hands, in nobody's, or nobody can tell."""

    def __init__(self, detail: str, remedy: str | None = None) -> None:
        self.remedy = remedy
        super().__init__(detail)


@dataclass(frozen=True)
class Tenure:
    """Who has an instrument in hand. `nonce` is that of the take-over's order; times in UTC."""

    holder: str
    since: datetime
    until: datetime
    reason: str
    nonce: str

    def is_in_force(self, now: datetime | None = None) -> bool:
        """Whether its time has not run out."""
        return (now or datetime.now(UTC)) < self.until

    def __str__(self) -> str:
        return f"{self.holder} has it in hand until {self.until:%Y-%m-%d %H:%M:%S} UTC ({self.reason})"


@dataclass(frozen=True)
class Standing:
    """What is known: the tenure in force, if any, or why nobody can tell."""

    tenure: Tenure | None = None
    trouble: str | None = None

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Why nothing may be started for a campaign, as (stable code, what is the matter), or None."""
        if self.trouble is not None:
            return UNKNOWN, self.trouble
        return None if self.tenure is None else (HELD, str(self.tenure))


class TakeOver:
    """The tenure of one instrument. Reading never raises. For any thread and process.

    Args:
        place: where the instrument keeps its things.
        public: the gate's public key, which the order's signature is checked against; None believes the file.
    """

    def __init__(self, place: Placed, public: PublicKey | None = None) -> None:
        self.path = place.directory / "takeover.json"
        # Left behind at the first take-over: a file that is gone although this is there was removed.
        self.marker = place.directory / "takeover.created"
        self._lock = place.directory / "takeover.lock"
        self._public = public

    def read(self, now: datetime | None = None) -> Standing:
        """Who has the instrument in hand now."""
        return self._read(self._public, now)

    def _read(self, public: PublicKey | None, now: datetime | None = None) -> Standing:
        try:
            with self.path.open("rb") as file:
                fields = json.loads(file.read(LARGEST))
            order = Order(str(fields["body"]), str(fields["signature"]))
            terms = terms_of(order) if public is None else check(order, public)
        except FileNotFoundError:
            return self._trouble("was removed") if self.marker.exists() else Standing()
        except OSError as error:
            return self._trouble(f"cannot be read ({error})")
        except ForgedDecision as error:
            return self._trouble(f"is not the gate's: {error}")
        except (ValueError, TypeError, KeyError, RecursionError):
            return self._trouble("is corrupt")
        if terms["instrument"] != self.path.parent.name:
            return self._trouble(f"is about {terms['instrument']}")
        if terms["kind"] != "take_over":
            return Standing()
        tenure = Tenure(terms["by"], terms["at"], terms["expires_at"], terms["reason"], terms["nonce"])
        return Standing(tenure if tenure.is_in_force(now) else None)

    def take(self, person: str, order: Callable[[], Order]) -> Tenure:
        """Take the instrument over; one's own tenure is renewed. `order` signs, when it is certain to be had.

        Raises:
            TakenOver: somebody else has it, or nobody can tell.
            OSError: the disk does not take it.
        """
        with self._locked():
            standing = self.read()
            if standing.trouble is not None:
                raise TakenOver(standing.trouble)
            if standing.tenure is not None and standing.tenure.holder != person:
                raise TakenOver(str(standing.tenure), _ASK)
            self._write(order())
            found = self.read()
            if found.tenure is None:
                raise TakenOver(found.trouble or "its time ran out at once: see to the clock")
            return found.tenure

    def hand_back(self, person: str, order: Callable[[str], Order]) -> Tenure:
        """End one's own tenure; what it was. `order` signs for its nonce.

        Raises:
            TakenOver: somebody else has it, or nobody has, or nobody can tell.
            OSError: the disk does not take it.
        """
        with self._locked():
            standing = self.read()
            if standing.trouble is not None:
                raise TakenOver(standing.trouble)
            if standing.tenure is None:
                raise TakenOver("nobody has it in hand")
            if standing.tenure.holder != person:
                raise TakenOver(str(standing.tenure), _ASK)
            self._write(order(standing.tenure.nonce))
            return standing.tenure

    def release(self, order: Callable[[Tenure | None], Order], seen: str | None) -> Standing:
        """End the tenure that somebody has looked at, also one that cannot be read; what there was.

        `seen` is its nonce, None where nobody could tell who has it: who has taken the instrument over since, or
        renewed that, keeps it.

        Raises:
            TakenOver: it is another tenure than the one that was looked at, or it was renewed.
            OSError: the disk does not take it.
        """
        with self._locked():
            standing = self.read()
            if standing.refusal is None:
                return standing
            # What is not the gate's may have been looked at by somebody who cannot tell, and so names a tenure.
            believed = self._read(None).tenure
            if seen not in [tenure.nonce if tenure is not None else None for tenure in (standing.tenure, believed)]:
                now = standing.trouble or str(standing.tenure)
                raise TakenOver(f"this has changed since you looked: {now}", "Look again: it was not released.")
            self._write(order(standing.tenure))
            return standing

    def _trouble(self, what: str) -> Standing:
        return Standing(
            trouble=f"{self.path} {what}: nobody can tell who has the instrument in hand. Look at it, then: "
            f"athanor take-over {self.path.parent.name} --emergency-release --reason …"
        )

    def _write(self, order: Order) -> None:
        """Whole or not at all, and on disk when this returns."""
        fresh = self.path.with_name(f"takeover.{os.getpid()}.{threading.get_ident()}.new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(order.as_dict(), file)
                file.flush()
                os.fsync(file.fileno())
            self.marker.touch(mode=0o600)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time changes it; a holder of this lock that dies lets it go."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.close(handle)
