"""The measuring plan on a real RunEngine, with devices of both Ophyd families."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask, FailedStatus

from athanor.instruments.laboratory import InstrumentLost, ProcessFailed
from athanor.instruments.limits import Limit, LimitedAxis, LimitViolation
from athanor.instruments.plans import MoveFailed, ReadingFailed, RunStopped, describe, measure
from tests.engines import run_engine


@pytest.fixture(scope="module")
def engine() -> Iterator[RunEngine]:
    with run_engine(during_task=DuringTask(), call_returns_result=True) as made:
        yield made


class Axis:
    """Moves at once, or never, or to the wrong place; asynchronous."""

    parent = None

    def __init__(self, name: str, position: float = 0.0, **behaviour: Any) -> None:
        self.name = name
        self.position = position
        self.offset: float = behaviour.get("offset", 0.0)
        self.never: bool = behaviour.get("never", False)
        self.error: Exception | None = behaviour.get("error")
        self.after: float = behaviour.get("after", 0.0)
        self.stops = 0

    def set(self, value: float) -> Any:
        from ophyd_async.core import AsyncStatus

        async def move() -> None:
            if self.error is not None:
                await asyncio.sleep(self.after)
                raise self.error
            if self.never:
                await asyncio.Event().wait()
            self.position = value + self.offset

        return AsyncStatus(move())

    async def stop(self, success: bool = True) -> None:
        self.stops += 1

    async def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.position, "timestamp": 0.0}}

    async def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}


class Detector(Axis):
    """Counts its triggers."""

    def __init__(self, name: str, **behaviour: Any) -> None:
        super().__init__(name, **behaviour)
        self.triggers = 0

    def trigger(self) -> Any:
        self.triggers += 1
        return super().set(self.triggers)

    set = None  # type: ignore[assignment]


Documents = list[tuple[str, dict[str, Any]]]
Run = Callable[..., Documents]


@pytest.fixture
def run(engine: RunEngine) -> Run:
    def call(
        axes: Mapping[str, Any], detector: Any, values: Mapping[str, Any], replicates: int = 1, **options: Any
    ) -> Documents:
        documents: Documents = []
        token = engine.subscribe(lambda name, document: documents.append((name, document)))
        limited = {name: LimitedAxis(axis, Limit(-100, 100)) for name, axis in axes.items()}
        try:
            engine(measure(limited, [detector], values, replicates, 0.0, {"intent": "i"}, **options))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            documents.append(("raised", {"error": error}))
        finally:
            engine.unsubscribe(token)
        return documents

    return call


def of(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [document for kind, document in documents if kind == name]


def test_one_run_with_its_metadata_and_replicates(run: Run) -> None:
    x, y, detector = Axis("x"), Axis("y", 3.0), Detector("d")
    documents = run({"x": x, "y": y}, detector, {"x": 1.5}, replicates=3)
    [start], [stop] = of(documents, "start"), of(documents, "stop")
    assert (start["intent"], start["plan_name"], start["replicates"]) == ("i", "measure", 3)
    assert (stop["exit_status"], stop["num_events"]) == ("success", {"primary": 3})
    assert [event["data"] for event in of(documents, "event")] == [{"x": 1.5, "y": 3.0, "d": n} for n in (1, 2, 3)]
    assert not of(documents, "raised")


def test_classic_ophyd_devices(run: Run) -> None:
    from ophyd.sim import SynAxis, SynSignal

    axis = SynAxis(name="x")
    detector = SynSignal(func=lambda: 2 * axis.position, name="d")
    documents = run({"x": axis}, detector, {"x": 4.0}, replicates=2)
    assert [event["data"]["d"] for event in of(documents, "event")] == [8.0, 8.0]
    assert of(documents, "stop")[0]["exit_status"] == "success"


@pytest.mark.parametrize(
    ("axis", "options", "reason"),
    [
        (Axis("x", offset=0.5), {}, "MoveFailed: x was sent to 1.0 and stands at 1.5"),
        (Axis("x", never=True), {"move_timeout": 0.05}, "MoveFailed: not there within 0.05 s: x was sent to 1.0 and"),
        (Axis("x", error=InstrumentLost("gone")), {}, "instrument lost: gone"),
        (Axis("x", error=ProcessFailed("flooded")), {}, "process failed: flooded"),
        (Axis("x", error=ValueError("odd")), {}, "ValueError: odd"),
    ],
)
def test_why_a_move_failed_is_in_the_stop_document(run: Run, axis: Axis, options: Any, reason: str) -> None:
    documents = run({"x": axis}, Detector("d"), {"x": 1.0}, **options)
    [stop] = of(documents, "stop")
    assert stop["exit_status"] == "fail"
    assert stop["reason"].startswith(reason)
    assert of(documents, "event") == []
    assert axis.stops > 0, "what was set is stopped"
    assert describe(of(documents, "raised")[0]["error"]).startswith(reason)


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        (Axis("x", error=RuntimeError("halted")), "aborted: Stop All: smoke"),
        (Axis("x", offset=0.5), "aborted: Stop All: smoke"),
        (Axis("x", error=ProcessFailed("flooded")), "process failed: flooded"),
        (Axis("x", error=InstrumentLost("gone")), "instrument lost: gone"),
    ],
)
def test_a_halt_is_no_fault_of_the_axis_though_its_reason_comes_later(run: Run, axis: Axis, reason: str) -> None:
    asked = 0

    def stopped() -> str | None:
        nonlocal asked
        asked += 1
        return "Stop All: smoke" if asked > 3 else None

    documents = run({"x": axis}, Detector("d"), {"x": 1.0}, stopped=stopped)
    [stop] = of(documents, "stop")
    assert (stop["exit_status"], stop["reason"]) == ("abort" if "Stop All" in reason else "fail", reason)


@pytest.mark.parametrize("is_stopped", [True, False])
def test_what_fails_after_the_first_hides_neither_the_stop_nor_the_first(run: Run, is_stopped: bool) -> None:
    """A stop halts all axes, each a moment after the other, and then says why."""
    first, second = Axis("x", error=RuntimeError("x halted")), Axis("y", error=RuntimeError("y halted"), after=0.05)
    moving, asked = Axis("z", never=True), list[int]()

    def stopped() -> str | None:
        asked.append(moving.stops)
        return "Stop All: smoke" if is_stopped and len(asked) > 20 else None

    axes = {"x": first, "y": second, "z": moving}
    documents = run(axes, Detector("d"), {"x": 1.0, "y": 1.0, "z": 1.0}, stopped=stopped)
    [stop] = of(documents, "stop")
    expected = ("abort", "aborted: Stop All: smoke") if is_stopped else ("fail", "RuntimeError: x halted")
    assert (stop["exit_status"], stop["reason"]) == expected
    assert asked[0] == 1, "what still moves is halted before the reason is waited for"


def test_within_its_tolerance_an_axis_has_arrived(run: Run) -> None:
    documents = run({"x": Axis("x", offset=0.5)}, Detector("d"), {"x": 1.0}, tolerances={"x": 0.5})
    assert of(documents, "stop")[0]["exit_status"] == "success"


@pytest.mark.parametrize(
    ("detector", "reason"),
    [
        (Detector("d", never=True), "ReadingFailed: no reading from d within 0.05 s"),
        (Detector("d", error=ProcessFailed("no film")), "process failed: no film"),
    ],
)
def test_why_a_reading_failed_is_in_the_stop_document(run: Run, detector: Detector, reason: str) -> None:
    documents = run({"x": Axis("x")}, detector, {"x": 1.0}, read_timeout=0.05)
    assert of(documents, "stop")[0]["reason"].startswith(reason)


def test_outside_the_limits_the_run_fails_and_nothing_is_set(run: Run) -> None:
    axis = Axis("x")
    documents = run({"x": axis}, Detector("d"), {"x": 100.5})
    assert "limit.above" in of(documents, "stop")[0]["reason"]
    assert isinstance(of(documents, "raised")[0]["error"], LimitViolation)
    assert axis.position == 0.0


def test_one_failing_axis_among_slow_ones_is_the_reason(run: Run) -> None:
    axes = {"x": Axis("x", never=True), "y": Axis("y", error=InstrumentLost("cable"))}
    documents = run(axes, Detector("d"), {"x": 1.0, "y": 1.0}, move_timeout=5.0)
    assert of(documents, "stop")[0]["reason"] == "instrument lost: cable"


def test_causes_are_found_behind_wrappers() -> None:
    def wrapped(cause: Exception) -> Exception:
        try:
            try:
                raise cause
            except Exception as error:
                raise FailedStatus("status") from error
        except FailedStatus as error:
            return error

    assert describe(wrapped(KeyError("k"))) == "KeyError: 'k'"
    assert describe(wrapped(RunStopped("enough"))) == "aborted: enough"
    assert describe(wrapped(MoveFailed("stuck"))) == "MoveFailed: stuck"
    assert describe(ReadingFailed("late")) == "ReadingFailed: late"
