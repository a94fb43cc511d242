"""The local executor: starts or finds the worker of one instrument, hands intents over, and sees it die.

The campaign's end of the line. It never moves anything itself and nothing depends on it: when its process dies, the
worker finishes what it has in hand, and the next executor finds it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.instruments import detached
from athanor.instruments.config import Config, take_lock
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.profile import Profile
from athanor.instruments.wire import BEAT_S, Client, Message, WorkerLost
from athanor.instruments.words import FINISHED, Refused
from athanor.memory.places import InstrumentPlace

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Intent

__all__ = ["InstrumentBusy", "LocalExecutor", "Refused", "WorkerLost"]

START_S = 60.0
"""Seconds that a worker may take to start on a loaded machine."""
END_S = 20.0
RECOVERY_S = 15.0
LOCK_S = 0.5
"""Seconds for a dying process's lock to be let go after its socket was closed."""


class InstrumentBusy(InstrumentUnavailable):
    """Another campaign, or another configuration, is using the instrument."""

    def __init__(self, instrument: str, detail: str) -> None:
        super().__init__(instrument, detail, "wait until it is free, or end what uses it")


class LocalExecutor:
    """Runs experiments on the worker of one instrument on this computer.

    Args:
        profile: the instrument.
        options: the laboratory's options.
        place: where the instrument keeps its things.
        ledger_url: the ledger from which the worker reads what it may run.
        gate_public: file of the public key that decisions must be signed for.
        campaign: holds the instrument for this campaign from `ensure` on; without it, from the first dispatch on.

    The hold ends with `close`, or with the process.
    """

    def __init__(
        self,
        profile: Profile,
        options: Mapping[str, Any],
        place: InstrumentPlace,
        ledger_url: str,
        gate_public: Path,
        campaign: str | None = None,
    ) -> None:
        self.profile = profile
        self.place = place
        self._config = Config(profile, dict(options))
        self._ledger_url = ledger_url
        self._gate_public = gate_public.absolute()
        self._campaign = campaign
        self._client: Client | None = None

    # -- the worker ----------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Start the worker, or find the one that runs; returns when it can take experiments.

        A worker under another configuration (profile, options, ledger, key) is ended first when it is idle.

        Raises:
            InstrumentBusy: it is running something, or held by another campaign.
            InstrumentUnavailable: it does not start; the message says why.
        """
        started, silent_until, said = 0, time.monotonic() + START_S, "it leaves"
        while started < 4:
            started += 1
            try:
                if self._is_ready():
                    return
                with self._starting():
                    if not self._find():
                        self._start()
            except WorkerLost as error:  # it ended between two steps: from the beginning, unless it says why
                self.close()
                said = error.detail
                if error.hung and time.monotonic() < silent_until:
                    started -= 1  # it has not ended: on a busy machine one that starts may be silent for a while
                    continue
                if (self.place.directory / "worker.exit").exists() and self._wait_for_end(LOCK_S):
                    raise self._why_not(1) from None
        raise InstrumentUnavailable(
            self.place.name, f"its worker ends as soon as it has started ({said})", self._look()
        )

    def _is_ready(self) -> bool:
        """Wait for a found worker to be connected; False when there is none that suits."""
        if self._client is None and not self._find():
            return False
        deadline = time.monotonic() + START_S
        recovery_by = time.monotonic() + RECOVERY_S
        while True:
            facts = self._call("hello", campaign=self._campaign)
            if facts["config"] != self._digest():
                self.close()
                return False
            if facts["state"] in ("lost", "leaving"):
                self._see_off(END_S)
                return False
            is_connected = facts["state"] != "starting"
            # Without a recovery process it refuses to dispatch, and says so: that is no reason to wait for ever.
            if is_connected and (facts["recovery"] is None or time.monotonic() > recovery_by):
                return True
            if time.monotonic() > deadline:
                raise InstrumentUnavailable(self.place.name, f"not connected within {START_S:g} s", self._look())
            assert self._client is not None
            self._client.wait(BEAT_S)

    def _find(self) -> bool:
        """Connect to the worker that runs, if it is the right one; end one that is not and is idle."""
        self.close()
        try:
            self._client = Client(self.place.sockets / "worker.sock")
            facts = self._call("hello")
        except WorkerLost as error:
            self.close()
            if error.hung:
                detail = f"its worker does not answer: {error}"
                raise InstrumentUnavailable(self.place.name, detail, "end it with `athanor stop-all`") from error
            return False
        if facts["config"] == self._digest():
            return True
        try:
            self._client.call("shutdown", if_idle=True)
        except Refused as error:
            self.close()
            detail = f"its worker runs under another configuration: {error.detail}"
            raise InstrumentBusy(self.place.name, detail) from error
        self.close()
        self._wait_for_end(END_S)
        return False

    def _call(self, verb: str, **fields: Any) -> Message:
        assert self._client is not None
        try:
            return self._client.call(verb, **fields)
        except Refused as error:
            if error.code == "instrument.busy":
                raise InstrumentBusy(self.place.name, error.detail) from error
            raise

    def _digest(self) -> str:
        return self._config.digest(self._ledger_url, self._gate_public)

    def _look(self) -> str:
        return f"look into {self.place.directory / 'worker.log'}"

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One at a time starts a worker."""
        self.place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.place.directory / "worker.start").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        """Start a worker, detached, and connect to it."""
        place = self.place
        self._config.write(place)
        (place.directory / "worker.exit").unlink(missing_ok=True)
        command = [sys.executable, "-m", "athanor.instruments.worker", "--place", str(place.directory)]
        command += ["--ledger", self._ledger_url, "--gate-key", str(self._gate_public)]
        with (place.directory / "worker.log").open("ab") as output:
            process = detached.start(command, output)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(WorkerLost):
                self._client = Client(place.sockets / "worker.sock")
                return
            if process.poll() is not None:
                raise self._why_not(process.returncode)
            time.sleep(0.02)
        raise InstrumentUnavailable(place.name, f"its worker has not answered within {START_S:g} s", self._look())

    def _why_not(self, status: int) -> InstrumentUnavailable:
        try:
            note = json.loads((self.place.directory / "worker.exit").read_text())
        except (OSError, ValueError):
            return InstrumentUnavailable(self.place.name, f"its worker ended with status {status}", self._look())
        return InstrumentUnavailable(self.place.name, note["detail"], note["remedy"])

    def _see_off(self, timeout_s: float) -> None:
        """Wait until a worker that leaves is gone: its line first, as its lock is gone where its folder was deleted."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(WorkerLost):
            while self._client is not None and time.monotonic() < deadline:
                self._client.wait(BEAT_S)
        self.close()
        self._wait_for_end(deadline - time.monotonic())

    def _wait_for_end(self, timeout_s: float) -> bool:
        """Wait until no worker holds the instrument's lock; whether that came in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            handle = take_lock(self.place)
            if handle is not None:
                os.close(handle)
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    # -- experiments ---------------------------------------------------------------------------------------------------

    def dispatch(self, intent: Intent, epoch: int | None = None) -> None:
        """Hand an intent over; returns when the worker has checked and started it.

        `epoch` is that of the instrument's lease as the caller holds it now, by default that of the intent.

        Raises:
            Refused: with its code; nothing was moved. `final` says whether the experiment itself was refused.
            InstrumentBusy: another campaign is using the instrument.
            WorkerLost: the worker died or hangs; the ledger says what is known.
        """
        if self._client is None:
            self._client = Client(self.place.sockets / "worker.sock")
        self._call("dispatch", timeout_s=30.0, intent=intent.id, epoch=intent.epoch if epoch is None else epoch)

    def wait(self, experiment_id: str, ledger: Ledger, on_event: Callable[[Message], None] | None = None) -> None:
        """Wait until the experiment has ended, or is in doubt, in the ledger; `on_event` gets the worker's events.

        When the worker is dead, what it has spooled is moved into the ledger first.

        Raises:
            WorkerLost: the worker died before the end was known (the experiment is then in doubt, or, if it was
                provably never started, still dispatched), or it hangs (then its state is left as it is).
        """
        while ledger.experiment(experiment_id).state not in FINISHED:
            try:
                if self._client is None:
                    self._client = Client(self.place.sockets / "worker.sock")
                self._follow(experiment_id, on_event)
            except WorkerLost as error:
                self.close()
                self._after_loss(experiment_id, ledger, error)

    def _follow(self, experiment_id: str, on_event: Callable[[Message], None] | None) -> None:
        """Return when it is worth looking into the ledger again."""
        assert self._client is not None
        until = time.monotonic() + 2 * BEAT_S
        while time.monotonic() < until:
            for event in self._client.wait(BEAT_S):
                if on_event is not None:
                    on_event(event)
                if (why := event.get("unstored", {}).get(experiment_id)) is not None:
                    # Waiting would not help: it is in the spool, for the next worker or a person.
                    raise WorkerLost(f"the ledger has refused the documents of {experiment_id}: {why}", hung=True)
                if event.get("event") == "stored" and event.get("experiment") == experiment_id:
                    until = 0.0

    def _after_loss(self, experiment_id: str, ledger: Ledger, error: WorkerLost) -> None:
        if error.hung:
            raise error
        drained = self._drain(ledger)
        if drained is None:
            return  # it lives and only the line broke: connect again
        state = ledger.experiment(experiment_id).state
        if state == "in_doubt" and drained.get(experiment_id) == "in_doubt":
            raise WorkerLost(f"the worker died while {experiment_id} was being run: its outcome is unknown") from error
        if state in FINISHED:
            return
        if state == "dispatched":
            intent = ledger.intent_for(experiment_id)
            if intent is None or not self._was_started(intent.id):
                raise WorkerLost(f"the worker died before {experiment_id} was started: nothing moved") from error
        self._doubt(ledger, experiment_id)
        raise WorkerLost(f"the worker died while {experiment_id} was being run: its outcome is unknown") from error

    def _was_started(self, intent: str) -> bool:
        from athanor.instruments.spool import was_started

        return was_started(self.place, intent)

    def _doubt(self, ledger: Ledger, experiment_id: str) -> None:
        from athanor.instruments.spool import Ending
        from athanor.instruments.writer import DIED, advance

        advance(ledger, experiment_id, Ending("in_doubt", DIED))

    def _drain(self, ledger: Ledger) -> dict[str, str] | None:
        """Move a dead worker's spool into the ledger; what became of each experiment. None when a worker lives."""
        from athanor.instruments.reconcile import drain_dead

        return drain_dead(ledger, self.place)

    def status(self) -> Message | None:
        """What the worker says of itself, None when there is none. Raises `WorkerLost` when it hangs."""
        try:
            if self._client is None:
                self._client = Client(self.place.sockets / "worker.sock")
            return self._client.call("hello", timeout_s=2.0)
        except WorkerLost as error:
            self.close()
            if error.hung:
                raise
            return None

    def abort(self, reason: str) -> bool:
        """End the run in hand; whether there was one. Raises `WorkerLost`."""
        return bool(self._command("abort", reason=reason)["running"])

    def pause(self) -> None:
        """Pause the run in hand; its axes are stopped. Raises `Refused`, `WorkerLost`."""
        self._command("pause")

    def resume(self) -> None:
        """Go on with a paused run. Raises `Refused`, `WorkerLost`."""
        self._command("resume")

    def _command(self, verb: str, **fields: Any) -> Message:
        if self._client is None:
            self._client = Client(self.place.sockets / "worker.sock")
        return self._client.call(verb, **fields)

    def reconcile(self, ledger: Ledger) -> list[str]:
        """Bring the ledger in line with what this instrument's workers, dead or alive, have done; what was found.

        Every dispatched or running experiment of this instrument is looked at: a living worker that owns it goes on;
        what a dead one has spooled is stored; what was never started stays dispatched and may be dispatched again;
        what was started and has no end is in doubt.
        """
        from athanor.instruments.reconcile import reconcile

        return [str(found) for found in reconcile(ledger, self.place)]

    def shutdown(self) -> None:
        """End the worker, its recovery process and a simulated laboratory's controller.

        Raises `InstrumentBusy` while something is being run or held by another campaign.
        """
        try:
            if self._client is None:
                self._client = Client(self.place.sockets / "worker.sock")
            self._call("shutdown", if_idle=True)
        except WorkerLost:
            pass
        self.close()
        if not self._wait_for_end(END_S):
            raise InstrumentUnavailable(self.place.name, "its worker does not end", self._look())
        detached.reap()

    def close(self) -> None:
        """Let go of the worker, which goes on."""
        if self._client is not None:
            self._client.close()
            self._client = None
