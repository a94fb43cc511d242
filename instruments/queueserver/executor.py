"""Runs experiments through the queue of a `bluesky-queueserver`, with the same worker inside the manager's process.

Reviewed submission: the manager is locked with a key of ours, so that nobody else puts anything into its queue, starts
it, or runs code in its worker; what is submitted carries the signed decision; and the plan in the worker checks all of
it again. Items are run at once and never wait in the queue, and the manager does not put such an item back when it was
interrupted; one of ours that stands there all the same is taken out before anything else is run.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from athanor.instruments.abort import Worker
from athanor.instruments.executor import START_S, InstrumentBusy, LocalExecutor, Refused, WorkerLost
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.queueserver.manager import Manager, ManagerRefused, ManagerSilent
from athanor.instruments.queueserver.settings import GROUP, PLAN, Settings, manager_of
from athanor.instruments.wire import BEAT_S, Client
from athanor.memory.canonical import canonical

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Decision, Intent

log = logging.getLogger(__name__)

IDLE_S = 15.0
"""Seconds for the manager to see that a plan has ended; it looks every half second."""
OPEN_S = 60.0
TAKE_S = 30.0
LOOK_S = 0.05


class QueueServerExecutor(LocalExecutor):
    """As the local executor, and the same for whoever uses it; only how a worker and an experiment are started differs.

    The instrument must have been set up (`settings.set_up`), and its manager must be running.
    """

    _line: Manager | None = None
    _ledger: Ledger | None = None

    @property
    def _manager(self) -> Manager:
        if self._line is None:
            self._line = manager_of(self.place, Settings.read(self.place))
        return self._line

    # -- the worker ----------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Lock the manager, clear its queue of what is ours, and open its environment unless it is there.

        Raises `InstrumentBusy`, `InstrumentUnavailable`.
        """
        try:
            self._manager.lock(f"reviewed submission to {self.place.name}: only what was approved is run")
            self._take_back()
            if self._client is not None and self._is_astray():
                self.close()
            super().ensure()
        except ManagerSilent as error:
            raise InstrumentUnavailable(
                self.place.name, f"its queue's manager is silent: {error}", self._how()
            ) from error
        except ManagerRefused as error:
            raise InstrumentBusy(self.place.name, f"its queue's manager refuses: {error}") from error

    def _silent(self, error: ManagerSilent) -> InstrumentUnavailable:
        return InstrumentUnavailable(self.place.name, f"its queue's manager is silent: {error}", self._how())

    def _how(self) -> str:
        return f"start it: athanor instruments queueserver run {self.place.name}"

    def _take_back(self) -> None:
        """Take out of the queue whatever is for our plan: nobody approved that it be run from there."""
        for item in self._manager.call("queue_get")["items"]:
            if item.get("name") == PLAN:
                self._manager.order("queue_item_remove", uid=item["item_uid"])
                log.warning("taken out of the queue of %s: %s", self.place.name, item["item_uid"])
                told = {"instrument": self.place.name, "item": canonical(item)}
                self._book().add_event(None, "queue_item_removed", told)

    def _find(self) -> bool:
        if not super()._find():
            return False
        if not self._is_astray():
            return True
        with contextlib.suppress(Refused, WorkerLost):
            self._call("shutdown", if_idle=True)
        self._see_off(START_S)
        return False

    def _is_astray(self) -> bool:
        """Whether the worker is another manager's, or its manager still believes in a pause that was ended without it.

        One that has something in hand is let finish it.
        """
        status = self._manager.status()
        is_lost = not status["worker_environment_exists"] or status["manager_state"] == "paused"
        try:
            return is_lost and self._call("hello")["state"] in ("idle", "parked")
        except WorkerLost:
            return True

    def _start(self) -> None:
        """Have the manager open its environment, after it has let go of an earlier one, and connect to the worker."""
        place, manager = self.place, self._manager
        self._config.write(place)
        (place.directory / "worker.exit").unlink(missing_ok=True)
        settings = Settings.read(place)
        replace(settings, ledger=self._ledger_url, gate_key=str(self._gate_public)).write(place)
        status = manager.status()
        # One of ours at a time opens it, and nobody else has the key: who has begun to is dead, and may be for ever.
        if status["worker_environment_exists"] or status["manager_state"] == "creating_environment":
            self._destroy()
        manager.await_state({"idle"}, IDLE_S)
        before = self._worker_pid()
        worker: Worker | None = None
        manager.order("environment_open")
        deadline = time.monotonic() + OPEN_S
        while time.monotonic() < deadline:
            status = manager.status()
            if status["manager_state"] == "idle":
                if not status["worker_environment_exists"]:
                    raise self._why_not(1)
                self._client = Client(place.sockets / "worker.sock")
                return
            if worker is None and (pid := self._worker_pid()) not in (None, before):
                worker = Worker(pid)
            if worker is not None and not worker.is_alive():
                # Its manager would wait for it for ever.
                self._destroy()
                raise WorkerLost("it was ended as it started")
            time.sleep(LOOK_S)
        self._destroy()
        raise InstrumentUnavailable(place.name, f"its environment was not open within {OPEN_S:g} s", self._how())

    def _worker_pid(self) -> int | None:
        try:
            return int((self.place.sockets / "worker.pid").read_text())
        except (OSError, ValueError):
            return None

    def _destroy(self) -> None:
        """Have the manager end its environment, whatever state that is in, and wait until it has."""
        self.close()
        with contextlib.suppress(ManagerRefused):  # there is none any more
            self._manager.order("environment_destroy")
        deadline = time.monotonic() + OPEN_S
        while self._manager.status()["worker_environment_exists"] and time.monotonic() < deadline:
            time.sleep(LOOK_S)

    # -- experiments ---------------------------------------------------------------------------------------------------

    def dispatch(self, intent: Intent, epoch: int | None = None) -> None:
        """Submit an approved experiment; returns when the plan in the manager's worker has checked and started it.

        Raises:
            Refused: with its code; nothing was moved, or, where the gate did not sign, nothing was even submitted.
            InstrumentBusy: the manager is doing something else.
            InstrumentUnavailable: the manager does not answer, and nothing was submitted.
            WorkerLost: the worker died, or nobody says what became of the item; the ledger says what is known.
        """
        decision = self._approved(intent)
        if self._client is None:
            self._client = Client(self.place.sockets / "worker.sock")
        item = {
            "item_type": "plan",
            "name": PLAN,
            "kwargs": {
                "item": {
                    "intent": intent.id,
                    "epoch": intent.epoch if epoch is None else epoch,
                    "body": decision.body,
                    "signature": decision.signature,
                }
            },
        }
        try:
            if (state := self._manager.await_state({"idle"}, IDLE_S)) != "idle":
                raise InstrumentBusy(self.place.name, f"its queue's manager is {state}")
        except ManagerSilent as error:
            raise InstrumentUnavailable(
                self.place.name, f"its queue's manager is silent: {error}", self._how()
            ) from error
        self._client.wait(0.0)  # what was said of an earlier turn of this intent is not about this one
        try:
            self._manager.order("queue_item_execute", item=item, user="athanor", user_group=GROUP)
        except ManagerRefused as error:
            raise InstrumentBusy(self.place.name, f"its queue's manager refuses: {error}") from error
        except ManagerSilent as error:
            log.warning("%s: whether the item was taken is seen by what the worker says", error)
        self._await_start(intent)

    def _approved(self, intent: Intent) -> Decision:
        """The decision that stands behind an intent. Raises `Refused` unless the gate has signed it."""
        from athanor.instruments.spool import Ending
        from athanor.instruments.writer import advance
        from athanor.memory.errors import NotFound
        from athanor.memory.signing import load_public, verify

        try:
            ledger = self._book()
        except Exception as error:
            log.exception("the ledger cannot be opened")
            raise Refused("ledger.unavailable", f"{type(error).__name__}: {error}") from error
        try:
            decision = ledger.decision(ledger.intent(intent.id).decision_id)
            state = ledger.experiment(intent.experiment_id).state
        except NotFound as error:
            raise Refused("decision.unknown", f"intent {intent.id} stands on nothing: {error}") from error
        except Exception as error:
            log.exception("the ledger cannot be read")
            raise Refused("ledger.unavailable", f"{type(error).__name__}: {error}") from error
        wrong = None
        if not decision.signature:
            wrong = Refused("decision.unsigned", f"decision {decision.id} is not signed by the gate")
        elif not verify(load_public(self._gate_public), decision.body, decision.signature):
            wrong = Refused("decision.signature", f"decision {decision.id}: its signature is not the gate's")
        if wrong is not None:
            if state == "dispatched" and not self._was_started(intent.id):
                advance(ledger, intent.experiment_id, Ending("refused", str(wrong)))
            raise wrong
        return decision

    def _book(self) -> Ledger:
        from athanor.memory.ledger import Ledger

        if self._ledger is None:
            self._ledger = Ledger.open(self._ledger_url)
        return self._ledger

    def _await_start(self, intent: Intent) -> None:
        assert self._client is not None
        deadline = time.monotonic() + TAKE_S
        while time.monotonic() < deadline:
            for event in self._client.wait(BEAT_S):
                if event.get("event") == "turn" and event.get("intent") == intent.id:
                    self._judge(event)
                    return
        raise WorkerLost(f"nobody has said within {TAKE_S:g} s what became of the queue's item", hung=True)

    def _judge(self, event: dict[str, Any]) -> None:
        if event["ok"]:
            return
        refused = Refused(str(event["code"]), str(event["detail"]))
        if refused.code == "instrument.busy":
            raise InstrumentBusy(self.place.name, refused.detail)
        raise refused

    # -- the end -------------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """End the worker and let the manager close its environment; the manager itself goes on.

        Raises `InstrumentBusy` while something is being run or held by another campaign.
        """
        super().shutdown()
        with contextlib.suppress(ManagerSilent, ManagerRefused):
            if self._manager.status()["worker_environment_exists"]:
                self._manager.order("environment_destroy")

    def close(self) -> None:
        """Let go of the worker, which goes on."""
        super().close()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
