"""Both families of devices through a RunEngine, against a real controller, with every kind of fault."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from bluesky import RunEngine
from bluesky.protocols import Movable, Readable, Stoppable, Triggerable
from bluesky.utils import FailedStatus

from athanor.instruments.laboratory import Devices, InstrumentLost, InstrumentUnavailable, ProcessFailed
from athanor.instruments.limits import LimitedAxis
from athanor.instruments.plans import measure
from athanor.instruments.reductions import ReductionFailed, reduce
from tests.engines import run_engine

from .conftest import ALL, Bench, context, eventually

Make = Callable[[str], Bench]
Family = Literal["async", "classic"]
FAMILIES: list[Family] = ["async", "classic"]


@pytest.fixture(scope="module")
def engine() -> Iterator[RunEngine]:
    with run_engine() as made:
        yield made


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param  # type: ignore[no-any-return]


def opened(
    make: Make, engine: RunEngine, family: Family, name: str = "snar-flow", **options: Any
) -> tuple[Bench, Devices]:
    lab = make(name)
    lab.laboratory.devices = family
    lab.start(**options)
    return lab, lab.connect(**options)


def run(engine: RunEngine, lab: Bench, devices: Devices, values: dict[str, Any], ordinal: int = 0) -> list[Any]:
    """One run of the measuring plan, two replicates; its documents."""
    assert devices.prepare_run is not None
    devices.prepare_run(context(ordinal, replicates=2))
    documents: list[Any] = []
    engine(
        measure(limited(lab, devices), devices.detectors, values, 2, 0.0, {}),
        lambda *document: documents.append(document),
    )
    return documents


def limited(lab: Bench, devices: Devices) -> dict[str, LimitedAxis]:
    """The axes as the worker uses them."""
    limits = lab.laboratory.profile().limits()
    return {name: LimitedAxis(axis, limits[name]) for name, axis in devices.axes.items()}


def reduced(lab: Bench, documents: list[Any]) -> Any:
    profile = lab.laboratory.profile()
    return reduce(profile.reduction, documents, profile.outcomes).outcomes


def causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def cause(error: BaseException, kind: type[BaseException]) -> BaseException:
    return next(link for link in causes(error) if isinstance(link, kind))


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Laboratories are one object per process: give each its own family of devices back."""
    from athanor.instruments.laboratory import load

    before = {name: load(name).devices for name in ALL}  # type: ignore[attr-defined]
    yield
    for name, kind in before.items():
        load(name).devices = kind  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ALL)
def test_a_run_reduces_to_what_simulate_says_bit_for_bit(
    bench: Make, engine: RunEngine, family: Family, name: str
) -> None:
    lab, devices = opened(bench, engine, family, name, noise=0.02)
    values = lab.rest()
    measured = reduced(lab, run(engine, lab, devices, values, ordinal=5))
    assert measured == lab.laboratory.simulate(values, seed=1, ordinal=5, replicates=2, options={"noise": 0.02})
    assert measured != lab.laboratory.simulate(values, seed=1, ordinal=6, replicates=2, options={"noise": 0.02})


def test_devices_meet_the_protocols_and_are_named_as_in_the_profile(
    bench: Make, engine: RunEngine, family: Family
) -> None:
    lab, devices = opened(bench, engine, family)
    profile = lab.laboratory.profile()
    assert list(devices.axes) == list(profile.axes)
    for name, axis in devices.axes.items():
        assert axis.name == name
        assert isinstance(axis, Movable) and isinstance(axis, Readable) and isinstance(axis, Stoppable)
    assert [detector.name for detector in devices.detectors] == list(profile.detectors)
    assert all(isinstance(detector, Triggerable) and isinstance(detector, Readable) for detector in devices.detectors)
    assert devices.is_connected() and not devices.is_moving()


def test_documents_carry_plain_names_units_and_where_it_came_from(
    bench: Make, engine: RunEngine, family: Family
) -> None:
    lab, devices = opened(bench, engine, family)
    documents = run(engine, lab, devices, {"temperature": 70.5})
    [descriptor] = [body for name, body in documents if name == "descriptor"]
    assert set(descriptor["data_keys"]) == {"sty", "e_factor", *lab.rest()}
    assert descriptor["data_keys"]["sty"]["units"] == "kg/m^3/h"
    assert descriptor["data_keys"]["temperature"]["units"] == "degC"
    assert descriptor["data_keys"]["temperature"]["source"] == "controller://snar-flow/temperature"
    events = [body for name, body in documents if name == "event"]
    assert [event["data"]["temperature"] for event in events] == [70.5, 70.5]
    assert [line["value"] for line in lab.witness("set")] == [70.5]


def test_abort_stops_the_motion_where_it_is(bench: Make, engine: RunEngine, family: Family) -> None:
    lab, devices = opened(bench, engine, family, time_scale=1.0)
    failures: list[BaseException] = []

    def go() -> None:
        try:
            run(engine, lab, devices, {"temperature": 120.0})
        except BaseException as error:  # noqa: BLE001 - whatever the engine raises is looked at below
            failures.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    eventually(lambda: lab.witness("position"), "the axis moves")
    assert devices.is_moving()
    engine.abort("enough")
    thread.join(20)
    assert failures
    [end] = [line for line in lab.witness("end") if line["axis"] == "temperature"]
    assert end["reason"] == "stopped" and end["position"] < 120.0
    assert not devices.is_moving()


def test_a_process_that_fails_fails_the_run_with_its_reason(bench: Make, engine: RunEngine, family: Family) -> None:
    lab, devices = opened(bench, engine, family, "ald-window")
    with pytest.raises(Exception) as failed:
        run(engine, lab, devices, {"dose_time": 0.1, "purge_time": 10.0, "temperature": 250.0})
    reason = cause(failed.value, ProcessFailed)
    assert "does not reach the end of the reactor" in str(reason)
    assert devices.is_connected()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["dropout", "stuck", "nan", "drift", "disconnect"])
def test_each_fault_strikes_the_experiment_it_is_meant_for(
    bench: Make, engine: RunEngine, kind: str, name: str
) -> None:
    lab = bench(name)
    axis = lab.laboratory.physics.axes[-1].name
    fault = {"kind": kind, "at": 1, "count": 1, **({"axis": axis} if kind == "stuck" else {})}
    options = {"noise": 0.0, "timeout_s": 5.0, "faults": [fault]}
    lab.start(**options)
    devices = lab.connect(**options)
    values = lab.rest()
    if not isinstance(values[axis], str):
        values[axis] = values[axis] * 1.01  # type: ignore[operator]
    before = reduced(lab, run(engine, lab, devices, values, ordinal=0))
    # Only what never answers is waited for.
    patience = {"timeout_s": 0.3} if kind in ("dropout", "stuck", "disconnect") else {}
    lab.start(**{**options, **patience})
    struck = lab.connect(**{**options, **patience})
    if kind == "drift":
        drifted = reduced(lab, run(engine, lab, struck, values, ordinal=1))
        # A gain that grows moves every shot alike, and the fidelity of a threshold does not care.
        assert drifted != before or name == "qubit-readout"
    elif kind == "nan":
        with pytest.raises(ReductionFailed):
            reduced(lab, run(engine, lab, struck, values, ordinal=1))
    else:
        with pytest.raises(Exception) as failed:
            run(engine, lab, struck, values, ordinal=1)
        lost = [link for link in causes(failed.value) if isinstance(link, InstrumentLost)]
        assert bool(lost) == (kind == "disconnect")
        assert struck.is_connected() == (kind != "disconnect")
    assert {line["fault"] for line in lab.witness("fault")} == {kind}
    after = lab.connect(**options)
    assert reduced(lab, run(engine, lab, after, values, ordinal=2))


@pytest.mark.parametrize("kind", ["dropout", "stuck", "disconnect"])
def test_both_families_report_faults_alike(bench: Make, engine: RunEngine, family: Family, kind: str) -> None:
    fault = {"kind": kind, "at": 0, **({"axis": "temperature"} if kind == "stuck" else {})}
    lab, devices = opened(bench, engine, family, faults=[fault], timeout_s=0.3)
    with pytest.raises(Exception) as failed:
        run(engine, lab, devices, {"temperature": 100.0})
    lost = [link for link in causes(failed.value) if isinstance(link, InstrumentLost)]
    assert bool(lost) == (kind == "disconnect")
    assert devices.is_connected() == (kind != "disconnect")
    if kind == "stuck":
        assert lab.link().call("read")["positions"]["temperature"] == 80.0  # half way from 60 to 100


def test_a_killed_controller_is_an_instrument_lost(bench: Make, engine: RunEngine, family: Family) -> None:
    import os
    import signal

    lab, devices = opened(bench, engine, family, time_scale=1.0)
    status = devices.axes["temperature"].set(120.0) if family == "classic" else None
    if status is not None:
        eventually(lambda: lab.witness("position"), "the axis moves")
        os.kill(lab.pid(), signal.SIGKILL)
        with pytest.raises(InstrumentLost):
            status.wait(5)
    else:
        os.kill(lab.pid(), signal.SIGKILL)
        eventually(lambda: not devices.is_connected(), "the loss is seen")
        with pytest.raises((FailedStatus, InstrumentLost)) as failed:
            run_without_preparing(engine, lab, devices)
        assert cause(failed.value, InstrumentLost)
    eventually(lambda: not devices.is_connected(), "the loss is seen")


def run_without_preparing(engine: RunEngine, lab: Bench, devices: Devices) -> None:
    engine(measure(limited(lab, devices), devices.detectors, {"temperature": 100.0}, 1, 0.0, {}))


def test_without_a_controller_there_is_nothing_to_connect_to(bench: Make, engine: RunEngine, family: Family) -> None:
    lab = bench("snar-flow")
    lab.laboratory.devices = family
    with pytest.raises(InstrumentUnavailable, match="start the laboratory first"):
        lab.connect()


def test_without_a_run_engine_nothing_stays_open(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from bluesky import run_engine

    monkeypatch.setattr(run_engine, "_bluesky_event_loop", None)
    lab = bench("snar-flow")
    lab.start()
    with pytest.raises(RuntimeError, match="event loop"):
        lab.connect()
    link = lab.link()
    eventually(lambda: link.call("status")["clients"] == 1, "the link of the failed connection is closed")
