"""One instrument over HTTP: what it reads, taking it over, moving it, steering its run; on a real worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from athanor.console.api import instruments
from athanor.console.commands import moving, runs
from athanor.governance.gate import Gate
from athanor.instruments.config import Config
from athanor.instruments.executor import LocalExecutor
from athanor.instruments.executors import executor_for
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.profile import Profile
from athanor.instruments.takeover import TakeOver
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey
from tests.console.api.site_rig import POINT, Site, code
from tests.instruments.rig import until

WHERE = "/api/v1/instruments/snar-flow"
COOL = {"name": "cool", "require": "temperature < 150", "message": "the oil boils"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine answers late."""
    monkeypatch.setattr(runs, "PATIENCE_S", 60.0)
    monkeypatch.setattr(runs, "READ_BACK_S", 60.0)
    monkeypatch.setattr(runs, "END_S", 60.0)
    monkeypatch.setattr(instruments, "AT_ONCE_S", 60.0)
    monkeypatch.setattr(instruments, "CONNECT_S", 60.0)


@pytest.fixture
def configure(site: Site) -> Iterator[Callable[..., None]]:
    """Give the instrument other options or interlocks."""

    def change(interlocks: list[dict[str, Any]] | None = None, **options: Any) -> None:
        found = load("snar-flow").profile().model_dump(mode="json")
        found["interlocks"] = interlocks or []
        Config(Profile.model_validate(found), options).write(site.place)

    yield change
    site.desk.gauges.close()


@pytest.fixture
def there(site: Site, configure: Callable[..., None]) -> Iterator[TestClient]:
    """An operator at an instrument that is connected, with an interlock and motions that take no time."""
    configure([COOL])
    client = site.signed_in("operator")
    connect(site, client)
    yield client


def connect(site: Site, client: TestClient) -> None:
    answer = client.post(f"{WHERE}/connect")
    assert (answer.status_code, answer.json()) == (202, {"is_there": True}), answer.text
    # Until it has its recovery process the worker refuses to move anything.
    until(lambda: not client.get(f"{WHERE}/standing").json()["worker"]["troubles"], 60)


def taken(client: TestClient, **more: Any) -> Any:
    return client.post(f"{WHERE}/take-over", json={"reason": "new tubing", **more})


def move(client: TestClient, value: Any, axis: str = "temperature", **more: Any) -> Any:
    return client.post(f"{WHERE}/moves", json={"axis": axis, "value": value, **more})


def running(site: Site, temperature: float = 110.0) -> tuple[LocalExecutor, str]:
    """An experiment that the instrument has in hand, moving."""
    config, key = Config.read(site.place), GateKey.load_or_create(keys_dir())
    executor = executor_for(config.profile, config.options, site.place, site.ledger.url, keys_dir() / "gate.pub")
    executor.ensure()
    until(lambda: (executor.status() or {"recovery": ""})["recovery"] is None, 60)
    experiment = site.propose_at({**POINT, "temperature": temperature})
    count = Latch(site.place).read().count
    decision = Gate(site.ledger, key, "tester").approve(experiment.id, experiment.revision, count)
    lease = site.ledger.acquire_lease("instrument:snar-flow", f"test:{os.getpid()}", 600)
    intent = site.ledger.commit_intent(experiment.id, decision.id, "snar-flow", lease.holder, lease.epoch)
    executor.dispatch(intent)
    until(lambda: site.ledger.experiment(experiment.id).state == "running", 60)
    return executor, experiment.id


# -- looking -----------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_can_do(site: Site, configure: Callable[..., None]) -> None:
    configure([COOL])
    client = site.signed_in("observer")
    card = client.get(f"{WHERE}/card").json()
    [axis] = [one for one in card["axes"] if one["name"] == "temperature"]
    assert (axis["unit"], axis["maximum"]) == ("degC", 120.0) and axis["verify"]
    assert card["simulated"] is True and "move temperature" in card["actions"]
    [interlock] = card["interlocks"]
    assert (interlock["require"], interlock["message"]) == ("temperature < 150", "the oil boils")
    (site.place.directory / "config.json").unlink()
    assert code(client.get(f"{WHERE}/card")) == "instrument.unconfigured"


def test_what_nobody_can_read_is_absent_and_says_why(site: Site, configure: Callable[..., None]) -> None:
    configure([COOL])
    client = site.signed_in("observer")
    found = client.get(f"{WHERE}/signals").json()
    assert found["axes"] and all(one["value"] is None and one["known_at"] is None for one in found["axes"])
    assert {one["trouble"] for one in found["axes"]} == {"nothing is connected to it now"}
    assert (found["moving"], found["worker_trouble"]) == (None, "no worker is running")
    assert [(one["holds"], one["detail"]) for one in found["interlocks"]] == [(None, "no worker is running")]
    standing = client.get(f"{WHERE}/standing").json()
    assert (standing["worker"]["is_running"], standing["worker"]["state"], standing["run"]) == (False, None, None)
    assert standing["takeover"] is None and standing["writes"]["on"] is True
    assert [one["id"] for one in standing["campaigns"]] == [site.campaign]


def test_signals_are_read_while_somebody_looks_and_lost_when_they_are(site: Site, there: TestClient) -> None:
    found = until(lambda: _read(there), 60)
    assert [(one["holds"], one["detail"]) for one in found["interlocks"]] == [(True, None)]
    axis = _axis(found)
    assert axis["points"][0][0] == found["since"] and axis["known_at"] == found["at"]
    newest = found["at"]
    more = until(lambda: _axis(there.get(f"{WHERE}/signals", params={"after": newest}).json())["points"], 60)
    assert all(at > newest for at, _ in more), "only what is new is sent"
    for name in ("worker", "recovery", "controller"):
        if (pid := site.place.sockets / f"{name}.pid").exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)
    lost = until(lambda: (one := _axis(there.get(f"{WHERE}/signals").json()))["value"] is None and one, 60)
    assert lost["trouble"] and lost["known_at"] >= newest, "it says since when"
    assert lost["points"][-1][1] is None and lost["points"][0][1] is not None, "a gap, not a zero"


def _read(client: TestClient) -> Any:
    found = client.get(f"{WHERE}/signals").json()
    return found if _axis(found)["value"] is not None and found["interlocks"][0]["holds"] else None


def _axis(found: Any) -> Any:
    [axis] = [one for one in found["axes"] if one["name"] == "temperature"]
    return axis


def test_what_does_not_start_says_why(site: Site) -> None:
    client = site.signed_in("operator")
    (site.place.directory / "config.json").unlink()
    assert code(client.post(f"{WHERE}/connect")) == "refused"
    assert "has never run here" in client.get(f"{WHERE}/standing").json()["worker"]["connect_trouble"]
    assert site.told("connect_asked") == [{"instrument": "snar-flow", "by": "operator"}]


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_one_person_at_a_time_has_it_in_hand(site: Site) -> None:
    first, second = site.signed_in("operator"), site.signed_in("owner")
    assert code(taken(first, reason="")) == "request.invalid"
    answer = taken(first, for_s=1800)
    assert (answer.status_code, answer.json()["holder"], answer.json()["running"]) == (201, "operator", None)
    shown = second.get(f"{WHERE}/standing").json()["takeover"]
    assert (shown["holder"], shown["reason"]) == ("operator", "new tubing")
    loser = taken(second)
    assert (loser.status_code, code(loser)) == (409, "takeover.held")
    assert "operator has it in hand until" in loser.json()["detail"] and "new tubing" in loser.json()["detail"]
    assert code(second.post(f"{WHERE}/hand-back")) == "takeover.held"
    renewed = taken(first, for_s=3600, reason="still at it").json()
    assert renewed["until"] > answer.json()["until"]
    assert first.post(f"{WHERE}/hand-back").json() == {"was": "operator", "waiting": []}
    assert "nobody has it" in first.post(f"{WHERE}/hand-back").json()["detail"]
    assert len(site.told("take_over_ordered")) == 2 and len(site.told("hand_back_ordered")) == 1
    assert {event["by"] for event in site.told("take_over_ordered")} == {"operator"}


def test_an_emergency_release_needs_its_right_and_a_reason(site: Site) -> None:
    owner = site.signed_in("owner")
    seen = taken(owner).json()["nonce"]
    developer = site.signed_in("developer")
    assert code(taken(developer)) == "takeover.held", "may on a twin, but somebody has it"
    assert code(developer.post(f"{WHERE}/release", json={"reason": "gone home", "seen": seen})) == "scope.missing"
    operator = site.signed_in("operator")
    assert operator.get(f"{WHERE}/standing").json()["takeover"]["nonce"] == seen
    assert code(operator.post(f"{WHERE}/release", json={"reason": " ", "seen": seen})) == "decision.invalid"
    assert code(operator.post(f"{WHERE}/release", json={"reason": "gone home"})) == "request.invalid"
    answer = operator.post(f"{WHERE}/release", json={"reason": "gone home", "seen": seen})
    assert answer.json() == {"was": "owner", "stopped": False}
    assert TakeOver(site.place).read().tenure is None
    assert code(operator.post(f"{WHERE}/release", json={"reason": "again", "seen": seen})) == "refused"
    [event] = site.told("release_ordered")
    assert (event["by"], event["holder"]) == ("operator", "owner")


def test_who_took_it_over_since_somebody_looked_keeps_it(site: Site) -> None:
    owner, operator, developer = site.signed_in("owner"), site.signed_in("operator"), site.signed_in("developer")
    seen = taken(owner).json()["nonce"]
    assert owner.post(f"{WHERE}/hand-back").status_code == 200
    assert taken(developer, reason="a leak").status_code == 201
    for old in (seen, None):
        late = operator.post(f"{WHERE}/release", json={"reason": "gone home", "seen": old})
        assert (late.status_code, code(late)) == (409, "takeover.held")
        assert "developer has it in hand" in late.json()["detail"] and "a leak" in late.json()["detail"]
    tenure = TakeOver(site.place).read().tenure
    assert tenure is not None and tenure.holder == "developer" and not site.told("release_ordered")
    TakeOver(site.place).path.write_text("nobody can read this")
    shown = operator.get(f"{WHERE}/standing").json()
    assert shown["takeover"] is None and shown["takeover_trouble"]
    released = operator.post(f"{WHERE}/release", json={"reason": "looked at it", "seen": None})
    assert released.json() == {"was": None, "stopped": False}


def test_the_holder_moves_an_axis_and_sees_where_it_stands(site: Site, there: TestClient) -> None:
    first = move(there, 80)
    assert code(first) == "refused" and "nobody has it in hand" in first.json()["detail"]
    assert taken(there).status_code == 201
    seen = there.post(f"{WHERE}/moves/preview", json={"axis": "temperature", "value": 80, "unit": "degC"}).json()
    assert (seen["target"], seen["unit"], seen["simulated"], seen["refusal"]) == (80.0, "degC", True, None)
    assert seen["here"] is not None
    done = move(there, 80, reason="warm it", unit="degC")
    assert done.status_code == 201, done.text
    shown = done.json()
    assert (shown["state"], shown["before"], shown["after"], shown["by"]) == ("arrived", seen["here"], 80.0, "operator")
    assert there.get(f"{WHERE}/moves/{shown['id']}").json() == shown
    [ordered] = site.told("move_ordered")
    assert (ordered["reason"], ordered["by"], ordered["nonce"]) == ("warm it", "operator", shown["id"])
    until(lambda: site.told("manual_move"), 60)
    site.desk.motions._known.clear()  # as in a console that was started anew
    again = there.get(f"{WHERE}/moves/{shown['id']}").json()
    assert (again["state"], again["before"], again["after"]) == ("arrived", seen["here"], 80.0)
    assert code(there.get(f"{WHERE}/moves/{'0' * 32}")) == "not_found"


def test_what_may_not_be_is_refused_with_the_reason_and_moves_nothing(site: Site, there: TestClient) -> None:
    assert taken(there).status_code == 201
    for value, unit, status, said in (
        (80, "K", 422, "in degC, not in K"),
        ("hot", None, 422, "needs a number"),
        ("inf", None, 422, "cannot be moved"),
    ):
        answer = move(there, value, unit=unit)
        assert answer.status_code == status and said in answer.json()["detail"], answer.text
    assert "no axis speed" in move(there, 1, axis="speed").json()["detail"]
    seen = there.post(f"{WHERE}/moves/preview", json={"axis": "temperature", "value": 500}).json()
    assert "limit.above" in seen["refusal"]
    refused = move(there, 500).json()
    assert (refused["state"], refused["problem"]["code"]) == ("failed", "limit.above")
    WriteSwitch(site.place).off("new tubing", "grace")
    assert move(there, 80).json()["problem"]["code"] == "writes.off"
    WriteSwitch(site.place).on("done", "grace")
    assert there.post("/api/v1/stop-all", json={"reason": "smoke"}).status_code == 200
    stopped = move(there, 80).json()
    assert stopped.get("code") == "worker.none" or stopped["problem"]["code"] == "latch.engaged"
    assert not [event for event in site.told("manual_move") if event.get("to") == 80.0]


def test_nobody_is_connected_so_nothing_moves(site: Site) -> None:
    client = site.signed_in("operator")
    assert taken(client).status_code == 201
    answer = move(client, 80)
    assert code(answer) == "worker.none" and answer.json()["remedy"] == "connect it first"
    assert site.told("move_ordered") == []


def test_a_motion_that_nobody_watches_is_halted(
    site: Site, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(time_scale=1.0)
    client = site.signed_in("operator")
    connect(site, client)
    assert taken(client).status_code == 201
    monkeypatch.setattr(instruments, "AT_ONCE_S", 0.0)
    shown = move(client, 110).json()
    assert shown["state"] == "moving"
    other = site.signed_in("owner")
    assert other.get(f"{WHERE}/moves/{shown['id']}").json()["state"] == "moving"
    late = other.post(f"{WHERE}/run/abort", json={"reason": "wrong bottle", "experiment": "somebody's.1"})
    assert code(late) == "run.changed" and "temperature is being moved by hand" in late.json()["detail"]
    assert code(client.post(f"{WHERE}/hand-back")) == "refused", "not while it moves"
    monkeypatch.setattr(moving, "ATTEND_S", -1.0)  # nobody could ask soon enough
    ended = until(lambda: (one := other.get(f"{WHERE}/moves/{shown['id']}").json())["state"] != "moving" and one, 60)
    assert (ended["state"], ended["problem"]["code"]) == ("failed", "move.stopped")
    assert "nobody has watched it" in ended["problem"]["detail"] and ended["after"] < 110


# -- the run in hand ---------------------------------------------------------------------------------------------------


def test_the_run_in_hand_is_shown_paused_resumed_and_aborted(site: Site, configure: Callable[..., None]) -> None:
    configure(time_scale=1.0)
    client = site.signed_in("scientist")
    executor, experiment = running(site)
    shown = client.get(f"{WHERE}/standing").json()
    assert (shown["worker"]["state"], shown["run"]["experiment"]["id"]) == ("running", experiment)
    assert (shown["run"]["readings"], shown["run"]["due"]) == (0, 1) and shown["lease"]["holder"].startswith("test:")
    seen = {"experiment": experiment}
    for other in ("somebody's.1", None):  # what was looked at is over: this one is not meant
        for verb, more in (("pause", {}), ("resume", {}), ("abort", {"reason": "wrong bottle"})):
            late = client.post(f"{WHERE}/run/{verb}", json={"experiment": other, **more})
            assert (late.status_code, code(late)) == (409, "run.changed"), late.text
            assert f"{experiment} is being run" in late.json()["detail"] and late.json()["remedy"]
    assert client.get(f"{WHERE}/standing").json()["worker"]["state"] == "running"
    assert code(client.post(f"{WHERE}/run/pause", json={})) == "request.invalid", "what was looked at is named"
    paused = client.post(f"{WHERE}/run/pause", json=seen).json()
    assert (paused["came"], paused["state"], paused["moving"]) == ("done", "paused", False)
    assert paused["positions"]["temperature"] < 110
    operator = site.signed_in("operator")
    refused = taken(operator)
    assert code(refused) == "refused" and "is paused" in refused.json()["detail"]
    assert client.post(f"{WHERE}/run/resume", json=seen).json()["state"] == "running"
    assert code(client.post(f"{WHERE}/run/resume", json=seen)) == "run.none"
    observer = site.signed_in("observer")
    assert code(observer.post(f"{WHERE}/run/abort", json={"reason": "x", **seen})) == "scope.missing"
    aborted = client.post(f"{WHERE}/run/abort", json={"reason": "wrong bottle", **seen}).json()
    assert (aborted["came"], aborted["experiment"]) == ("done", experiment)
    executor.wait(experiment, site.ledger)
    executor.close()
    assert site.ledger.experiment(experiment).reason == "wrong bottle (scientist)"
    again = client.post(f"{WHERE}/run/abort", json={"reason": "again", **seen})
    assert code(again) == "refused" and "no run in hand" in again.json()["detail"]


def test_a_take_over_may_end_the_run_in_hand(site: Site, configure: Callable[..., None]) -> None:
    configure(time_scale=1.0)
    executor, experiment = running(site)
    client = site.signed_in("operator")
    assert taken(client).json()["running"] == experiment, "it goes on to its end, and that is said"
    assert taken(client, abort=True, reason="leak").json()["running"] is None
    executor.wait(experiment, site.ledger)
    executor.close()
    assert "taken over by operator: leak" in (site.ledger.experiment(experiment).reason or "")


# -- switches ----------------------------------------------------------------------------------------------------------


def test_writes_are_turned_off_and_on_by_who_has_seen_why(site: Site) -> None:
    operator, owner = site.signed_in("operator"), site.signed_in("owner")
    off = operator.post(f"{WHERE}/writes", json={"on": False, "reason": "leak"}).json()
    assert (off["on"], off["by"]) == (False, "operator")
    assert owner.get(f"{WHERE}/standing").json()["writes"]["reason"] == "leak"
    assert operator.post(f"{WHERE}/writes", json={"on": False, "reason": "a worse leak"}).status_code == 200
    late = owner.post(f"{WHERE}/writes", json={"on": True, "reason": "mended", "seen": off["at"]})
    assert late.status_code == 409 and "operator has turned" in late.json()["detail"]
    assert not WriteSwitch(site.place).read().on
    seen = owner.get(f"{WHERE}/standing").json()["writes"]["at"]
    assert owner.post(f"{WHERE}/writes", json={"on": True, "reason": "mended", "seen": seen}).json()["on"]
    assert [event["by"] for event in site.told("writes_turned")] == ["operator", "operator", "owner"]


def test_a_stop_that_nobody_has_seen_is_not_reset(site: Site) -> None:
    operator = site.signed_in("operator")
    operator.post("/api/v1/stop-all", json={"reason": "smoke"})
    seen = operator.get(f"{WHERE}/standing").json()["latch"]["count"]
    reset = f"{WHERE}/reset-stop"
    late = operator.post(reset, json={"reason": "it was steam", "count": seen - 2})
    assert late.status_code == 409 and "stopped snar-flow again" in late.json()["detail"]
    assert Latch(site.place).read().engaged
    assert operator.post(reset, json={"reason": "it was steam", "count": seen}).status_code == 200
    second = operator.post(reset, json={"reason": "me too", "count": seen})
    assert "operator reset it" in second.json()["detail"]
    assert [event["by"] for event in site.told("stop_reset")] == ["operator"]
