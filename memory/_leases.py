"""The ledger's part on leases: who drives a campaign or an instrument.

A lease ends by itself. Its epoch grows with every change of holder, and whoever acts on it sends the epoch along: a
holder that was frozen while another took over is refused by the higher epoch, not by a clock (a fencing token,
M. Kleppmann, *Designing Data-Intensive Applications*, 2017, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import delete, insert, update

from athanor.memory._reservations import device_taken
from athanor.memory._store import Store, Writer, find, refuse
from athanor.memory.canonical import time_text
from athanor.memory.errors import LeaseHeld, LeaseLost
from athanor.memory.journal import SITE
from athanor.memory.records import Lease
from athanor.memory.rows import row_from, table_of

_LEASE = table_of(Lease)
FREE = ""


class Leases(Store):
    """Leases with a fencing epoch."""

    def acquire_lease(
        self, resource: str, holder: str, ttl_s: float, is_gone: Callable[[str], bool] = lambda holder: False
    ) -> Lease:
        """Take the lease of `campaign:ID`, `instrument:NAME` or `watch:NAME` for `ttl_s` seconds.

        Whoever holds it already renews it and keeps the epoch, so `holder` must name one process and no other. A holder
        of whom `is_gone` knows that it has ended loses the lease before its time.

        Raises:
            LeaseHeld: another holder's time has not run out.
            InvalidRecord: the resource, the holder or the time makes no sense.
        """
        refuse(not resource.startswith(("campaign:", "instrument:", "watch:")), f"no lease is kept for {resource!r}")
        refuse(not holder, "a lease needs a holder")
        refuse(not 0 < ttl_s <= 86400, f"a lease of {ttl_s} s: give 0 to 86400")
        with self._writing() as writer:
            old = find(writer.connection, Lease, _LEASE.c.resource == resource)
            is_held = old is not None and old.holder not in (holder, FREE) and old.expires_at > writer.moment
            if old is not None and is_held and not is_gone(old.holder):
                raise LeaseHeld(resource, old.holder, old.expires_at)
            kind, _, name = resource.partition(":")
            if kind == "instrument" and (by := device_taken(writer.connection, name)) is not None:
                raise LeaseHeld(resource, f"experiment {by}", writer.moment)
            is_same = old is not None and old.holder == holder
            epoch = 1 if old is None else old.epoch if is_same else old.epoch + 1
            lease = Lease(
                resource=resource,
                holder=holder,
                epoch=epoch,
                renewed_at=writer.moment,
                expires_at=writer.moment + timedelta(seconds=ttl_s),
            )
            writer.connection.execute(delete(_LEASE).where(_LEASE.c.resource == resource))
            writer.connection.execute(insert(_LEASE), row_from(lease))
            if not is_same:
                _note(writer, lease, holder)
        return lease

    def renew_lease(self, lease: Lease) -> Lease:
        """Renew a lease for as long as it was given before. One past its time that nobody took is still ours.

        Raises:
            LeaseLost: it has another holder or epoch.
        """
        with self._writing() as writer:
            renewed = lease.model_copy(
                update={
                    "renewed_at": writer.moment,
                    "expires_at": writer.moment + (lease.expires_at - lease.renewed_at),
                }
            )
            done = writer.connection.execute(
                update(_LEASE)
                .where(
                    _LEASE.c.resource == lease.resource, _LEASE.c.holder == lease.holder, _LEASE.c.epoch == lease.epoch
                )
                .values(renewed_at=time_text(renewed.renewed_at), expires_at=time_text(renewed.expires_at))
            )
            if done.rowcount != 1:
                now = find(writer.connection, Lease, _LEASE.c.resource == lease.resource)
                by = f"{now.holder or 'nobody'} (epoch {now.epoch})" if now else "nobody"
                raise LeaseLost(
                    f"{lease.resource} is held by {by}, no longer by {lease.holder} (epoch {lease.epoch}); "
                    "stop driving it"
                )
        return renewed

    def release_lease(self, lease: Lease) -> None:
        """Give a lease back. Does nothing if it is no longer ours."""
        with self._writing() as writer:
            done = writer.connection.execute(
                update(_LEASE)
                .where(
                    _LEASE.c.resource == lease.resource, _LEASE.c.holder == lease.holder, _LEASE.c.epoch == lease.epoch
                )
                .values(holder=FREE, expires_at=time_text(writer.moment))
            )
            if done.rowcount == 1:
                _note(writer, lease, FREE)

    def lease(self, resource: str) -> Lease | None:
        """Return the lease on a resource, held or run out; None if it is free."""
        found = self._find(Lease, _LEASE.c.resource == resource)
        return None if found is None or found.holder == FREE else found


def _note(writer: Writer, lease: Lease, holder: str) -> None:
    chain = lease.resource if lease.resource.startswith("campaign:") else SITE
    writer.journal.append(chain, "lease", {"resource": lease.resource, "holder": holder, "epoch": lease.epoch})
