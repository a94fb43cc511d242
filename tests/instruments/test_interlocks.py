"""Interlocks: they hold only by values that are known, fresh and of the right kind."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from athanor.instruments.bounds import Code, SetRefused
from athanor.instruments.interlocks import STALE, TRIPPED, UNKNOWN, Interlocks, InterlockSpec, LiveSpec, faults
from athanor.instruments.live import LiveSignals, Probe
from athanor.instruments.profile import Profile, ProfileError, parse_profile

PROFILE = """\
name: furnace
laboratory: wired
simulated: true
axes:
  heater: {unit: degC, minimum: 0, maximum: 900}
  solvent: {allowed: [EtOH, MeCN]}
detectors:
  scale: {signals: {mass: g}}
outcomes: {mass: {signal: mass, unit: g}}
signals:
  flow: {unit: L/min, controller: plc, read: "holding:1:float32"}
  door: {type: bool, controller: plc, read: "discrete:2", max_age_s: 5}
interlocks:
  - name: cooled
    require: flow > 2 or heater < 100
    message: open the cooling water
  - {name: shut, require: not door and solvent != "MeCN", when: moving, on_trip: refuse, stale_s: 3}
controllers:
  plc: {protocol: modbus, address: "192.0.2.1:502"}
devices:
  heater: {controller: plc, setpoint: {write: "holding:0:float32", read: "holding:0:float32"}, verify: accepted}
  solvent: {controller: plc, setpoint: {write: "holding:5:string4", read: "holding:5:string4", type: str}, verify: none}
  scale: {controller: plc, signals: {mass: {read: "holding:9:float32"}}}
"""


def signals(**reads: Any) -> LiveSignals:
    """Signals that say what they are given, or what the function they are given returns or raises."""
    kinds = {bool: "truth", str: "word"}
    loop: Any = None  # nothing here is asynchronous
    return LiveSignals(
        {
            name: Probe(read if callable(read) else lambda read=read: read, kinds.get(type(read), "number"), loop)  # type: ignore[arg-type,misc]
            for name, read in reads.items()
        }
    )


def refused(require: str, reads: Mapping[str, Any], **fields: Any) -> SetRefused:
    spec = InterlockSpec(name="i", require=require, **{"stale_s": 0.2, **fields})
    with pytest.raises(SetRefused) as caught:
        Interlocks([spec], signals(**reads)).verify()
    return caught.value


def broken(message: str) -> Callable[[], Any]:
    def read() -> Any:
        raise ConnectionError(message)

    return read


def test_what_holds_lets_through() -> None:
    specs = [InterlockSpec(name="a", require="x < 2"), InterlockSpec(name="b", require="not open and x > 0")]
    Interlocks(specs, signals(x=1.5, open=False)).verify()


def test_what_does_not_hold_is_told_with_its_message_and_values() -> None:
    error = refused("x < 2 and y > 0", {"x": 3.0, "y": 1}, message="it is too hot")
    assert error.code == TRIPPED
    assert error.detail == "i: it is too hot: x < 2 and y > 0 (x = 3.0, y = 1.0)"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, UNKNOWN),
        (math.inf, UNKNOWN),
        (10**400, UNKNOWN),
        (None, UNKNOWN),
        ("1", UNKNOWN),
        ([1.0], UNKNOWN),
        ({"value": math.nan, "timestamp": 0.0}, UNKNOWN),
        ({"timestamp": 0.0}, UNKNOWN),
        (broken("cable"), UNKNOWN),
        (lambda: threading.Event().wait(1.0), STALE),
    ],
)
def test_unknown_means_refused_whatever_the_rest_of_it_says(value: Any, code: str) -> None:
    read = value if callable(value) else (lambda: value)
    for require in ("x < 2", "not x < 2", "y > 0 or x < 2", "x != 2"):
        assert refused(require, {"x": read, "y": 1.0}).code == code


def test_a_division_by_nothing_is_unknown() -> None:
    assert refused("1 / x > 0", {"x": 0.0}).code == UNKNOWN


def test_a_truth_is_not_a_number_and_a_number_no_truth() -> None:
    live = LiveSignals({"open": Probe(lambda: 0, "truth", None)})  # type: ignore[arg-type]
    with pytest.raises(SetRefused, match=r"interlock\.unknown.*not a truth"):
        Interlocks([InterlockSpec(name="i", require="not open")], live).verify()


def test_a_value_from_before_the_question_does_not_count() -> None:
    answers = iter([1.0, 5.0])
    interlocks = Interlocks([InterlockSpec(name="i", require="x < 2")], signals(x=lambda: next(answers)))
    interlocks.verify()
    with pytest.raises(SetRefused, match=r"x = 5\.0"):
        interlocks.verify()


def test_a_slow_signal_is_stale_and_believed_again_once_it_answers() -> None:
    free = threading.Event()
    asked: list[float] = []

    def read() -> float:
        asked.append(time.monotonic())
        free.wait(10)
        return 1.0

    interlocks = Interlocks([InterlockSpec(name="i", require="x < 2", stale_s=0.1)], signals(x=read))
    for _ in range(3):
        with pytest.raises(SetRefused, match=r"interlock\.stale.*did not answer in time"):
            interlocks.verify()
    assert len(asked) == 1, "one question at a time"
    free.set()
    deadline = time.monotonic() + 5
    while True:
        try:
            return interlocks.verify()
        except SetRefused:
            assert time.monotonic() < deadline


def test_the_watch_looks_at_what_stops_and_only_while_it_applies() -> None:
    specs = [
        InterlockSpec(name="a", require="x < 2", on_trip="refuse"),
        InterlockSpec(name="b", require="x < 3", when="moving"),
        InterlockSpec(name="c", require="x < 4"),
    ]

    def names(x: float) -> list[str | None]:
        interlocks, since = Interlocks(specs, signals(x=x)), time.monotonic()
        found = [interlocks.watch(1.0, since, is_moving=is_moving) for is_moving in (False, True)]
        return [one and one.name for one in found]

    assert names(1.0) == [None, None]
    assert names(2.5) == [None, None]
    assert names(3.5) == [None, "b"]
    assert names(4.5) == ["c", "b"]


def test_the_watch_waits_no_longer_than_it_is_told_and_believes_no_old_value() -> None:
    free, first = threading.Event(), threading.Event()

    def read() -> float:
        if first.is_set():
            free.wait(10)
        first.set()
        return 1.0

    interlocks = Interlocks([InterlockSpec(name="i", require="x < 2", stale_s=0.3)], signals(x=read))
    since = time.monotonic()
    try:
        assert interlocks.watch(5.0, since, is_moving=False) is None
        began = time.monotonic()
        assert interlocks.watch(0.05, since, is_moving=False) is None, "the last value is fresh enough"
        assert time.monotonic() - began < 0.3
        while (found := interlocks.watch(0.05, since, is_moving=False)) is None:
            assert time.monotonic() < since + 5
        assert found.code == STALE
        assert time.monotonic() - since > 0.3
    finally:
        free.set()


@given(
    x=st.floats() | st.none() | st.text(max_size=3) | st.booleans(), low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6)
)
@settings(max_examples=60, deadline=None)
def test_nothing_outside_passes(x: Any, low: float, width: float) -> None:
    spec = InterlockSpec(name="i", require=f"{low!r} <= x <= {low + width!r}")
    live = LiveSignals({"x": Probe(lambda: x, "number", None)})  # type: ignore[arg-type]
    try:
        Interlocks([spec], live).verify()
    except SetRefused as error:
        inside = isinstance(x, float) and low <= x <= low + width
        assert not inside, error
    else:
        assert isinstance(x, float) and low <= x <= low + width


# -- in a profile -----------------------------------------------------------------------------------------------------


def test_a_profile_with_interlocks_is_read_and_stored() -> None:
    profile = parse_profile(PROFILE)
    assert [interlock.name for interlock in profile.interlocks] == ["cooled", "shut"]
    assert profile.live() == {"heater": "number", "solvent": "word", "flow": "number", "door": "truth"}
    assert type(profile).model_validate(profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "said"),
    [
        ("flow > 2 or", "flow >> 2 or", 15, "interlocks.0.require", "no place in an interlock"),
        ("flow > 2 or", "__import__('os').system('true') or", 15, "interlocks.0.require", "not understood"),
        ("flow > 2 or", "float > 2 or", 15, "interlocks.0.require", "no live signal 'float'"),
        ("flow > 2 or", "mass > 2 or", 15, "interlocks.0.require", "only when its detector is triggered"),
        ("flow > 2 or", "door > 2 or", 15, "interlocks.0.require", "true or false already"),
        ("flow > 2 or heater < 100", "flow + heater", 15, "interlocks.0.require", "neither true nor false"),
        ("flow > 2 or heater < 100", "2", 15, "interlocks.0.require", ""),
        ("name: shut", "name: cooled", 17, "interlocks.1.name", "two interlocks"),
        ("name: shut", "name: 'shut it'", 17, "interlocks.1.name", "plain name"),
        ("when: moving", "when: sometimes", 17, "interlocks.1.when", ""),
        ("on_trip: refuse", "on_trip: ignore", 17, "interlocks.1.on_trip", ""),
        ("stale_s: 3", "stale_s: .inf", 17, "interlocks.1.stale_s", ""),
        ("stale_s: 3", "stale_s: 0", 17, "interlocks.1.stale_s", ""),
        ("stale_s: 3", "stale: 3", 17, "interlocks.1.stale", ""),
        ("plc, read: \"discrete:2\"", "plq, read: \"discrete:2\"", 12, "signals.door.controller", "controller 'plq'"),
        ("controller: plc, read: \"discrete:2\", ", "", 12, "signals.door", "nothing says where"),
        ("  flow: {", "  heater: {", 11, "signals.heater", "an axis has that name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_at_load_with_its_line_and_field(
    old: str, new: str, line: int, field: str, said: str
) -> None:
    assert old in PROFILE
    with pytest.raises(ProfileError) as caught:
        parse_profile(PROFILE.replace(old, new, 1), "furnace.yaml")
    problem = next(each for each in caught.value.problems if each.field == field)
    assert (problem.line, said in problem.detail) == (line, True), problem
    assert problem.remedy


def test_the_interlocks_of_the_guide_are_read() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "connect-an-instrument.md"
    worked, *others = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
    [block] = [text for text in others if "interlocks:" in text]
    content = YAML(typ="safe").load(worked) | YAML(typ="safe").load(block)
    profile = Profile.model_validate(content)
    assert [interlock.name for interlock in profile.interlocks] == ["pressure", "door"]
    assert profile.axes["stage"].walk and profile.live() == {
        "stage": "number",
        "pressure": "number",
        "door_open": "truth",
    }
    for code in (TRIPPED, STALE, UNKNOWN, *get_args(Code), "writes.off", "config.changed"):
        assert f"`{code}`" in guide.read_text(), code


def test_faults_name_every_interlock_that_is_wrong() -> None:
    specs = [InterlockSpec(name="a", require="x < 1"), InterlockSpec(name="b", require="y < 1")]
    assert [place for place, _, _ in faults(specs, {})] == [("interlocks", 0, "require"), ("interlocks", 1, "require")]
    assert list(faults(specs, {"x": "number", "y": "number"})) == []


def test_a_live_signal_has_both_controller_and_address_or_neither() -> None:
    assert LiveSpec(type="bool").kind == "truth"
    for fields in ({"controller": "plc"}, {"read": "X?"}, {"controller": "plc", "read": "X?", "scale": 0.0}):
        with pytest.raises(ValueError, match="give"):
            LiveSpec.model_validate(fields)


def test_a_question_is_shared_while_it_is_open() -> None:
    free = threading.Event()
    probe = Probe(lambda: free.wait(10) and 1.0, "number", None)  # type: ignore[arg-type]
    asked: list[Future[Any]] = [probe.ask() for _ in range(50)]
    assert len(set(map(id, asked))) == 1
    free.set()
    assert asked[0].result(5).value == 1.0
    assert probe.ask() is not asked[0]


def test_a_shared_look_that_had_its_value_before_the_question_is_followed_by_another() -> None:
    class Shared(LiveSignals):
        """The first look of all is one that another question has begun: its value was there before this one."""

        asked = 0

        def ask(self, names: Any) -> list[Future[Any]]:
            self.asked += 1
            return super().ask(names) if self.asked > 1 else [open_look]

    live = Shared({"flow": Probe(lambda: 3.0, "number", None)})  # type: ignore[arg-type]
    [open_look] = LiveSignals.ask(live, ["flow"])
    open_look.result(5)
    Interlocks([InterlockSpec(name="cooled", require="flow > 2")], live).verify()
    assert live.asked == 2


def test_how_they_stand_is_said_without_refusing_anything() -> None:
    specs = [
        InterlockSpec(name="good", require="x < 2"),
        InterlockSpec(name="bad", require="x > 2"),
        InterlockSpec(name="dark", require="y > 0"),
    ]
    found = Interlocks(specs, signals(x=1.5, y=broken("no answer"))).present(1.0)
    assert [(one.name, one.holds) for one in found] == [("good", True), ("bad", False), ("dark", None)]
    assert found[0].detail is None and "x = 1.5" in str(found[1].detail) and "no answer" in str(found[2].detail)
