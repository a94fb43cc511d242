"""A pause, or an abort, at every message of the measuring plan, on controllers that run in processes of their own.

The plan is the real one, on the real RunEngine with the devices of both Ophyd families; only what the worker's socket
would ask for is asked for by a hook, so that it comes at a known message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import Rig, make_rig_fixture, until  # noqa: F401 - fixture

from athanor.instruments.engine import Engine, Job
from athanor.instruments.laboratory import RunContext, load
from athanor.instruments.profile import Profile
from athanor.instruments.spool import Backlog, Ending, Header, RunSpool
from athanor.memory.places import InstrumentPlace

REPLICATES = 2
OWN = ("uid", "run_start", "descriptor", "time", "timestamps", "timestamp", "scan_id", "intent")
"""What differs between any two runs: identities and times."""


def plain(document: Any) -> Any:
    """A document without identities and times."""
    if isinstance(document, dict):
        return {key: plain(value) for key, value in document.items() if key not in OWN}
    return [plain(value) for value in document] if isinstance(document, list) else document


class Bench:
    """The RunEngine of one instrument, and what a hook does to it at message `at` of the next run."""

    def __init__(self, name: str, home: Path, time_scale: float) -> None:
        self.laboratory: Any = load(name)
        self.place = InstrumentPlace.of(name, home)
        self.options = {"time_scale": time_scale, "noise": 0.05}
        self.laboratory.start(self.place, self.options)
        found: Profile = self.laboratory.profile()
        axes = {key: axis.model_copy(update={"settle_s": 0.01}) for key, axis in found.axes.items()}
        self.profile = found.model_copy(update={"axes": axes})
        self.states: list[str] = []
        self.engine = Engine(self.profile, self.states.append, lambda: None)
        self.devices = self.laboratory.connect(self.place, self.options)
        self.engine.attach(self.devices)
        self.values = self.laboratory.reference().values
        self.folder = home
        self.count = 0
        self.engine.RE.msg_hook = self._hook
        self.messages: list[str] = []
        self.act: Callable[[int], None] = lambda index: None

    def _hook(self, message: Any) -> None:
        self.messages.append(message.command)
        self.act(len(self.messages) - 1)

    def start(self, act: Callable[[int], None]) -> tuple[Job, list[tuple[str, Any]], list[Ending]]:
        self.count += 1
        self.messages, self.act = [], act
        self.states.clear()
        name = f"intent-{self.count}"
        documents: list[tuple[str, Any]] = []
        endings: list[Ending] = []
        job = Job(
            context=RunContext(name, "camp.1", 1, 1, REPLICATES),
            values=self.values,
            metadata={"intent": name, "values": dict(self.values)},
            spool=RunSpool(
                self.folder / f"{name}.jsonl",
                Header(name, "camp.1", "camp", "decision", self.profile.name, True),
                Backlog(),
            ),
            on_document=lambda _job, kind, body, _size: documents.append((kind, plain(json.loads(body)))),
            on_end=lambda _job, ending: endings.append(ending),
        )
        self.engine.start(job, self.engine.count_aborts())
        return job, documents, endings

    def finish(self, job: Job) -> None:
        assert job.over.wait(30), self.messages
        until(lambda: self.engine.state == "idle")

    def triggers(self) -> int:
        """How often the controller itself says that it measured."""
        lines = (self.place.directory / "controller.jsonl").read_text().splitlines()
        return sum(json.loads(line)["kind"] == "trigger" for line in lines)

    def undisturbed(self) -> tuple[list[tuple[str, Any]], list[str], int]:
        before = self.triggers()
        job, documents, endings = self.start(lambda index: None)
        self.finish(job)
        assert endings == [Ending("completed", None)]
        return documents, list(self.messages), self.triggers() - before

    def close(self) -> None:
        self.engine.abort("the test is over")
        until(lambda: self.engine.state == "idle")
        self.devices.close()
        runner = self.engine.RE
        runner.loop.call_soon_threadsafe(runner.loop.stop)
        runner._th.join(5)
        runner.loop.close()
        self.laboratory.shutdown(self.place)


@pytest.fixture(
    params=[("snar-flow", 0.0), ("snar-flow", 0.002), ("ald-window", 0.0)], ids=lambda it: f"{it[0]}-{it[1]}"
)
def bench(request: pytest.FixtureRequest, home: Path) -> Iterator[Bench]:
    made = Bench(*request.param[:1], home, request.param[1])
    try:
        yield made
    finally:
        made.close()


def test_a_pause_at_any_message_leaves_the_documents_as_they_are(bench: Bench) -> None:
    documents, messages, triggered = bench.undisturbed()
    assert [kind for kind, _ in documents] == ["start", "descriptor", "event", "event", "stop"]
    paused = 0
    for at in range(len(messages)):

        def act(index: int, at: int = at) -> None:
            if index == at:
                bench.engine.pause()

        before = bench.triggers()
        job, found, endings = bench.start(act)
        until(lambda: "paused" in bench.states or job.over.is_set())  # noqa: B023
        if "paused" in bench.states:
            paused += 1
            assert not bench.devices.is_moving(), (at, messages[at])
            bench.engine.resume()
        bench.finish(job)
        assert endings == [Ending("completed", None)], (at, messages[at])
        assert found == documents, (at, messages[at])
        assert bench.triggers() - before == triggered, (at, messages[at], "each reading is taken once")
    # Only where nothing is left to be done does a run end instead of pausing.
    last = max(index for index, command in enumerate(messages) if command == "checkpoint")
    assert paused >= last, (paused, messages)


def test_pauses_at_every_message_of_one_run(bench: Bench) -> None:
    """Somebody who asks for a pause again and again gets each, and the run still measures what it would have."""
    documents, messages, triggered = bench.undisturbed()
    before = bench.triggers()

    def act(index: int) -> None:
        if index % 3 == 0 and index < len(messages):
            bench.engine.pause()

    job, found, endings = bench.start(act)
    resumed = 0
    while not job.over.is_set():
        until(lambda: bench.states.count("paused") > resumed or job.over.is_set())  # noqa: B023
        if bench.states.count("paused") > resumed:
            resumed += 1
            bench.engine.resume()
    bench.finish(job)
    assert endings == [Ending("completed", None)] and found == documents
    assert resumed > REPLICATES and bench.triggers() - before == triggered


def test_an_abort_at_any_message_ends_the_run_and_stops_the_axes(bench: Bench) -> None:
    _, messages, _ = bench.undisturbed()
    last_set = max(index for index, command in enumerate(messages) if command == "set")
    for at in range(0, len(messages), 2):

        def act(index: int, at: int = at) -> None:
            if index == at:
                bench.engine.abort("enough")

        job, found, endings = bench.start(act)
        bench.finish(job)
        [ending] = endings
        kinds = [kind for kind, _ in found]
        if ending.state == "completed":  # the last reading was faster than the abort
            assert at > last_set and kinds.count("event") == REPLICATES, (at, messages[at])
        else:
            assert ending.state in ("aborted", "refused"), (at, messages[at], ending)
            assert "enough" in (ending.reason or ""), (at, messages[at], ending)
        assert not bench.devices.is_moving()
        assert kinds.count("stop") == kinds.count("start")
