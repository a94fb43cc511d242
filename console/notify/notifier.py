"""The notifier: a thread of the console that looks at what happens and tells people by the site's rules.

Any number of consoles may run one; a lease lets one of them do it at a time. Everything is written down before it is
sent. What was cut off between the two may arrive twice, and says so; nothing is sent twice knowingly.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from athanor.agents.holders import holder, is_gone
from athanor.console.notify.board import TOLD, Board, Notification, Step, Try
from athanor.console.notify.channels import Message, NotSent, mail, webhook
from athanor.console.notify.happenings import Happening, Happenings, Look, ends, fits, same
from athanor.console.notify.quiet import is_quiet
from athanor.console.settings import NotifyRule, NotifySettings, Recipient, WebhookSettings
from athanor.governance.people import PeopleError
from athanor.memory.errors import LeaseHeld, LeaseLost

if TYPE_CHECKING:
    from athanor.governance.people import People
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Lease

log = logging.getLogger(__name__)

RESOURCE = "watch:notifications"
LOOK_S = 1.0
LEASE_S = 60.0
HELD_S = 5.0
"""How often it is asked whether another console has let go."""
LEAVE_S = 20.0
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 1800.0
"""Between tries; the wait doubles."""
MOST_TRIES = 12
OLDEST = timedelta(hours=24)
"""What could not be told for so long is not told any more."""
MOST_OPEN = 500
"""Notifications that are news at one time; what comes beyond waits or, if it does not last, is not told."""
SENDERS = 4
ROWS = 2000
"""After so many rows of the journal without anything to tell it is written down how far it was looked at."""
GIVEN_UP = "it could not be told within a day"


class Notifier:
    """Tells people of what happens, for as long as a console runs.

    Args:
        ledger: what is looked at, and where it is written down what was told.
        people: the accounts; nobody is told whose account is closed.
        settings: who is told of what.
        places: the instruments there are.
        board: what was told.
    """

    def __init__(
        self,
        ledger: Ledger,
        people: People,
        settings: NotifySettings,
        places: Callable[[], list[InstrumentPlace]],
        board: Board | None = None,
    ) -> None:
        self._ledger = ledger
        self._people = people
        self._settings = settings
        self._rules = {rule.name: rule for rule in settings.rules}
        self._recipients = {person.login: person for person in settings.people}
        self._webhooks = {hook.name: hook for hook in settings.webhooks}
        self._places = places
        self.board = board or Board(ledger)
        self._happenings = Happenings(ledger, places)
        self._me = holder()
        self._lease: Lease | None = None
        self._again = ledger.now()
        self._low_mark = 0
        self._sending: dict[tuple[str, str], tuple[int, Future[None]]] = {}
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="notify")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let another console do it. Waits for what is being sent, but not for long."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)
        self._senders.shutdown(wait=not self._thread.is_alive(), cancel_futures=True)
        with contextlib.suppress(Exception):
            self._collect()
        if self._lease is not None and not self._thread.is_alive():
            with contextlib.suppress(Exception):
                if self._low_mark > (self.board.seen() or 0):
                    self.board.saw(self._low_mark)
                self._ledger.release_lease(self._lease)
            self._lease = None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:
                log.exception("notifications could not be looked after; it is tried again")
            self._ended.wait(LOOK_S)

    # -- one look ------------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Look once, tell and send; False when another console does. Sending goes on after it: see `settle`."""
        self._collect()
        if not self._holds():
            self._happenings = Happenings(self._ledger, self._places)  # what it has seen is old when its turn comes
            return False
        look = self._seen()
        self._end(look)
        self._raise(look)
        self._low_mark = self._low(look)
        for one in self.board.open():
            self._escalate(one)
            self._deliver(one)
        return True

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait for what is being sent, and write down what came of it."""
        wait([future for _, future in self._sending.values()], timeout_s)
        self._collect()

    def _holds(self) -> bool:
        now = self._ledger.now()
        if self._lease is None and now < self._again:
            return False
        try:
            if self._lease is None:
                self._lease = self._ledger.acquire_lease(RESOURCE, self._me, LEASE_S, is_gone)
            elif self._lease.expires_at - now < timedelta(seconds=LEASE_S * 2 / 3):
                self._lease = self._ledger.renew_lease(self._lease)
        except (LeaseHeld, LeaseLost):
            self._lease, self._again = None, now + timedelta(seconds=HELD_S)
            return False
        return True

    def _seen(self) -> Look:
        before = self.board.seen()
        if before is None:  # nobody is told of what was before there were notifications
            before = self._ledger.changes()
            self.board.saw(before)
        look = self._happenings.look(max(0, before - 1), [one.key for one in self.board.open()])
        if look.position - (self.board.seen() or 0) > ROWS:
            self.board.saw(self._low(look))
        return look

    def _low(self, look: Look) -> int:
        """From where a console that starts anew has to look: before what lasts and was not told yet."""
        waiting = [one.position for one in look.standing.values() if one.position is not None and self._untold(one)]
        return min([position - 1 for position in waiting] + [look.position])

    def _untold(self, one: Happening) -> bool:
        return any(fits(rule, one) and not self.board.is_told(rule.name, one.key) for rule in self._settings.rules)

    # -- what is news --------------------------------------------------------------------------------------------------

    def _raise(self, look: Look) -> None:
        now = self._ledger.now()
        # Who starts anew looks again at all that was seen now: a crash may come between two rules.
        low = min([self._low(look)] + [one.position - 1 for one in look.happened if one.position is not None])
        room = MOST_OPEN - len(self.board.open())
        for rule in self._settings.rules:
            for one in [*look.happened, *look.standing.values()]:
                is_condition = one.key in look.standing
                if not fits(rule, one) or self.board.is_told(rule.name, one.key):
                    continue
                if is_condition and now - one.at < timedelta(minutes=rule.after_min):
                    continue
                if _is_past(rule, one, look):
                    continue
                not_before = self._not_before(rule, one, is_condition, now)
                if not_before is None:
                    continue
                if room <= 0:
                    log.error("%s notifications are open: %s is not told", MOST_OPEN, one.title)
                    continue
                room -= 1
                self.board.tell(
                    rule.name,
                    same(rule, one),
                    one,
                    to=tuple(rule.to),
                    webhooks=tuple(rule.webhooks),
                    by=tuple(rule.by),
                    urgent=rule.urgent,
                    not_before=not_before,
                    seen=low,
                )

    def _not_before(self, rule: NotifyRule, one: Happening, is_condition: bool, now: datetime) -> datetime | None:
        """When to tell of it; None: not now, for the same was told a moment ago, or is still news."""
        before = self.board.newest(rule.name, same(rule, one))
        if before is None:
            return now
        is_untold = before.not_before > now  # held back, and over before its time came
        again = before.not_before + timedelta(minutes=0.0 if is_untold else rule.again_after_min)
        if before.over is None and (before.lasts or is_untold):
            return None  # it is known, and still so
        if now >= again:
            return now
        # What lasts is looked at again; what happens is written down now, and told then.
        return None if is_condition else again

    def _end(self, look: Look) -> None:
        """What was told, and is no news any more."""
        now = self._ledger.now()
        for one in self.board.open():
            if why := self._over(one, look, now):
                self.board.over(one, why)

    def _over(self, one: Notification, look: Look, now: datetime) -> str | None:
        rule = self._rules.get(one.rule)
        if one.lasts and not one.key.startswith("event:") and one.key not in look.standing:
            return "it is so no longer"
        if rule is None:
            return "its rule is gone"
        if any(
            one.position is not None and row.position > one.position and ends(rule, row, one.group) for row in look.rows
        ):
            return "an event ended it"
        if not self._is_busy(one) and not one.lasts and one.not_before <= now:
            return TOLD
        if now - max(one.not_before, one.steps[-1].at) > OLDEST and not one.key.startswith("stop_all:"):
            return GIVEN_UP if self._is_busy(one) else "it is old"
        return None

    def _is_busy(self, one: Notification) -> bool:
        """Whether there is something left to be done for it."""
        if any(not self._is_done(one, target) for step in one.steps for target in self._targets(one, step)):
            return True
        rule = self._rules.get(one.rule)
        return rule is not None and not one.read_by and len(one.steps) <= len(rule.escalate)

    def _escalate(self, one: Notification) -> None:
        """Tell more people of what nobody has taken note of."""
        rule, now = self._rules.get(one.rule), self._ledger.now()
        if rule is None or one.read_by:
            return
        known = {step.number for step in one.steps}
        for number, step in enumerate(rule.escalate, start=1):
            if number not in known and now >= one.not_before + timedelta(minutes=step.after_min):
                self.board.step(one, number, tuple(step.to), tuple(step.webhooks))

    # -- sending -------------------------------------------------------------------------------------------------------

    def _targets(self, one: Notification, step: Step) -> Iterator[str]:
        if "email" in one.by:
            yield from (f"{step.number}:email:{login}" for login in step.to)
        yield from (f"{step.number}:webhook:{name}" for name in step.webhooks)

    def _is_done(self, one: Notification, target: str) -> bool:
        found = one.tries.get(target)
        return found is not None and found.is_ended and found.is_done

    def _deliver(self, one: Notification) -> None:
        now = self._ledger.now()
        fresh = self.board.one(one.id)
        if fresh is None or fresh.over is not None or fresh.not_before > now:
            return
        for step in fresh.steps:
            for target in self._targets(fresh, step):
                if (fresh.id, target) not in self._sending and not self._is_done(fresh, target):
                    self._send(fresh, target, now)

    def _send(self, one: Notification, target: str, now: datetime) -> None:
        before = one.tries.get(target)
        attempt = 1 if before is None else before.attempt + 1
        if before is not None and before.is_ended and now < before.at + timedelta(seconds=_wait_s(before)):
            return
        _, channel, name = target.split(":", 2)
        is_again = before is not None and not before.is_ended
        if attempt > MOST_TRIES:
            self.board.ended(one.id, target, attempt, is_done=True, error=f"given up after {MOST_TRIES} tries")
            return
        if channel == "email":
            person = self._recipients.get(name)
            if (why := self._why_never(person, name)) is not None:
                self.board.ended(one.id, target, attempt, is_done=True, error=why)
                return
            if person is None or self._is_later(one, person, now):
                return
            sending = self._mail(person, self._message(one, target, is_again), now)
        else:
            hook = self._webhooks.get(name)
            if hook is None:
                self.board.ended(one.id, target, attempt, is_done=True, error="it is not in the settings any more")
                return
            sending = self._webhook(hook, self._message(one, target, is_again), now)
        self.board.attempt(one, target, attempt)  # before anything leaves the house
        self._sending[one.id, target] = attempt, self._senders.submit(sending)

    def _why_never(self, person: Recipient | None, login: str) -> str | None:
        """Why somebody gets no mail, for good."""
        if person is None or person.email is None or self._settings.mail is None:
            return "there is no address in the settings any more"
        try:
            return None if self._people.person(login).is_active else "the account is closed"
        except PeopleError:
            return "there is no such account"

    def _is_later(self, one: Notification, person: Recipient, now: datetime) -> bool:
        """Whether a mail has to wait."""
        if one.urgent:
            return False
        if is_quiet(person, now):
            return True
        return self.board.mails_since(person.login, now - timedelta(hours=1)) >= self._settings.mails_per_hour

    def _message(self, one: Notification, target: str, is_again: bool) -> Message:
        base = self._settings.address
        detail = f" {one.detail}" if self._settings.details and one.detail else ""
        return Message(
            id=f"{one.id}.{target.replace(':', '.')}",
            title=one.title,
            text=f"{one.text}{detail}",
            link=None if base is None else f"{base.rstrip('/')}{one.path}",
            what=one.what,
            campaign_id=one.campaign_id,
            urgent=one.urgent,
            since=one.since,
            is_again=is_again,
        )

    def _mail(self, person: Recipient, message: Message, now: datetime) -> Callable[[], None]:
        settings, to = self._settings.mail, person.email
        assert settings is not None and to is not None
        return lambda: mail(settings, to, message, now)

    def _webhook(self, hook: WebhookSettings, message: Message, now: datetime) -> Callable[[], None]:
        return lambda: webhook(hook, message, now)

    def _collect(self) -> None:
        """Write down what came of what was sent."""
        for (identifier, target), (attempt, future) in list(self._sending.items()):
            if not future.done():
                continue
            if future.cancelled():
                del self._sending[identifier, target]
                continue
            error = future.exception()
            if error is not None and not isinstance(error, NotSent):
                log.error("a notification could not be sent", exc_info=error)
            is_done = error is None or (isinstance(error, NotSent) and error.is_final)
            self.board.ended(identifier, target, attempt, is_done=is_done, error="" if error is None else str(error))
            del self._sending[identifier, target]  # not before it is written down: it would be sent again


def _is_past(rule: NotifyRule, one: Happening, look: Look) -> bool:
    """Whether an event has ended already what another one began."""
    if one.position is None or one.key in look.standing:
        return False
    return any(row.position > one.position and ends(rule, row, same(rule, one)) for row in look.rows)


def _wait_s(before: Try) -> float:
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(before.attempt - 1, 20)))
