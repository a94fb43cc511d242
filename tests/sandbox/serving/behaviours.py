"""What every front end does, whatever its protocol: tests to inherit, over the wired devices of the printed profile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from bluesky.run_engine import RunEngine, call_in_bluesky_event_loop
from bluesky.utils import DuringTask, FailedStatus

from athanor.instruments.laboratory import Devices, InstrumentLost, load
from athanor.instruments.plans import MoveFailed, describe, measure
from athanor.instruments.protocols.client import SignalError
from athanor.instruments.protocols.wired import connect_profile
from athanor.instruments.words import LOST
from tests.sandbox.conftest import eventually
from tests.sandbox.serving.served import Served, run

Serve = Callable[..., Served]
VALUES: dict[str, float] = {
    "residence_time": 1.234567890123456,
    "equivalents": 3.3,
    "concentration": 0.1 + 0.2,
    "temperature": 1 / 3 + 77,
}
ELSEWHERE = {**VALUES, "temperature": 65.0}


class Bench:
    """One client of a served laboratory."""

    def __init__(self, served: Served, engine: RunEngine) -> None:
        self.engine = engine
        self.devices: Devices = connect_profile(served.profile())

    def run(self, ordinal: int, values: dict[str, Any] | None = None, replicates: int = 1) -> list[dict[str, Any]]:
        """The readings of one run. Raises what made it fail."""
        events: list[dict[str, Any]] = []
        assert self.devices.prepare_run is not None
        self.devices.prepare_run(run(ordinal, replicates=replicates))
        plan = measure(self.devices.axes, self.devices.detectors, values or VALUES, replicates, 0.0, {})
        self.engine(plan, lambda name, document: events.append(document["data"]) if name == "event" else None)
        return events

    def reaches(self) -> bool:
        """Whether the instrument answers."""
        try:
            self.devices.is_moving()
        except SignalError:
            return False
        return True

    def failure(self, ordinal: int, values: dict[str, Any] | None = None) -> str:
        """Why a run failed."""
        with pytest.raises((FailedStatus, MoveFailed, InstrumentLost, RuntimeError, TimeoutError)) as caught:
            self.run(ordinal, values)
        return describe(caught.value)


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)


@pytest.fixture
def serve(home: Path, tmp_path: Path) -> Iterator[Serve]:
    every: list[Served] = []

    def start(protocol: str, laboratory: str = "snar-flow", *options: str) -> Served:
        every.append(Served(tmp_path / str(len(every)), protocol, laboratory, *options))
        return every[-1]

    yield start
    for served in every:
        served.kill()


@pytest.fixture
def connect(engine: RunEngine) -> Iterator[Callable[[Served], Bench]]:
    benches: list[Bench] = []

    def make(served: Served) -> Bench:
        benches.append(Bench(served, engine))
        return benches[-1]

    yield make
    for bench in benches:
        bench.devices.close()


class Behaviours:
    """Inherit with the protocol's name."""

    protocol: ClassVar[str]

    def test_a_run_measures_what_it_measures_in_process(self, serve: Serve, connect: Any) -> None:
        bench = connect(serve(self.protocol, "snar-flow", "--noise", "0.02"))
        laboratory: Any = load("snar-flow")
        for ordinal, replicates in ((0, 1), (5, 3), (2, 1)):
            events = bench.run(ordinal, replicates=replicates)
            assert [{name: event[name] for name in VALUES} for event in events] == [VALUES] * replicates
            mean = {name: sum(event[name] for event in events) / replicates for name in ("sty", "e_factor")}
            expected = laboratory.simulate(VALUES, 1, ordinal, replicates, {"noise": 0.02})
            assert mean == pytest.approx({name: value for name, (value, _) in expected.items()}, rel=1e-15)
            if replicates == 1:
                assert mean == {name: value for name, (value, _) in expected.items()}

    def test_every_fault_acts_over_the_wire(self, serve: Serve, connect: Any) -> None:
        faults = [
            "{kind: stuck, at: 1, axis: temperature}",
            "{kind: dropout, at: 2}",
            "{kind: nan, at: 3, signal: sty}",
            "{kind: disconnect, at: 4}",
            "{kind: drift, at: 6, count: 1, signal: sty, size: 0.5}",
        ]
        options = [word for fault in faults for word in ("--fault", fault)]
        served = serve(self.protocol, "snar-flow", "--noise", "0", "--timeout", "1.5", *options)
        bench = connect(served)
        [undisturbed] = bench.run(0, ELSEWHERE)

        stuck = bench.failure(1)
        assert "temperature" in stuck and "did not reach" in stuck
        [half] = [line["position"] for line in served.witness("position") if line["axis"] == "temperature"][-1:]
        assert half == pytest.approx((ELSEWHERE["temperature"] + VALUES["temperature"]) / 2)
        call_in_bluesky_event_loop(bench.devices.axes["temperature"].stop())

        assert "analyser did not measure within 1.5 s" in bench.failure(2)
        assert "analyser.sty" in (said := bench.failure(3)) and "BadQuality" in said
        assert not said.startswith(LOST)

        assert bench.failure(4).startswith(LOST)
        assert [line["fault"] for line in served.witness("fault")] == ["stuck", "dropout", "nan", "disconnect"]

        [afterwards] = bench.run(5, ELSEWHERE)
        assert afterwards == undisturbed
        assert bench.devices.is_connected()
        [drifted] = bench.run(6, ELSEWHERE)
        assert drifted["sty"] == pytest.approx(1.5 * undisturbed["sty"])
        assert drifted["e_factor"] == undisturbed["e_factor"]

    def test_a_process_that_fails_gives_no_number(self, serve: Serve, connect: Any) -> None:
        served = serve(self.protocol)
        bench = connect(served)
        assert "BadQuality" in bench.failure(0, {**VALUES, "residence_time": -1.0})
        assert [line["code"] for line in served.witness("refusal")] == ["process_failed"]
        assert bench.run(1)

    def test_what_the_controller_refuses_is_heard(self, serve: Serve, connect: Any, engine: RunEngine) -> None:
        served = serve(self.protocol)
        bench = connect(served)
        with pytest.raises(FailedStatus) as caught:
            engine(measure(bench.devices.axes, bench.devices.detectors, VALUES, 1, 0.0, {}))
        assert "Refused: analyser.trigger" in describe(caught.value)
        assert [line["code"] for line in served.witness("refusal")] == ["not_prepared"]
        assert bench.run(1)

    def test_stop_halts_a_motion(self, serve: Serve, connect: Any, engine: RunEngine) -> None:
        served = serve(self.protocol, "snar-flow", "--time-scale", "1")
        mover, stopper = connect(served), connect(served)
        mover.devices.prepare_run(run(0))

        async def begin() -> Any:
            return mover.devices.axes["temperature"].set(120.0)

        status = call_in_bluesky_event_loop(begin())
        eventually(lambda: served.witness("position"), "it moves")
        assert stopper.devices.is_moving()
        call_in_bluesky_event_loop(stopper.devices.axes["temperature"].stop())
        eventually(lambda: status.done, "the motion is over")
        assert not stopper.devices.is_moving()
        [end] = served.witness("end")
        assert end["reason"] == "stopped" and 60.0 < end["position"] < 120.0
        assert "stopped, or stuck" in str(status.exception())
        assert [line for line in served.witness("position") if line["mono"] > end["mono"]] == []

    def test_it_ends_cleanly(self, serve: Serve, connect: Any) -> None:
        served = serve(self.protocol)
        bench = connect(served)
        bench.run(0)
        bench.devices.close()
        code, said = served.end(signal.SIGINT)
        assert code == 0, said
        assert "Traceback" not in said and "Warning" not in said
        kinds = [line["kind"] for line in served.witness()]
        assert kinds[0] != "exit" and kinds[-1] == "exit"
        assert not (served.folder / "serve.pid").exists()

    def test_a_killed_server_is_seen_and_found_again_at_its_port(self, serve: Serve, connect: Any) -> None:
        port = re.search(r"\d+", free_address(serve(self.protocol)))
        assert port is not None
        served = serve(self.protocol, "snar-flow", "--port", port[0])
        bench = connect(served)
        pid = int((served.folder / "serve.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        served.process.wait()
        eventually(lambda: not bench.devices.is_connected(), "the loss is seen")
        assert bench.failure(0).startswith(LOST)
        again = serve(self.protocol, "snar-flow", "--port", port[0])
        assert again.profile() == served.profile()
        eventually(bench.reaches, "it is reached again")
        assert bench.run(1)


def free_address(served: Served) -> str:
    """A port that was free for this protocol, and is again."""
    address = served.profile().controllers["served"].address
    served.end()
    return address.replace("127.0.0.1", "")
