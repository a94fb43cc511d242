"""A check finds every fault of an instrument at once, moves nothing unless asked, and tells faults from hindrances."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from athanor.instruments.checking import Check
from athanor.instruments.config import Config, take_lock
from athanor.instruments.findings import Report
from athanor.instruments.latch import Latch
from athanor.instruments.sight import look_at
from athanor.instruments.stop import known_places
from athanor.instruments.takeover import TakeOver
from athanor.instruments.wire import Connection, Message, Server
from athanor.instruments.words import Refused
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.places import InstrumentPlace
from tests.instruments.protocols.scpi_rig import ScpiRig

Content = dict[str, Any]
Edit = Callable[[Content], object]


@pytest.fixture
def rig() -> Iterator[ScpiRig]:
    rig = ScpiRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    return InstrumentPlace.of("bench", home)


def content(rig: ScpiRig) -> Content:
    return {
        "name": "bench",
        "laboratory": "wired",
        "simulated": True,
        "axes": {
            "stage": {"unit": "mm", "minimum": 0, "maximum": 50, "tolerance": 0.01, "timeout_s": 10, "largest_step": 20}
        },
        "detectors": {"camera": {"signals": {"counts": "1/s"}}},
        "outcomes": {"counts": {"signal": "counts", "unit": "1/s"}},
        "controllers": {"bench": {"protocol": "scpi", "address": rig.address}},
        "devices": {
            "stage": {
                "controller": "bench",
                "setpoint": {"write": "POS {value}", "read": "TARG?"},
                "readback": {"read": "POS?"},
                "done": {"read": "MOV?", "type": "bool"},
                "done_value": False,
                "stop": {"write": "STOP", "type": "int"},
                "poll_s": 0.01,
            },
            "camera": {"controller": "bench", "signals": {"counts": {"read": "MEAS?"}}},
        },
    }


def check(rig: ScpiRig, place: InstrumentPlace, *edits: Edit, **options: Any) -> Report:
    tree = content(rig)
    for edit in edits:
        edit(tree)
    stream = io.StringIO()
    YAML().dump(tree, stream)
    return Check(look_at(stream.getvalue(), "bench.yaml"), place, timeout_s=3.0, **options).run()


def faults(report: Report) -> list[str]:
    return [str(finding) for finding in report.having("fault")]


def commands(rig: ScpiRig) -> list[str]:
    """What the instrument was told, other than asked."""
    return [text for text in rig.server.heard if not text.endswith("?")]


def start_at(rig: ScpiRig, position: float) -> None:
    rig.plant._from = rig.plant._to = position


def without(*path: str) -> Edit:
    def edit(tree: Content) -> None:
        *way, last = path
        for step in way:
            tree = tree[step]
        del tree[last]

    return edit


def having(*path: Any) -> Edit:
    def edit(tree: Content) -> None:
        *way, last, value = path
        for step in way:
            tree = tree.setdefault(step, {})
        tree[last] = value

    return edit


def both(*edits: Edit) -> Edit:
    return lambda tree: [edit(tree) for edit in edits]


def twin(tree: Content) -> None:
    tree["axes"]["twin"] = dict(tree["axes"]["stage"])
    tree["devices"]["twin"] = dict(tree["devices"]["stage"])


def third(tree: Content) -> None:
    """Another axis, on a controller that is not there."""
    tree["axes"]["lift"] = dict(tree["axes"]["stage"])
    tree["controllers"]["gone"] = {"protocol": "scpi", "address": "127.0.0.1:1", "connect_s": 1}
    tree["devices"]["lift"] = {**tree["devices"]["stage"], "controller": "gone"}


BROKEN: dict[str, tuple[Edit, str, str]] = {
    "no limits": (
        both(without("axes", "stage", "minimum"), without("axes", "stage", "maximum")),
        "limits: stage",
        "neither a finite minimum and maximum",
    ),
    "infinite limit": (having("axes", "stage", "maximum", math.inf), "file: axes.stage.maximum", "finite"),
    "minimum above maximum": (having("axes", "stage", "minimum", 60), "file: axes.stage", "minimum 60.0 is above"),
    "unknown field": (having("axes", "stage", "colour", "red"), "file: axes.stage.colour", "not permitted"),
    "unknown protocol": (
        having("controllers", "bench", "protocol", "pigeon"),
        "building: bench",
        "there is no protocol 'pigeon'",
    ),
    "controller not listening": (third, "connecting: gone: no connection to 127.0.0.1:1", "127.0.0.1"),
    "wrong address of one signal": (
        both(
            having("devices", "camera", "signals", "counts", "read", "NOWH?"),
            having("devices", "camera", "reply_s", 0.2),
        ),
        "connecting: camera.counts",
        "no answer within",
    ),
    "no read-back": (
        both(without("devices", "stage", "readback"), having("devices", "stage", "verify", "accepted")),
        "read-back: stage",
        "only its set point can be read",
    ),
    "no stop": (without("devices", "stage", "stop"), "stop: stage", "it cannot be stopped"),
    "outcome in another unit": (
        having("outcomes", "counts", "unit", "V"),
        "file: outcomes.counts.unit",
        "it is in V, its signal counts in 1/s",
    ),
    "outcome of no signal": (
        having("outcomes", "counts", "signal", "volts"),
        "file: outcomes.counts.signal",
        "there is no signal 'volts'",
    ),
    "two axes on one signal": (twin, "file: devices.twin.setpoint", "axis stage has the same signal: POS {value}"),
    "interlock of no signal": (
        having("interlocks", [{"name": "lid", "require": "lid_closed"}]),
        "file: interlocks.0.require",
        "lid_closed",
    ),
    "no such class": (
        having("devices", "stage", {"class": "no_such_package.motors:Motor"}),
        "building: stage",
        "no_such_package",
    ),
    "stale name": (having("devices", "lamp", {"class": "a:B"}), "file: devices.lamp", "neither an axis nor a detector"),
    "no name": (without("name"), "file: name", "required"),
}


def test_a_sound_instrument_is_alive_and_can_run(rig: ScpiRig, place: InstrumentPlace) -> None:
    report = check(rig, place)
    assert faults(report) == []
    assert (report.is_alive, report.can_run, report.exit_code) == (True, True, 0)
    assert commands(rig) == [], "nothing was told to do anything"
    assert not place.directory.exists(), "and nothing was left behind"
    [stop] = [finding for finding in report.findings if finding.step == "stop"]
    assert stop.status == "not checked"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_profile_fails_with_its_fault_and_no_other(name: str, rig: ScpiRig, place: InstrumentPlace) -> None:
    edit, where, why = BROKEN[name]
    report = check(rig, place, edit)
    found = [said for said in faults(report) if said.startswith(where)]
    assert found, faults(report)
    assert any(why in said for said in found)
    allowed = {"two axes on one signal": 2}.get(name, 1)
    assert len(faults(report)) == allowed, faults(report)
    assert report.exit_code == 1 and not report.can_run
    assert commands(rig) == []


def another(name: str, *edits: Edit, **changes: Any) -> Edit:
    """An axis more, wired like the stage but for `changes`; `edits` are made inside it, as `axis` and `device`."""

    def edit(tree: Content) -> None:
        made = {"axis": dict(tree["axes"]["stage"]), "device": {**tree["devices"]["stage"], **changes}}
        for change in edits:
            change(made)
        tree["axes"][name], tree["devices"][name] = made["axis"], made["device"]

    return edit


EVERY_FAULT: list[Edit] = [
    another("open", without("axis", "minimum"), without("axis", "maximum")),
    another("high", having("axis", "minimum", 60)),
    another("mute", without("device", "readback"), verify="accepted"),
    another("wild", without("device", "stop")),
    another("motor", having("device", {"class": "no_such_package.motors:Motor"})),
    another("bird", controller="loft"),
    twin,
    third,
    having("axes", "lift", "maximum", math.inf),
    having("controllers", "loft", {"protocol": "pigeon", "address": "roof"}),
    having("devices", "camera", "signals", "counts", "read", "NOWH?"),
    having("devices", "camera", "reply_s", 0.2),
    having("devices", "lamp", {"class": "a:B"}),
    having("outcomes", "volts", {"signal": "volts"}),
    having("outcomes", "counts", "unit", "V"),
    having("interlocks", [{"name": "lid", "require": "lid"}, {"name": "dark", "require": "counts <"}]),
    having("axes", "stage", "colour", "red"),
]
"""The faults of all broken profiles but of that without a name, for which nothing is connected, made in one file."""


def test_all_faults_stand_in_one_report_and_the_rest_is_looked_at(rig: ScpiRig, place: InstrumentPlace) -> None:
    report = check(rig, place, *EVERY_FAULT)
    said = faults(report)
    for expected in (
        "file: axes.stage.colour",
        "file: axes.high: minimum 60.0 is above",
        "file: axes.lift.maximum",
        "file: devices.twin.setpoint",
        "file: devices.lamp",
        "file: outcomes.volts.signal",
        "file: outcomes.counts.unit",
        "file: interlocks.0.require",
        "file: interlocks.1.require",
        "limits: open: ",
        "read-back: mute",
        "stop: wild",
        "building: motor",
        "building: loft: there is no protocol 'pigeon'",
        "connecting: gone: no connection to 127.0.0.1:1",
        "connecting: camera.counts: no answer within",
    ):
        assert any(line.startswith(expected) for line in said), (expected, said)
    assert all("bench.yaml" in line for line in said if line.startswith("file"))
    sound = [(finding.step, finding.subject) for finding in report.having("ok")]
    assert ("limits", "bird") in sound and ("connecting", "stage") in sound, "what is right is looked at, too"
    assert not report.is_alive
    assert commands(rig) == []


def test_a_missing_library_names_what_to_install(
    rig: ScpiRig, place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncua", None)
    report = check(
        rig, place, third, having("controllers", "gone", {"protocol": "opcua", "address": "opc.tcp://127.0.0.1:1"})
    )
    [said] = faults(report)
    assert said.startswith("building: gone") and "athanor-lab[opcua]" in said


def test_yaml_that_is_none_is_the_only_thing_said(place: InstrumentPlace) -> None:
    report = Check(look_at("name: [", "bench.yaml"), place).run()
    assert len(report.having("fault")) == 1 and report.exit_code == 1 and report.card is None


def test_a_detector_without_a_trigger_must_read_a_number(rig: ScpiRig, place: InstrumentPlace) -> None:
    rig.plant.measured = math.nan
    [said] = faults(check(rig, place))
    assert said.startswith("detectors: camera.counts")


# -- alive, but no experiment can run now -----------------------------------------------------------------------------


def test_what_hinders_a_run_is_no_fault(rig: ScpiRig, place: InstrumentPlace) -> None:
    latch = Latch(place)
    latch.create()
    latch.engage("leak", "tester")
    WriteSwitch(place).off("new tubing", "tester")
    start_at(rig, 70.0)
    interlocks = [{"name": "dim", "require": "light < 0.1"}, {"name": "near", "require": "stage < 100"}]
    light = {"controller": "bench", "read": "MEAS?"}
    report = check(rig, place, having("interlocks", interlocks), having("signals", {"light": light}))
    assert faults(report) == []
    assert (report.is_alive, report.can_run, report.exit_code) == (True, False, 2)
    assert [(one.step, one.device) for one in report.having("not now")] == [
        ("latch", ""),
        ("writes", ""),
        ("limits", "stage"),
        ("interlocks", "dim"),
    ]
    reasons = "\n".join(report.as_dict()["reasons"])
    assert "leak" in reasons and "new tubing" in reasons and "70.0" in reasons and "light = 0.625" in reasons


class Worker:
    """The two sockets of a worker and its recovery process, as far as a check asks them."""

    def __init__(self, place: InstrumentPlace, state: str = "idle", holder: str | None = None) -> None:
        self.state = state
        self.holder = holder
        self.facts: Message = {}
        self.servers = [
            Server(place.sockets / "worker.sock", self.answer),
            Server(place.sockets / "recovery.sock", lambda _, __: {"positions": {"stage": 3.0}, "failures": {}}),
        ]

    def answer(self, _: Connection, message: Message) -> Message:
        if message["verb"] != "hello" or (message.get("campaign") and self.holder):
            raise Refused("instrument.busy", f"bench is held by campaign {self.holder}")
        return {
            "pid": 1234,
            "state": self.state,
            "experiment": "c.1" if self.state == "running" else None,
            **self.facts,
        }

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.mark.parametrize(
    ("state", "holder", "said"),
    [
        ("running", None, "running: c.1"),
        ("idle", "snar-flow-k3f9", "held by campaign snar-flow-k3f9"),
        ("idle", None, ""),
    ],
)
def test_beside_a_worker_no_second_connection_is_opened(
    state: str, holder: str | None, said: str, rig: ScpiRig, place: InstrumentPlace
) -> None:
    worker = Worker(place, state, holder)
    try:
        report = check(rig, place, exercise=holder is not None)
    finally:
        worker.close()
    assert rig.server.heard == []
    assert faults(report) == [] and report.is_alive
    assert [finding.reason for finding in report.findings if finding.step == "read-back"] == ["3 mm"]
    assert report.exit_code == (2 if said else 0)
    assert said in "".join(finding.reason for finding in report.having("not now"))


# -- with its exercise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"recovery": "no recovery process runs"}, "no recovery process runs"),
        ({"writes": "config.changed: start it anew"}, "config.changed"),
    ],
)
def test_a_worker_that_refuses_every_experiment_is_in_the_way(
    facts: Message, said: str, rig: ScpiRig, place: InstrumentPlace
) -> None:
    worker = Worker(place)
    worker.facts = facts
    try:
        report = check(rig, place)
    finally:
        worker.close()
    assert report.exit_code == 2 and said in report.having("not now")[0].reason


def exercised(report: Report) -> list[tuple[str, str]]:
    return [(finding.status, finding.reason) for finding in report.findings if finding.step == "exercise"]


def test_the_exercise_moves_halts_and_moves_back(rig: ScpiRig, place: InstrumentPlace) -> None:
    report = check(rig, place, exercise=True)
    assert [status for status, _ in exercised(report)] == ["ok", "ok", "ok"], exercised(report)
    assert [target for _, target in rig.plant.moves] == [0.5, 5.5, 0.0]
    assert rig.plant.stops == 1 and rig.plant.position == 0.0
    assert report.exit_code == 0


def test_an_axis_that_does_not_stop_is_a_fault(rig: ScpiRig, place: InstrumentPlace) -> None:
    rig.plant.stop = lambda: None  # type: ignore[method-assign]
    report = check(rig, place, exercise=True)
    assert [status for status, _ in exercised(report)] == ["ok", "fault", "ok"]
    assert "went on to" in exercised(report)[1][1]
    assert report.exit_code == 1 and rig.plant.position == 0.0


def test_an_axis_that_does_not_move_is_a_fault(rig: ScpiRig, place: InstrumentPlace) -> None:
    rig.plant.is_stuck = True
    report = check(rig, place, having("axes", "stage", "timeout_s", 0.5), exercise=True)
    assert exercised(report)[0][0] == "fault"
    assert report.exit_code == 1


@pytest.mark.parametrize("what", ["latch", "writes", "hands"])
def test_nothing_is_moved_while_nothing_may_be_set(what: str, rig: ScpiRig, place: InstrumentPlace) -> None:
    def engage() -> None:
        Latch(place).create()
        Latch(place).engage("leak", "tester")

    def off() -> None:
        WriteSwitch(place).off("leak", "tester")

    def take_over() -> None:
        place.directory.mkdir(parents=True, exist_ok=True)
        TakeOver(place).path.write_text("nobody can read this")

    {"latch": engage, "writes": off, "hands": take_over}[what]()
    report = check(rig, place, exercise=True)
    assert report.exit_code == 2 and rig.plant.moves == []
    assert what in [one.step for one in report.having("not now")]


def test_a_stop_all_in_the_middle_of_it_ends_it(rig: ScpiRig, place: InstrumentPlace) -> None:
    rig.plant.speed = 0.5  # a second for the first move

    def move(target: float, plain: Callable[[float], None] = rig.plant.move) -> None:
        plain(target)
        Latch(place).engage("leak", "tester")

    rig.plant.move = move  # type: ignore[method-assign]
    Latch(place).create()
    report = check(rig, place, exercise=True)
    assert [status for status, _ in exercised(report)] == ["not now", "not checked"], exercised(report)
    assert len(rig.plant.moves) == 1 and rig.plant.stops == 1
    assert rig.plant.position < 0.5


def test_an_interlock_refuses_the_exercise_too(rig: ScpiRig, place: InstrumentPlace) -> None:
    light = {"controller": "bench", "read": "MEAS?"}
    edits = having("interlocks", [{"name": "dim", "require": "light < 0.1"}]), having("signals", {"light": light})
    report = check(rig, place, *edits, exercise=True)
    assert rig.plant.moves == []
    assert exercised(report)[0][0] == "not now"


def test_the_steps_of_the_exercise_keep_to_the_largest_step(rig: ScpiRig, place: InstrumentPlace) -> None:
    start_at(rig, 49.0)
    report = check(rig, place, having("axes", "stage", "largest_step", 0.25), exercise=True)
    targets = [target for _, target in rig.plant.moves]
    assert targets[:2] == [48.75, 48.5] and targets[-1] == 49.0
    assert report.exit_code == 0, exercised(report)


def test_stop_all_finds_what_is_exercised(rig: ScpiRig, home: Path, tmp_path: Path) -> None:
    place = InstrumentPlace.of("bench", tmp_path / "elsewhere")
    seen: list[list[str]] = []

    def move(target: float, plain: Callable[[float], None] = rig.plant.move) -> None:
        seen.append([found.name for found in known_places()])
        plain(target)

    rig.plant.move = move  # type: ignore[method-assign]
    assert check(rig, place, exercise=True).exit_code == 0
    assert seen == [["bench"]] * 3
    assert [found.name for found in known_places()] == [], "afterwards it is nobody's"
    assert Config.read(place).profile.name == "bench", "from which a recovery process can reach it"


def test_no_worker_can_start_while_it_is_exercised(rig: ScpiRig, place: InstrumentPlace) -> None:
    locks: list[int | None] = []

    def move(target: float, plain: Callable[[float], None] = rig.plant.move) -> None:
        locks.append(take_lock(place))
        plain(target)

    rig.plant.move = move  # type: ignore[method-assign]
    check(rig, place, exercise=True)
    assert locks == [None] * 3


def test_with_a_mistake_in_the_file_nothing_is_moved(rig: ScpiRig, place: InstrumentPlace) -> None:
    report = check(rig, place, having("interlocks", [{"name": "lid", "require": "lid_closed"}]), exercise=True)
    assert rig.plant.moves == [] and exercised(report)[0][0] == "not checked"


def test_an_interlock_that_nobody_can_judge_lets_nothing_move(rig: ScpiRig, place: InstrumentPlace) -> None:
    light = {"controller": "bench", "read": "NOWH?", "reply_s": 0.2}
    edits = having("interlocks", [{"name": "dim", "require": "light < 9"}]), having("signals", {"light": light})
    report = check(rig, place, *edits, exercise=True)
    assert rig.plant.moves == [] and exercised(report)[0][0] == "not now"
    assert "connecting: light" in faults(report)[0]


# -- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_says_what_the_instrument_can_do(rig: ScpiRig, place: InstrumentPlace) -> None:
    card = check(rig, place).as_dict()["card"]
    assert card["simulated"] is True
    assert card["controllers"] == {"bench": {"protocol": "scpi", "address": rig.address}}
    [axis] = card["axes"]
    assert (axis["minimum"], axis["maximum"], axis["largest_step"], axis["unit"]) == (0.0, 50.0, 20.0, "mm")
    assert (axis["readback"], axis["stop"]) == ("readback", "signal")
    assert card["actions"] == ["move stage", "measure camera", "stop stage"]
    assert card["autonomy"] == ["approve_each", "auto_within_limits"]
    assert check(rig, place, without("devices", "stage", "stop")).as_dict()["card"]["autonomy"] == []
