"""One axis moved by a person on a real worker: only by an order of the holder, within limits, never unattended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import Rig, make_rig_fixture, rig_fixture, start  # noqa: F401 - fixtures
from rig import until as within

from athanor.console.cli.app import run
from athanor.governance.orders import Orders
from athanor.instruments.executor import LocalExecutor
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.instruments.latch import Latch
from athanor.instruments.profile import Profile
from athanor.instruments.takeover import TakeOver
from athanor.instruments.wire import Client
from athanor.instruments.words import Refused
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.orders import Order
from athanor.memory.signing import GateKey

NAME = "snar-flow"


def until(condition: Callable[[], Any]) -> Any:
    """Wait for it, on a busy machine too."""
    return within(condition, 120)


@pytest.fixture(autouse=True)
def _ada(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setattr("athanor.console.commands.runs.PATIENCE_S", 60.0)
    monkeypatch.setattr("athanor.console.commands.runs.READ_BACK_S", 60.0)


def athanor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def take(rig: Rig, person: str = "ada", seconds: float = 600.0) -> str:
    tenure = TakeOver(rig.place, rig.key.public).take(
        person, lambda: Orders(rig.ledger, rig.key, person).take_over(NAME, timedelta(seconds=seconds), "look")
    )
    return tenure.nonce


def order(rig: Rig, tenure: str, person: str = "ada", **changes: Any) -> Order:
    terms = {"axis": "temperature", "value": 80.0, "latch": Latch(rig.place).read().count, **changes}
    return Orders(rig.ledger, rig.key, person).move(
        terms.pop("instrument", NAME), terms["axis"], terms["value"], tenure, terms["latch"]
    )


def give(client: Client, what: Order) -> str:
    """The code with which an order was refused; empty when it was carried out."""
    try:
        client.call("move", timeout_s=60, **what.as_dict())
    except Refused as error:
        return error.code
    return ""


def is_there(executor: LocalExecutor) -> bool:
    """Whether its worker could be had: one that gets no time for a second looks as if it hung."""
    try:
        executor.ensure()
    except InstrumentUnavailable:
        return False
    return True


def client_of(executor: LocalExecutor) -> Client:
    until(lambda: is_there(executor))
    # On a busy machine the recovery process may take longer than anybody waits for it.
    until(lambda: (status := executor.status()) is not None and status["recovery"] is None)
    assert executor._client is not None
    return executor._client


def sets(rig: Rig) -> list[tuple[str, Any]]:
    return [(line["axis"], line["value"]) for line in rig.witness("set")]


def moves(rig: Rig, count: int) -> list[dict[str, Any]]:
    """What the journal says of the moves, once it says of so many."""
    until(lambda: len(rig.ledger.events(kinds=("manual_move",))) >= count)
    return [event.body for event in rig.ledger.events(kinds=("manual_move",))]


def test_the_holder_moves_an_axis_and_it_is_written_down(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = athanor(capsys, "move", NAME, "temperature", "80", "--yes")
    assert code == 1, "nothing has run here yet, so there is no such instrument"
    client_of(rig.executor())
    code, _, said = athanor(capsys, "move", NAME, "temperature", "80", "--yes")
    assert code == 1 and "take-over" in said and sets(rig) == []
    assert athanor(capsys, "take-over", NAME, "--for", "30m", "--reason", "look")[0] == 0
    code, _, said = athanor(capsys, "move", NAME, "temperature", "80", "degC")
    assert code == 1 and "--yes" in said and sets(rig) == [], "without a terminal nobody can be asked"
    code, told, said = athanor(capsys, "move", NAME, "temperature", "80", "degC", "--yes")
    assert code == 0, said
    assert (told["to"], told["positions"]["temperature"], told["by"]) == (80.0, 80.0, "ada")
    assert f"{told['from']} → 80.0 degC" in said and "simulated" in said
    assert sets(rig) == [("temperature", 80.0)]
    [event] = moves(rig, 1)
    assert (event["by"], event["axis"], event["value"], event["code"]) == ("ada", "temperature", 80.0, None)
    assert (event["from"], event["to"]) == (told["from"], 80.0)
    [ordered] = rig.ledger.events(kinds=("move_ordered",))
    assert ordered.body["nonce"] == event["order"] and ordered.body["signature"]
    assert not rig.witness("run"), "a motion by hand is no run"


def test_what_is_refused_is_written_down_and_moves_nothing(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    client_of(rig.executor())
    assert athanor(capsys, "take-over", NAME, "--reason", "look")[0] == 0
    for value, what in (("500", "limit.above"), ("-5", "limit.below"), ("nan", "cannot be moved")):
        code, _, said = athanor(capsys, "move", NAME, "temperature", value, "--yes")
        assert code == 1 and what in said, said
    for words in (("temperature", "80", "K"), ("temperature", "warm"), ("speed", "1")):
        assert athanor(capsys, "move", NAME, *words, "--yes")[0] != 0
    WriteSwitch(rig.place).off("new tubing", "grace")
    code, _, said = athanor(capsys, "move", NAME, "temperature", "80", "--yes")
    assert code == 1 and "writes.off" in said
    assert sets(rig) == []
    assert [event["code"] for event in moves(rig, 3)] == ["limit.above", "limit.below", "writes.off"]
    assert all(event["by"] == "ada" for event in moves(rig, 3))


def test_an_order_holds_for_its_holder_here_and_now_and_once(rig: Rig, tmp_path: Path) -> None:
    client = client_of(rig.executor())
    assert give(client, order(rig, "0" * 32)) == "takeover.none"
    first = take(rig)
    early = order(rig, first)
    tenure = take(rig)  # renewed: what was ordered under the earlier one is void
    assert give(client, early) == "takeover.other"
    assert give(client, order(rig, tenure, "grace")) == "takeover.other", "signed, but not by the holder"
    forger = Orders(rig.ledger, GateKey.load_or_create(tmp_path / "forger"), "ada")
    assert give(client, forger.move(NAME, "temperature", 80.0, tenure, 0)) == "order.signature"
    good = order(rig, tenure)
    assert give(client, Order(good.body.replace("80.0", "90.0"), good.signature)) == "order.signature"
    assert give(client, Order("{}", good.signature)) == "order.signature"
    assert give(client, Orders(rig.ledger, rig.key, "ada").hand_back(NAME, tenure)) == "order.kind"
    assert give(client, order(rig, tenure, instrument="another")) == "instrument.wrong"
    assert give(client, order(rig, tenure, axis="speed")) == "limit.unknown"
    assert give(client, order(rig, tenure, latch=2)) == "latch.changed"
    for fields in ({}, {"body": 1, "signature": "x"}, {"body": good.body}):
        with pytest.raises(Refused, match=r"request\.malformed"):
            client.call("move", **fields)
    assert sets(rig) == []
    assert give(client, good) == ""
    assert give(client, good) == "order.used"
    os.kill(rig.pid("worker"), signal.SIGKILL)
    again = rig.executor()
    until(lambda: again.status() is None)
    assert give(client_of(again), good) == "order.used", "also by the next worker"
    assert sets(rig) == [("temperature", 80.0)]


def test_an_order_runs_out(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from athanor.governance import orders

    client = client_of(rig.executor())
    tenure = take(rig)
    with monkeypatch.context() as hasty:
        hasty.setattr(orders, "MOVE_TTL", timedelta(microseconds=1))
        assert give(client, order(rig, tenure)) == "order.expired"
    short = take(rig, seconds=0.3)
    until(lambda: TakeOver(rig.place).read().tenure is None)
    assert give(client, order(rig, short)) == "takeover.none"
    assert sets(rig) == []


def test_after_stop_all_nothing_is_moved_by_an_earlier_order(rig: Rig) -> None:
    client = client_of(rig.executor())
    tenure = take(rig)
    earlier = order(rig, tenure)
    Latch(rig.place).engage("smoke", "grace")
    assert give(client, earlier) == "latch.engaged"
    Latch(rig.place).reset("it was steam", "grace")
    assert give(client, earlier) == "latch.changed"
    assert give(client, order(rig, tenure)) == ""
    assert sets(rig) == [("temperature", 80.0)]


def test_interlocks_and_the_largest_step_bind_a_person_too(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    cool = {"name": "cool", "require": "temperature < 80", "message": "the oil boils"}
    found = load(NAME).profile().model_dump(mode="json")
    found["interlocks"] = [cool]
    found["axes"]["residence_time"]["largest_step"] = 0.2
    executor = rig.executor(profile=Profile.model_validate(found))
    client = client_of(executor)
    tenure = take(rig)
    assert give(client, order(rig, tenure, axis="residence_time", value=2.0)) == "limit.step"
    assert sets(rig) == []
    assert give(client, order(rig, tenure, value=110.0)) == "move.stopped"
    until(lambda: rig.witness("stop"))
    event = moves(rig, 2)[1]
    assert event["detail"].startswith("interlock.tripped: cool") and 80 <= event["to"] < 110
    count = len(sets(rig))
    assert give(client, order(rig, tenure, axis="residence_time", value=1.1)) == "interlock.tripped"
    assert len(sets(rig)) == count, "while it does not hold, nothing is set"


# -- in motion --------------------------------------------------------------------------------------------------------


def moving(rig: Rig, executor: LocalExecutor, value: float = 110.0) -> threading.Thread:
    """An axis on its way by hand, by a connection of its own."""
    tenure = take(rig)
    codes: list[str] = []

    def go() -> None:
        client = Client(rig.place.sockets / "worker.sock")
        try:
            codes.append(give(client, order(rig, tenure, value=value)))
        finally:
            client.close()

    thread = threading.Thread(target=go)
    thread.codes = codes  # type: ignore[attr-defined]
    thread.start()
    until(lambda: rig.witness("motion") and rig.witness("position"))
    status = executor.status()
    assert status is not None and status["state"] == "moving"
    return thread


def halted(rig: Rig, below: float = 110.0) -> float:
    """Where the axis came to rest, by the controller's own account."""
    [end] = until(lambda: [line for line in rig.witness("end") if line["axis"] == "temperature"])
    assert end["reason"] == "stopped" and end["position"] < below
    return float(end["position"])


def test_stop_all_halts_it(make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    thread = moving(rig, executor)
    assert run(["stop-all", "--reason", "smoke"]) == 0
    thread.join(120)
    assert thread.codes == ["move.stopped"]  # type: ignore[attr-defined]
    halted(rig)
    assert Latch(rig.place).read().engaged
    [event] = moves(rig, 1)
    assert event["code"] == "move.stopped" and event["to"] is not None and event["to"] < 110


def test_nobody_else_moves_meanwhile(make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    thread = moving(rig, executor)
    tenure = TakeOver(rig.place).read().tenure
    assert tenure is not None
    client = client_of(rig.executor())
    assert give(client, order(rig, tenure.nonce, axis="residence_time", value=1.5)) == "instrument.busy"
    with pytest.raises(Refused, match=r"instrument\.busy"):
        client.call("shutdown", if_idle=True)
    assert athanor(capsys, "hand-back", NAME)[0] == 1
    code, told, said = athanor(capsys, "abort-run", NAME, "--reason", "far enough")
    assert code == 0 and told["moving"] is False, said
    thread.join(120)
    assert thread.codes == ["move.stopped"]  # type: ignore[attr-defined]
    halted(rig)


def test_an_emergency_release_halts_it(
    make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    thread = moving(rig, executor)
    monkeypatch.setenv("LOGNAME", "grace")
    code, told, said = athanor(capsys, "take-over", NAME, "--emergency-release", "--reason", "she has left")
    assert code == 0 and told["was"] == "ada", said
    thread.join(120)
    assert thread.codes == ["move.stopped"]  # type: ignore[attr-defined]
    halted(rig)


def test_it_does_not_begin_while_a_run_is_in_hand(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    intent = start(rig, executor)
    tenure = take(rig)
    other = Client(rig.place.sockets / "worker.sock")
    with contextlib.closing(other):
        assert give(other, order(rig, tenure)) == "instrument.busy"
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


def test_when_the_console_dies_the_axis_is_halted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    take(rig)
    command = [sys.executable, "-m", "athanor.console", "move", NAME, "temperature", "110", "--yes"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        until(lambda: rig.witness("motion") and rig.witness("position"))
    finally:
        process.kill()
        process.wait()
    halted(rig)
    until(lambda: (status := executor.status()) is not None and status["state"] == "idle")
    [event] = moves(rig, 1)
    assert event["code"] == "move.stopped" and "gone" in event["detail"]


def test_when_the_worker_dies_the_axis_is_halted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = rig.executor()
    client_of(executor)
    take(rig)
    command = [sys.executable, "-m", "athanor.console", "move", NAME, "temperature", "110", "--yes"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        until(lambda: rig.witness("motion") and rig.witness("position"))
        os.kill(rig.pid("worker"), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1 and "lost" in said, said
    halted(rig)
    [event] = moves(rig, 1)
    assert event["code"] == "worker.lost", "the journal says that the end is not known"
