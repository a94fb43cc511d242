"""How often somebody may ask: a bucket of tries for each caller and each address, which fills up again with time.

Stop All takes no part in any of this. What is counted is in the memory of this process, and bounded.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from athanor.console.api.problems import Denied

Kind = Literal["address", "read", "change", "account", "sign_in", "refused"]
"""`address`: anything from one address. `read` and `change`: by one session or token, by one person or token.
`account`: changes of passwords, second factors, tokens and accounts. `sign_in`: tries to sign in from one address.
`refused`: what a role does not allow, which is written down each time."""

MOST = 20_000
"""Callers and addresses that are kept, of each kind."""
TOLD_S = 60.0
"""Of one caller who asks too often it is written down once in so many seconds."""


@dataclass(frozen=True)
class Rate:
    """So many at once, and so many per second for good."""

    burst: float
    per_second: float


RATES: Mapping[Kind, Rate] = {
    "address": Rate(4000, 400.0),
    "read": Rate(600, 60.0),
    "change": Rate(120, 2.0),
    "account": Rate(30, 0.2),
    "sign_in": Rate(30, 0.5),
    "refused": Rate(60, 0.5),
}
SHARED: Mapping[Kind, Rate] = {"address": Rate(20_000, 2000.0), "sign_in": Rate(120, 2.0)}
"""For this computer's own address, which everybody on it shares."""


class TooOften(Denied):
    """Somebody asks too often. `is_news`: it was not written down a moment ago."""

    def __init__(self, kind: Kind, who: str, wait_s: float, is_news: bool) -> None:
        super().__init__(
            429,
            "rate.limited",
            "you ask too often" if kind != "refused" else "you ask too often for what you may not",
            f"wait {max(1, round(wait_s + 0.5))} s; Stop All is never kept waiting",
            wait_s,
        )
        self.kind = kind
        self.who = who
        self.is_news = is_news


@dataclass
class _Bucket:
    left: float
    at: float
    told: float = float("-inf")


class Limits:
    """Buckets of one console.

    Args:
        rates: how many of each kind; those not given are as in `RATES`.
        clock: seconds that only grow.
    """

    def __init__(self, rates: Mapping[Kind, Rate] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        given = dict(rates or {})
        self._rates = {**RATES, **given}
        self._shared = {**SHARED, **given}
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: dict[Kind, OrderedDict[str, _Bucket]] = {kind: OrderedDict() for kind in RATES}

    def take(self, kind: Kind, who: str) -> None:
        """Count one.

        Raises:
            TooOften: the bucket is empty; nothing was counted.
        """
        rate = self._shared[kind] if who == LOOPBACK and kind in self._shared else self._rates[kind]
        now = self._clock()
        with self._guard:
            kept = self._kept[kind]
            bucket = kept.pop(who, None) or _Bucket(rate.burst, now)
            kept[who] = bucket  # the last one is the one that was used last
            bucket.left = min(rate.burst, bucket.left + (now - bucket.at) * rate.per_second)
            bucket.at = now
            if len(kept) > MOST:
                kept.popitem(last=False)
            if bucket.left >= 1.0:
                bucket.left -= 1.0
                return
            is_news = now - bucket.told >= TOLD_S
            if is_news:
                bucket.told = now
            wait_s = (1.0 - bucket.left) / rate.per_second
        raise TooOften(kind, who, wait_s, is_news)

    def size(self) -> int:
        """How many callers and addresses are kept."""
        with self._guard:
            return sum(len(kept) for kept in self._kept.values())


LOOPBACK = "this computer"


def address_of(host: str) -> str:
    """What an address counts as: this computer is one, and so is a network of IPv6, of which one house has many."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return LOOPBACK
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
