"""Asks the manager of a `bluesky-queueserver`: one JSON request, one answer, over its 0MQ control socket."""

from __future__ import annotations

import time
from typing import Any

ANSWER_S = 5.0
LOOK_S = 0.05


class ManagerSilent(RuntimeError):
    """The manager has not answered: it is dead, was never started, or hangs. What was asked may have been done."""


class ManagerRefused(RuntimeError):
    """The manager answered that it does not do it; its own words."""


class Manager:
    """The line to one manager. Each request has a socket of its own: the next one does not wait for a lost answer.

    Args:
        address: of its control socket.
        key: what it was locked with; sent along with what the lock is about.
    """

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self._key = key

    def status(self) -> dict[str, Any]:
        """What it says of itself. Raises `ManagerSilent`."""
        return self.call("status")

    def call(self, method: str, timeout_s: float = ANSWER_S, **params: Any) -> dict[str, Any]:
        """Ask for something that no lock is about. Raises `ManagerSilent`, `ManagerRefused`."""
        import zmq

        context: Any = zmq.Context.instance()
        with context.socket(zmq.REQ) as line:
            line.setsockopt(zmq.LINGER, 0)
            line.connect(self.address)
            line.send_json({"method": method, "params": params})
            if not line.poll(round(timeout_s * 1000)):
                raise ManagerSilent(f"no answer to {method!r} within {timeout_s:g} s at {self.address}")
            answer: Any = line.recv_json()
        if not isinstance(answer, dict) or answer.get("success") is False:
            raise ManagerRefused(str(answer.get("msg") if isinstance(answer, dict) else answer))
        return answer

    def order(self, method: str, timeout_s: float = ANSWER_S, **params: Any) -> dict[str, Any]:
        """Ask for something that the lock is about. Raises `ManagerSilent`, `ManagerRefused`."""
        return self.call(method, timeout_s, lock_key=self._key, **params)

    def lock(self, note: str) -> None:
        """Let nobody else change the queue or the environment. Raises `ManagerRefused` when somebody else has."""
        held = self.status()["lock"]
        if not (held["environment"] and held["queue"]):
            self.order("lock", environment=True, queue=True, user="athanor", note=note)

    def await_state(self, states: set[str], timeout_s: float) -> str:
        """Wait until it is in one of these states; the state it is in then, or when the time has passed."""
        deadline = time.monotonic() + timeout_s
        while (state := str(self.status()["manager_state"])) not in states and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return state
