"""The planner in a process of its own, so that a long fit never holds the loop, a stop or a pause.

`python -m athanor.agents.planning` answers one JSON line per request on standard input. Every request carries
everything the answer depends on, so a fresh process gives the same answer as an old one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from athanor.instruments.detached import without_model

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


POLITE = 15
"""How much a planner gives way to whoever moves, stops or watches an instrument on the same computer."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux shares out the processor by sessions, niceness counts only within one: a session has its own."""

TRIES = 20


class PlanningFailed(RuntimeError):
    """The planner could not answer; the message says why."""


class NothingLeft(RuntimeError):
    """No candidate is left to suggest; the message says what became of them."""


class PlanningCancelled(RuntimeError):
    """The request was abandoned because the campaign is to pause or stop."""


class PlannerProcess:
    """A planner that answers requests from its own process, started on first use and restarted once if it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._coming: str | None = None
        """The request that was prepared and whose answer was not read yet."""
        self._ready: tuple[str, str] | None = None
        """A request that was prepared, and its answer."""

    def start(self) -> None:
        """Start the process now, so that its imports overlap with other start-up work."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "athanor.agents.planning"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C in the terminal is for the campaign, which then ends us in order
                env={**without_model(), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )

    def ask(self, request: dict[str, Any], should_cancel: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            PlanningFailed: the planner refused, or died twice.
            NothingLeft: it has nothing more to suggest.
            PlanningCancelled: `should_cancel` turned true while waiting; the process is ended.
        """
        text = json.dumps(request)
        self._gather(should_cancel)
        if self._ready is not None and self._ready[0] == text:
            (_, line), self._ready = self._ready, None
            return self._answered(line)
        for attempt in (1, 2):
            process = self._running()
            try:
                self._send(process, text)
            except BrokenPipeError:
                self.close()
                if attempt == 2:
                    raise PlanningFailed("the planner process ended twice without an answer") from None
                continue
            if line := self._read(process, should_cancel):
                return self._answered(line)
            self.close()
        raise PlanningFailed("the planner process ended twice without an answer")

    def prepare(self, request: dict[str, Any]) -> None:
        """Begin with a request that is likely to be made, and return at once; one at a time.

        Nothing depends on it but the time that `ask` takes: for another request the answer is as if this had not been.
        """
        text = json.dumps(request)
        if self._coming is not None or (self._ready is not None and self._ready[0] == text):
            return
        try:
            self._send(self._running(), text)
        except BrokenPipeError:
            self.close()
            return
        self._coming = text

    def _gather(self, should_cancel: Callable[[], bool]) -> None:
        """Take the answer to what was prepared, which comes before any other."""
        coming, self._coming = self._coming, None
        if coming is None or self._process is None:
            return
        if line := self._read(self._process, should_cancel):
            self._ready = coming, line
        else:
            self.close()

    def _running(self) -> subprocess.Popen[str]:
        self.start()
        assert self._process is not None
        return self._process

    @staticmethod
    def _send(process: subprocess.Popen[str], text: str) -> None:
        assert process.stdin is not None
        process.stdin.write(text + "\n")
        process.stdin.flush()

    @staticmethod
    def _answered(line: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PlanningFailed(str(answer["error"]))
        if "exhausted" in answer:
            raise NothingLeft(str(answer["exhausted"]))
        return answer

    def _read(self, process: subprocess.Popen[str], should_cancel: Callable[[], bool]) -> str:
        assert process.stdout is not None
        stream: IO[str] = process.stdout
        box: list[str] = []
        reader = threading.Thread(target=lambda: box.append(stream.readline()), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(0.1)
            if reader.is_alive() and should_cancel():
                self.close()
                raise PlanningCancelled("planning was abandoned")
        return box[0] if box else ""

    def close(self) -> None:
        """End the process; a later request starts a new one."""
        process, self._process, self._coming = self._process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: `suggest` (a candidate), `effects` (what the surrogate learned) or `best`."""
    from athanor.planners.problem import Problem
    from athanor.planners.protocol import Observation

    problem = Problem.model_validate(request["problem"])
    observations = [Observation.model_validate(item) for item in request["observations"]]
    kind = "bayesian" if request["op"] in ("effects", "best") else request["planner"]
    planner = _planner(kind, problem, request)
    planner.ingest(observations)
    if request["op"] == "suggest":
        from athanor.planners.pool import PoolExhausted

        try:
            [candidate] = planner.suggest(1, number=request["number"])
        except PoolExhausted as error:
            return {"exhausted": str(error)}
        return {"candidate": candidate.model_dump(mode="json")}
    if request["op"] == "best":
        return {"best": [item.model_dump(mode="json") for item in planner.best()]}
    if request["op"] == "effects":
        from athanor.planners import diagnostics

        return {"effects": diagnostics.effects(planner).model_dump(mode="json")}
    raise ValueError(f"unknown request {request['op']!r}")


def _planner(kind: str | dict[str, Any], problem: Problem, request: dict[str, Any]) -> Any:
    """Build a planner, of a design from its options; torch is loaded for the Bayesian one alone.

    A pool is read once, and kept as long as its file is the same.
    """
    pool = None
    if request["op"] == "suggest" and request.get("pool") is not None:
        from athanor.agents.pool_spec import PoolSpec
        from athanor.agents.pools import read_pool

        pool = read_pool(PoolSpec.model_validate(request["pool"]), problem)
    if isinstance(kind, dict):
        from athanor.planners.design_options import DesignOptions
        from athanor.planners.designs import DesignPlanner

        return DesignPlanner(problem, seed=request["seed"], options=DesignOptions.model_validate(kind))
    if kind == "sobol":
        from athanor.planners.sobol import SobolPlanner

        return SobolPlanner(problem, seed=request["seed"], pool=pool)
    if kind == "random":
        from athanor.planners.random import RandomPlanner

        return RandomPlanner(problem, seed=request["seed"], pool=pool)
    from athanor.planners.advice import Advice
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.source import Source

    advice = [Advice.model_validate(item) for item in request.get("advice", [])]
    sources = [Source.model_validate(item) for item in request.get("sources", [])]
    return BayesianPlanner(
        problem, seed=request["seed"], advice=advice, progress=request.get("progress"), sources=sources, pool=pool
    )


def give_way() -> None:
    """Leave the processor to others, in whichever session they are. This process must lead its own."""
    os.nice(POLITE)
    with contextlib.suppress(OSError):  # another system, or one that shares by other groups
        for _ in range(TRIES):
            try:
                AUTOGROUP.write_text(str(POLITE))
                return
            except BlockingIOError:  # the kernel lets those without privileges say so ten times a second, all together
                time.sleep(0.1)


def main() -> None:
    """Serve requests until standard input closes."""
    give_way()
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the process boundary: every failure travels as an answer
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # whoever asked was killed: end without a word
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return


if __name__ == "__main__":
    main()
