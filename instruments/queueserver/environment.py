"""What runs inside the manager's worker process: a worker as everywhere, whose experiments come as queue items.

The queue is not trusted with anything. Whoever put an item there, the plan reads the intent from the ledger and checks
decision, signature, lease, limits and latch itself, before anything moves, and starts nothing twice.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.instruments.config import take_lock
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.queueserver.manager import ManagerRefused, ManagerSilent
from athanor.instruments.queueserver.settings import Settings, manager_of
from athanor.instruments.words import Refused
from athanor.instruments.worker import Worker, begin, end
from athanor.memory.errors import NotFound
from athanor.memory.places import InstrumentPlace

if TYPE_CHECKING:
    from athanor.instruments.engine import Engine
    from athanor.instruments.plans import Plan
    from athanor.instruments.queueserver.engine import QueuedEngine

log = logging.getLogger(__name__)

LEAVE_S = 15.0
PAUSED_S = 15.0


class QueuedWorker(Worker):
    """The worker of an instrument whose RunEngine the queue's manager calls."""

    queue = "its queue"
    engine: QueuedEngine

    def _make_engine(self, on_state: Callable[[str], None]) -> Engine:
        from athanor.instruments.queueserver.engine import QueuedEngine

        def resume() -> None:
            manager = manager_of(self.place, Settings.read(self.place))
            try:
                manager.await_state({"paused"}, PAUSED_S)  # it hears of a pause up to half a second later
                manager.order("re_resume")
            except (ManagerSilent, ManagerRefused):
                log.exception("the queue's manager does not resume the run")

        return QueuedEngine(self.profile, on_state, self.latched, self.safeguards, resume_queue=resume)

    def measure(self, item: Any) -> Plan:
        """The plan of one queue item. Raises `Refused` through the RunEngine; every connection is told either way."""
        return (yield from self.engine.measure(lambda: self._begin(item)))

    def _begin(self, item: Any) -> None:
        intent = item.get("intent") if isinstance(item, Mapping) else None
        try:
            self._check_item(item)
            self.requests.dispatch(dict(item))
        except Refused as error:
            log.info("refused the queue's item for %s: %s", intent, error)
            self.safeguards.tally.add(error.code)
            self._tell(intent, error)
            raise
        except Exception as error:
            log.exception("an item of the queue ended in an unforeseen way")
            self._tell(intent, Refused("worker.error", f"{type(error).__name__}: {error}"))
            raise
        self._tell(intent, None)

    def _tell(self, intent: Any, error: Refused | None) -> None:
        told = {} if error is None else {"code": error.code, "detail": error.detail}
        self.server.broadcast({"event": "turn", "intent": intent, "ok": error is None, **told})

    def _check_item(self, item: Any) -> None:
        """Raises `Refused` unless the item carries what the gate has signed for its intent.

        What is not from an executor says nothing about the experiment, whose state stays as it is: the ledger is not
        even asked for more than the decision.
        """
        from athanor.memory.signing import verify

        if not isinstance(item, Mapping) or not isinstance(item.get("intent"), str):
            raise Refused("request.malformed", "the item names no intent")
        body, signature = item.get("body"), item.get("signature")
        if not isinstance(body, str) or not isinstance(signature, str) or not signature:
            raise Refused("decision.unsigned", f"the item for {item['intent']} carries no signed decision")
        if self.gate is None or not verify(self.gate, body, signature):
            raise Refused("decision.signature", f"the item for {item['intent']} carries a signature not the gate's")
        try:
            decision = self.ledger().decision(self.ledger().intent(item["intent"]).decision_id)
        except NotFound as error:
            raise Refused("intent.unknown", str(error)) from error
        if decision.body != body:
            raise Refused("decision.mismatch", f"the item for {item['intent']} carries another intent's decision")


def enter(folder: str) -> tuple[Any, Callable[[dict[str, Any]], Plan]]:
    """Make this process the worker of the instrument in `folder`; its RunEngine and the one plan it runs.

    Raises:
        InstrumentUnavailable: another worker has the instrument, or whatever else makes it unusable.
    """
    directory = Path(folder)
    place = InstrumentPlace.of(directory.name, directory.parent.parent)
    settings = Settings.read(place)
    lock = take_lock(place)
    if lock is None:
        raise InstrumentUnavailable(place.name, "another worker has it", "end that one first: `athanor stop-all`")
    if not settings.ledger:
        os.close(lock)
        raise InstrumentUnavailable(place.name, "no campaign has asked for it", "the executor opens the environment")
    worker = begin(QueuedWorker, place, settings.ledger, Path(settings.gate_key))
    thread = threading.Thread(target=_serve, args=(worker, lock), name="serve", daemon=True)
    thread.start()

    def leave() -> None:
        worker.ending.set()
        thread.join(LEAVE_S)

    # The manager closes the environment, or is ended itself.
    Finalize(None, leave, exitpriority=100)

    def athanor_measure(item: dict) -> Plan:  # type: ignore[type-arg]  # read by the manager, which knows no Any
        """Run one approved experiment: `item` names its intent and carries the signed decision."""
        return (yield from worker.measure(item))

    return worker.engine.RE, athanor_measure


def _serve(worker: QueuedWorker, lock: int) -> None:
    parent = os.getppid()

    def watch() -> None:
        # Without the manager's watchdog nobody can call the plan any more: what is in hand is finished first.
        while not worker.ending.wait(0.5):
            if os.getppid() != parent and worker.engine.in_hand is None:
                log.warning("ended: the queue's manager is gone")
                worker.ending.set()

    threading.Thread(target=watch, name="watch-manager", daemon=True).start()
    worker.serve(None, lock)
    end(worker)
