"""What a worker answers on its socket, in threads that never wait for the RunEngine, the ledger or a device.

Verbs: `hello [campaign]`, `status`, `dispatch intent epoch`, `abort [reason] [by] [latch] [seen]`, `pause [by] [seen]`,
`resume [by] [seen]`, `move body signature`, `signals`, `park`, `shutdown`. `seen` is the experiment that whoever asks
saw in hand, null an axis moved by hand: with something else in hand nothing is done. A stop that latches asks nobody.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from athanor.instruments.wire import Connection, Message, refusal
from athanor.instruments.words import Refused, Seen

if TYPE_CHECKING:
    from athanor.instruments.engine import Engine
    from athanor.instruments.worker import Worker

log = logging.getLogger(__name__)

LOOK_S = 0.8
"""Seconds that the live signals may take to answer somebody who only looks."""


class Requests:
    """Answers for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._holding = threading.Lock()
        self._preparing: set[object] = set()
        self._is_looking = False

    @property
    def is_preparing(self) -> bool:
        """Whether a dispatch is being checked: it may start, and has perhaps not heard of the latest take-over."""
        return bool(self._preparing)

    def handle(self, connection: Connection, message: Message) -> Message | None:
        """Answer one request, in the connection's own thread, without waiting for anything."""
        worker = self._worker
        verbs: dict[Any, Callable[[Connection, Message], Message | None]] = {
            "hello": self._hello,
            "status": lambda _, __: {**worker.facts(), **worker.safeguards.facts(), **self._hands(), **self._held()},
            "dispatch": self._dispatch,
            "abort": self._abort,
            "pause": self._pause,
            "resume": self._resume,
            "move": self._move,
            "signals": self._signals,
            "park": self._park,
            "shutdown": self._shutdown,
        }
        verb = verbs.get(message.get("verb"))
        if verb is None:
            raise Refused("request.verb", f"no verb {message.get('verb')!r}; there are {', '.join(verbs)}")
        return verb(connection, message)

    def _hello(self, connection: Connection, message: Message) -> Message:
        worker = self._worker
        campaign = message.get("campaign")
        if campaign is not None:
            self._hold(connection, str(campaign))
        return {
            "name": worker.place.name,
            "pid": os.getpid(),
            "config": worker.digest,
            "simulated": worker.profile.simulated,
            "is_latched": worker.latch.read().engaged,
            "axes": list(worker.profile.axes),
            **worker.safeguards.facts(),
            **worker.facts(),
            **self._hands(),
        }

    def _hands(self) -> Message:
        """In whose hands the instrument is. Reads the disk: not for a heartbeat."""
        tenure = self._worker.takeover.read() if self._worker.takeover is not None else None
        return {"takeover": tenure.refusal[1] if tenure is not None and tenure.refusal is not None else None}

    def _held(self) -> Message:
        """Which campaigns hold it, by their connections."""
        held = {other.campaign for other in self._worker.server.connections if other.campaign is not None}
        return {"held_by": sorted(held), "pid": os.getpid()}

    def _refuse_if_taken_over(self) -> None:
        """Raises `Refused` while a person has the instrument in hand: then nothing moves for a campaign."""
        assert self._worker.takeover is not None
        if (found := self._worker.takeover.read().refusal) is not None:
            raise Refused(*found)

    def _hold(self, connection: Connection, campaign: str) -> None:
        """Let the other side hold the instrument for a campaign while it is connected. Raises `Refused`."""
        with self._holding:
            self._check_free(campaign, connection)
            connection.campaign = campaign

    def _check_free(self, campaign: str, connection: Connection | None = None) -> None:
        """Raises `Refused` when another connection holds the instrument, or it runs something, for another campaign."""
        worker = self._worker
        for other in worker.server.connections:
            if other is not connection and other.campaign not in (None, campaign):
                raise Refused("instrument.busy", f"{worker.place.name} is held by campaign {other.campaign}")
        job = worker.engine.job if worker.engine is not None else None
        if job is not None and job.spool.header.campaign != campaign:
            raise Refused("instrument.busy", f"{worker.place.name} runs {job.context.experiment}")

    def _abort(self, _: Connection, message: Message) -> Message:
        worker = self._worker
        reason = str(message.get("reason") or "no reason given")
        latched = bool(message.get("latch"))
        if latched:
            # In memory at once, so that nothing moves again even if the disk takes nothing; the file by who asked.
            worker.latch.hold(reason, str(message.get("by") or "Stop All"))
        seen = None if latched else _seen(message)
        if worker.engine is not None:
            worker.engine.check_seen(seen)
        if not latched and message.get("by") is not None:
            worker.tell("run_abort_asked", by=str(message["by"]), reason=reason)
        running = worker.engine is not None and worker.engine.abort(reason, seen)
        return {"running": running, "latched": latched, **worker.facts()}

    def _pause(self, _: Connection, message: Message) -> Message:
        engine = self._ready()
        seen = _seen(message)
        engine.check_seen(seen)
        self._worker.asked_by = _name(message)
        engine.pause(seen)
        return self._worker.facts()

    def _resume(self, _: Connection, message: Message) -> Message:
        worker, engine = self._worker, self._ready()
        if worker.latched() is not None:
            raise Refused("latch.engaged", "Stop All is latched: a person must reset it with a reason")
        seen = _seen(message)
        engine.check_seen(seen)
        if engine.state == "paused":
            self._refuse_if_taken_over()
            worker.tell("run_resumed", by=_name(message))
            engine.resume()
        elif worker.is_parked and (seen is None or seen.experiment is None):
            worker.is_parked = False
            worker.set_state(engine.state)
        else:
            raise Refused("run.none", "nothing is paused or parked")
        return worker.facts()

    def _park(self, _: Connection, __: Message) -> Message:
        worker = self._worker
        worker.is_parked = True
        if worker.state == "idle":
            worker.set_state("parked")
        return worker.facts()

    def _shutdown(self, connection: Connection, message: Message) -> Message:
        worker = self._worker
        if message.get("if_idle", True):
            job = worker.engine.job if worker.engine is not None else None
            if job is not None:
                raise Refused("instrument.busy", f"{worker.place.name} runs {job.context.experiment}")
            if worker.engine is not None and worker.engine.in_hand is not None:
                raise Refused("instrument.busy", f"{worker.place.name} is being moved by hand")
            for other in worker.server.connections:
                if other is not connection and other.campaign is not None:
                    raise Refused("instrument.busy", f"{worker.place.name} is held by campaign {other.campaign}")
        worker.ending.set()
        return worker.facts()

    def _ready(self) -> Engine:
        worker = self._worker
        if worker.lost is not None:
            raise Refused("instrument.lost", worker.lost)
        if not worker.is_connected():
            raise Refused("instrument.lost", "the connection to the hardware dropped")
        if worker.ending.is_set():
            raise Refused("worker.stopping", "the worker is ending")
        if worker.engine is None or worker.state == "starting":
            raise Refused("instrument.starting", "the instrument is being connected")
        return worker.engine

    def _dispatch(self, connection: Connection, message: Message) -> None:
        worker = self._worker
        intent, epoch = intent_and_epoch(message)
        if worker.queue is not None:
            raise Refused("dispatch.queue", f"experiments of {worker.place.name} go through {worker.queue}")
        aborts = self._ready().count_aborts()
        mark = self._count()
        self._later(
            connection,
            message,
            lambda: {"started": self._begin(intent, epoch, aborts, lambda name: self._hold(connection, name))},
            lambda: self._preparing.discard(mark),
        )

    def dispatch(self, message: Message) -> str:
        """Start an experiment that was handed over in another way than on the socket; its id. Waits.

        Raises `Refused`; nothing was moved.
        """
        intent, epoch = intent_and_epoch(message)
        aborts = self._ready().count_aborts()
        mark = self._count()
        try:
            return self._begin(intent, epoch, aborts, self._check_free)
        finally:
            self._preparing.discard(mark)

    def _count(self) -> object:
        # Counted before it looks for a take-over: who takes over and then finds nothing counted has nothing to fear.
        mark = object()
        self._preparing.add(mark)
        return mark

    def _begin(self, intent: str, epoch: int, aborts: int, hold: Callable[[str], None]) -> str:
        worker = self._worker
        assert worker.dispatcher is not None
        self._refuse_if_taken_over()
        if worker.is_parked:
            raise Refused("worker.parked", f"{worker.place.name} is parked")
        if worker.recovery.missing is not None:
            raise Refused("recovery.missing", worker.recovery.missing)
        return worker.dispatcher.dispatch(intent, epoch, aborts, hold)

    def _move(self, connection: Connection, message: Message) -> None:
        from athanor.memory.orders import Order

        worker = self._worker
        body, signature = message.get("body"), message.get("signature")
        if not isinstance(body, str) or not isinstance(signature, str):
            raise Refused("request.malformed", "move needs an order: its body and its signature")
        aborts = self._ready().count_aborts()
        by_hand = worker.by_hand
        assert by_hand is not None

        def work() -> Message:
            if worker.recovery.missing is not None:
                raise Refused("recovery.missing", worker.recovery.missing)
            return by_hand.move(Order(body, signature), aborts, lambda: connection.is_open)

        self._later(connection, message, work)

    def _signals(self, connection: Connection, message: Message) -> None:
        engine = self._ready()
        with self._holding:
            if self._is_looking:  # a device that does not answer must not collect threads
                raise Refused("signals.busy", "the last look at the signals has not ended yet")
            self._is_looking = True

        def done() -> None:
            self._is_looking = False

        self._later(connection, message, lambda: engine.look(LOOK_S), done)

    def _later(
        self,
        connection: Connection,
        message: Message,
        work: Callable[[], Message],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer when it is done: the same connection must be able to abort what is being prepared."""
        worker = self._worker
        what = str(message.get("verb"))

        def answer() -> None:
            identity = message.get("id")
            try:
                try:
                    result = work()
                finally:
                    after()
                connection.send({"id": identity, "ok": True, **result, **worker.facts()})
            except Refused as error:
                log.info("refused %s %s: %s", what, message.get("intent", ""), error)
                worker.safeguards.tally.add(error.code)
                connection.send(refusal(identity, error))
            except Exception as error:
                log.exception("a %s ended in an unforeseen way", what)
                connection.send(refusal(identity, Refused("worker.error", f"{type(error).__name__}: {error}")))

        threading.Thread(target=answer, name=what, daemon=True).start()


def intent_and_epoch(message: Message) -> tuple[str, int]:
    """What a request to run an experiment must name. Raises `Refused`."""
    intent, epoch = message.get("intent"), message.get("epoch")
    if not isinstance(intent, str) or not isinstance(epoch, int) or isinstance(epoch, bool):
        raise Refused("request.malformed", "dispatch needs an intent's id and an epoch")
    return intent, epoch


def _seen(message: Message) -> Seen | None:
    """What whoever asks saw in hand; None from who takes whatever there is."""
    if "seen" not in message:
        return None
    return Seen(None if message["seen"] is None else str(message["seen"]))


def _name(message: Message) -> str | None:
    """Who asks, as they say themselves: for the record, not a proof."""
    return str(message["by"]) if message.get("by") is not None else None
