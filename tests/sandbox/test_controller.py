"""The controller in a real process: protocol, motion, stop, several clients, witness log."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from athanor.instruments.laboratory import InstrumentLost
from athanor.sandbox.link import ControllerRefused

from .conftest import Bench, eventually, run_fields

Make = Callable[[str], Bench]


def test_motion_at_once_reaches_the_exact_target(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    done = lab.link().move("temperature", 80.123456789).result(5)
    assert (done["reached"], done["position"]) == (True, 80.123456789)
    [accepted] = lab.witness("set")
    assert (accepted["axis"], accepted["value"]) == ("temperature", 80.123456789)
    assert [line["kind"] for line in lab.witness() if line.get("move") == accepted["move"]] == ["set", "motion", "end"]


def test_motion_takes_its_time_and_is_logged_while_it_lasts(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=0.1)
    positions: list[float] = []
    link = lab.link(on_position=lambda axis, position: positions.append(float(position)))
    done = link.move("temperature", 120.0).result(20)  # 60 degC at 15 degC/s: 4 s, scaled to 0.4 s
    assert done["position"] == 120.0
    assert positions == sorted(positions) and len(positions) >= 4
    [motion], [end] = lab.witness("motion"), lab.witness("end")
    assert end["mono"] - motion["mono"] >= 0.4
    assert [line["position"] for line in lab.witness("position")] == positions


def test_stop_halts_the_axis_where_it_is(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=1.0)
    mover, stopper = lab.link("worker"), lab.link("recovery")
    motion = mover.move("temperature", 120.0)
    eventually(lambda: lab.witness("position"), "the axis moves")
    answer = stopper.call("stop_all")
    assert answer["moving"] == []
    done = motion.result(5)
    assert (done["reached"], done["reason"]) == (False, "stopped")
    assert 60.0 < done["position"] < 120.0
    assert stopper.call("read")["positions"]["temperature"] == done["position"]
    stops = [line for line in lab.witness("stop") if line["axis"] == "temperature"]
    assert [(line["name"], line["position"]) for line in stops] == [("recovery", done["position"])]
    assert all(line["mono"] <= stops[0]["mono"] for line in lab.witness("position"))


def test_a_second_set_replaces_the_motion_from_where_it_is(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=1.0)
    link = lab.link()
    first = link.move("temperature", 120.0)
    eventually(lambda: lab.witness("position"), "the axis moves")
    second = link.move("temperature", 60.5)
    assert first.result(5)["reason"] == "superseded"
    assert second.result(20)["position"] == 60.5
    origins = [line["origin"] for line in lab.witness("motion")]
    assert 60.0 < origins[1] < 120.0


def test_one_axis_stops_and_the_others_go_on(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=1.0)
    link = lab.link()
    hot, long = link.move("temperature", 120.0), link.move("residence_time", 1.25)
    link.call("stop", axis="temperature")
    assert hot.result(5)["reason"] == "stopped"
    assert long.result(20)["reached"]


def test_motion_goes_on_when_the_client_is_killed(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=0.2)
    script = (
        "import sys, time; from pathlib import Path; from athanor.sandbox.link import Link\n"
        "link = Link(Path(sys.argv[1]), client='victim'); link.move('temperature', 120.0)\n"
        "print('moving', flush=True); time.sleep(60)"
    )
    path = str(lab.place.sockets / "controller.sock")
    victim = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
    assert victim.stdout is not None and victim.stdout.readline() == b"moving\n"
    eventually(lambda: lab.witness("position"), "the axis moves")
    victim.kill()
    victim.wait()
    victim.stdout.close()
    end = eventually(lambda: lab.witness("end"), "the motion ends")[0]
    assert (end["reason"], end["position"]) == ("reached", 120.0)
    gone = [line for line in lab.witness("disconnect") if line["name"] == "victim"]
    assert gone and gone[0]["mono"] < end["mono"]


def test_every_finite_number_is_accepted_and_logged(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    values = [-1e300, 1e300, 5e-324, -0.0, 1e6, 119.99999999999999, 2**70]
    for value in values:
        assert link.move("temperature", value).result(5)["position"] == value
    assert [line["value"] for line in lab.witness("set")] == values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_what_is_not_finite_is_refused_and_logged_as_received(bench: Make, value: float) -> None:
    lab = bench("snar-flow")
    lab.start()
    with pytest.raises(ControllerRefused) as refused:
        lab.link().move("temperature", value).result(5)
    assert refused.value.code == "not_finite"
    assert repr(value) in lab.witness("refusal")[0]["detail"]
    assert not lab.witness("set")


@pytest.mark.parametrize("value", [True, None, "hot", [80.0], {"at": 80.0}])
def test_what_is_no_number_is_refused(bench: Make, value: object) -> None:
    lab = bench("snar-flow")
    lab.start()
    with pytest.raises(ControllerRefused) as refused:
        lab.link().move("temperature", value).result(5)  # type: ignore[arg-type]
    assert refused.value.code == "type"
    assert not lab.witness("set")


def test_unknown_axis_operation_and_unprepared_trigger_are_refused_with_the_remedy(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    with pytest.raises(ControllerRefused, match=r"no axis 'pressure'.*temperature"):
        link.move("pressure", 1.0).result(5)
    with pytest.raises(ControllerRefused, match=r"no 'explode'.*stop_all"):
        link.call("explode")
    with pytest.raises(ControllerRefused, match="prepare"):
        link.call("trigger")


def test_a_line_that_is_no_json_is_answered_and_the_connection_lives(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(lab.place.sockets / "controller.sock"))
        lines = raw.makefile("rb")
        raw.sendall(b"{oh no\n")
        assert json.loads(lines.readline())["code"] == "wire"
        raw.sendall(b'{"id": 1, "op": "set", "axis": "temperature", "value": NaN}\n')
        assert json.loads(lines.readline())["code"] == "not_finite"
        raw.sendall(b'{"id": 2, "op": "read"}\n')
        assert json.loads(lines.readline())["positions"]["temperature"] == 60.0
        lines.close()


def test_the_run_names_its_intent_in_the_log(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    link.call("prepare", **run_fields(ordinal=3, seed=9))
    link.call("trigger", detector="analyser")
    [run] = lab.witness("run")
    assert (run["intent"], run["experiment"], run["ordinal"], run["seed"]) == ("i3", "e3", 3, 9)
    [trigger] = lab.witness("trigger")
    assert (trigger["intent"], trigger["values"]) == ("i3", lab.rest())


@pytest.mark.parametrize("field", [{"ordinal": -1}, {"seed": None}, {"ordinal": 1.5}, {"seed": True}])
def test_a_run_without_ordinal_or_seed_is_refused(bench: Make, field: dict[str, object]) -> None:
    lab = bench("snar-flow")
    lab.start()
    with pytest.raises(ControllerRefused, match=next(iter(field))):
        lab.link().call("prepare", **{**run_fields(), **field})


def test_senseless_positions_fail_the_process_and_nothing_else(bench: Make) -> None:
    from athanor.instruments.laboratory import ProcessFailed

    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    link.call("prepare", **run_fields())
    link.move("temperature", -1e300).result(5)
    with pytest.raises(ProcessFailed):
        link.call("trigger")
    link.move("temperature", 1e300).result(5)
    with pytest.raises(ProcessFailed):
        link.call("trigger")
    link.move("temperature", 80.0).result(5)
    assert link.call("trigger")["readings"]["sty"] > 0


def test_files_are_private_and_go_with_the_process(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    path = lab.place.sockets / "controller.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    os.kill(lab.pid(), 0)
    link = lab.link()
    lab.laboratory.shutdown(lab.place)
    assert not path.exists() and not (lab.place.sockets / "controller.pid").exists()
    eventually(lambda: not link.is_open(), "the client learns of it")
    with pytest.raises(InstrumentLost):
        link.call("read")
    assert lab.witness()[-1]["kind"] == "exit"


def test_a_killed_controller_is_noticed_at_once_and_replaced(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=1.0)
    link = lab.link()
    motion = link.move("temperature", 120.0)
    eventually(lambda: lab.witness("position"), "the axis moves")
    first = lab.pid()
    os.kill(first, signal.SIGKILL)
    with pytest.raises(InstrumentLost):
        motion.result(5)
    lab.start(time_scale=0.0)
    assert lab.pid() != first
    assert lab.link().call("read")["positions"]["temperature"] == 60.0


def test_other_options_are_taken_by_the_running_controller_but_not_while_it_moves(bench: Make) -> None:
    from athanor.instruments.laboratory import InstrumentUnavailable

    lab = bench("snar-flow")
    lab.start(time_scale=1.0)
    pid = lab.pid()
    link = lab.link()
    motion = link.move("temperature", 120.0)
    with pytest.raises(InstrumentUnavailable, match="moves"):
        lab.start(time_scale=0.0)
    lab.start(time_scale=1.0)
    link.call("stop_all")
    motion.result(5)
    lab.start(time_scale=0.0)
    assert lab.pid() == pid
    assert link.call("status")["options"]["time_scale"] == 0.0


def test_it_ends_when_idle(bench: Make, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("ATHANOR_WORKER_IDLE_S", "0.2")
    lab = bench("snar-flow")
    lab.start()
    eventually(lambda: not (lab.place.sockets / "controller.pid").exists(), "the idle controller ends")
    assert lab.witness()[-1]["kind"] == "exit"


def test_it_does_not_end_while_it_moves_or_somebody_is_connected(
    bench: Make, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("ATHANOR_WORKER_IDLE_S", "0.05")
    lab = bench("snar-flow")
    lab.laboratory.start(lab.place, {"time_scale": 0.1})
    link = lab.link()
    link.move("temperature", 120.0)
    link.close()
    end = eventually(lambda: lab.witness("exit"), "the idle controller ends")[0]
    assert lab.witness("end")[0]["reason"] == "reached"
    assert lab.witness("end")[0]["mono"] < end["mono"]
