from __future__ import annotations

import json

import pytest

from athanor.instruments.laboratory import RunContext
from athanor.instruments.profile import Profile, ProfileError, parse_profile
from athanor.instruments.protocols.wiring import AxisWiring, ClassWiring, DetectorWiring

PROFILE = """\
name: furnace
laboratory: wired
simulated: false
axes:
  temperature: {unit: degC, minimum: 20, maximum: 900, tolerance: 0.5, timeout_s: 600}
  shutter: {allowed: [open, closed]}
detectors:
  pyrometer: {signals: {glow: degC}}
outcomes:
  glow: {signal: glow, unit: degC}
controllers:
  oven:
    protocol: scpi
    address: TCPIP::127.0.0.1::5025::SOCKET
    options: {expect: Oven}
devices:
  temperature:
    controller: oven
    setpoint: {write: "TEMP {value}", read: "TEMP:SET?"}
    readback: {read: "TEMP?", unit: degC}
    stop: hold
    stable_s: 5
  shutter:
    class: my_package.shutters:Shutter
    args: {pin: 4}
  pyrometer:
    controller: oven
    signals:
      glow: {read: "GLOW?", scale: 0.1, offset: -273.15}
"""


def test_a_wired_profile_is_read_and_survives_being_stored() -> None:
    profile = parse_profile(PROFILE)
    temperature = profile.devices["temperature"]
    assert isinstance(temperature, AxisWiring)
    assert temperature.stop == "hold"
    assert isinstance(profile.devices["shutter"], ClassWiring)
    assert isinstance(profile.devices["pyrometer"], DetectorWiring)
    assert Profile.model_validate(json.loads(json.dumps(profile.model_dump(mode="json")))) == profile


def wrong(old: str, new: str) -> list[tuple[int | None, str, str]]:
    assert old in PROFILE
    with pytest.raises(ProfileError) as caught:
        parse_profile(PROFILE.replace(old, new))
    return [(problem.line, problem.field, problem.detail) for problem in caught.value.problems]


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(PROFILE.splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "field", "detail"),
    [
        (
            "unit: degC}\n    stop",
            "unit: K}\n    stop",
            "devices.temperature.readback.unit",
            "gives K, axis temperature",
        ),
        (
            "controller: oven\n    setpoint",
            "controller: owen\n    setpoint",
            "devices.temperature.controller",
            "'owen'",
        ),
        ("      glow: {read", "      glo: {read", "devices.pyrometer.signals", "signal glow is missing in devices"),
        ("  pyrometer:\n    controller", "  pyro:\n    controller", "devices", "pyrometer is not wired"),
        ('{write: "TEMP {value}", read: "TEMP:SET?"}', '{read: "X"}', "devices.temperature", "cannot be written"),
        ('readback: {read: "TEMP?", unit: degC}', "verify: readback", "devices.temperature", "but there is none"),
        ("stop: hold", "stop: halt", "devices.temperature.stop", "hold"),
        ("stop: hold", "stopp: hold", "devices.temperature.stopp", "xtra"),
        ("scale: 0.1", "scale: 0", "devices.pyrometer.signals.glow", "loses every value"),
        ("my_package.shutters:Shutter", "my_package.shutters", "devices.shutter.class", "names no class"),
        ("options: {expect: Oven}", "options: {expect: [1]}", "controllers.oven.options.expect", ""),
        ("protocol: scpi", "protocol: scpi\n    connect_s: 0", "controllers.oven.connect_s", "greater than 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, field: str, detail: str) -> None:
    problems = wrong(old, new)
    assert any(found.startswith(field) and detail in said and line for line, found, said in problems), problems


def test_every_disagreement_is_told_at_once_each_with_its_line() -> None:
    text = PROFILE.replace("controller: oven", "controller: owen").replace(
        "unit: degC}\n    stop", "unit: K}\n    stop"
    )
    with pytest.raises(ProfileError) as caught:
        parse_profile(text)
    assert [(problem.field, problem.line) for problem in caught.value.problems] == [
        ("devices.temperature.controller", line_of("controller: oven")),
        ("devices.temperature.readback.unit", line_of("TEMP?")),
        ("devices.pyrometer.controller", 27),
        ("controllers.oven", line_of("  oven:")),
    ]
    assert "use one of: oven" in str(caught.value)


def test_a_profile_made_in_python_is_held_to_the_same() -> None:
    content = parse_profile(PROFILE).model_dump(mode="json")
    content["devices"]["temperature"]["controller"] = "owen"
    with pytest.raises(ValueError, match="no controller 'owen'"):
        Profile.model_validate(content)


def test_an_unwired_instrument_needs_none_of_it() -> None:
    profile = parse_profile(PROFILE[: PROFILE.index("controllers:")].replace("wired", "snar-flow"))
    assert profile.controllers == {}
    assert profile.devices == {}


def test_a_wired_instrument_without_wires_is_refused() -> None:
    with pytest.raises(ProfileError, match="devices"):
        parse_profile(PROFILE[: PROFILE.index("controllers:")])


PREPARE = """
prepare:
  - {controller: oven, signal: {write: "RUN {value}", type: int}, value: "{ordinal}"}
  - {controller: oven, signal: {write: "SEED {value}"}, value: "{seed}"}
  - {controller: oven, signal: {write: "FILE {value}", type: str}, value: "{experiment}-{replicates}.dat"}
  - {controller: oven, signal: {write: "BEGIN {value}", type: bool}, value: true}
"""


def test_what_a_controller_is_told_names_the_run() -> None:
    run = RunContext(intent="i", experiment="{seed}", ordinal=3, seed=7, replicates=2)
    assert [part.render(run) for part in parse_profile(PROFILE + PREPARE).prepare] == [3, 7, "{seed}-2.dat", True]


def test_a_profile_that_prepares_nothing_is_written_as_before() -> None:
    assert "prepare" not in parse_profile(PROFILE).model_dump(mode="json")


def test_the_order_of_what_is_told_outlives_whoever_sorts_keys() -> None:
    profile = parse_profile(PROFILE + PREPARE)
    assert Profile.model_validate(json.loads(json.dumps(profile.model_dump(mode="json"), sort_keys=True))) == profile


@pytest.mark.parametrize(
    ("old", "new", "field", "detail"),
    [
        ('"{ordinal}"', '"{values}"', "prepare.0", "a run has no 'values'; use one of: intent, experiment"),
        ('"{ordinal}"', '"{ordinal.real}"', "prepare.0", "lone brace"),
        ('"{ordinal}"', '"{}"', "prepare.0", "a run has no ''"),
        ('"{ordinal}"', '"{intent}"', "prepare.0", "is not a int"),
        ('"{ordinal}"', '"1{ordinal}"', "prepare.0", "is not a int"),
        ('"{ordinal}"', "1.5", "prepare.0", "is not a int"),
        ("value: true", 'value: "{seed}"', "prepare.3", "is not a bool"),
        ('write: "RUN {value}"', 'read: "RUN?"', "prepare.0", "cannot be written"),
        ("- {controller: oven", "- {controller: owen", "prepare.0.controller", "'owen'"),
    ],
)
def test_what_cannot_be_told_is_said_with_its_place(old: str, new: str, field: str, detail: str) -> None:
    text = PROFILE + PREPARE
    assert text.count(old) >= 1
    with pytest.raises(ProfileError) as caught:
        parse_profile(text.replace(old, new, 1))
    problems = [(problem.line, problem.field, problem.detail) for problem in caught.value.problems]
    assert any(found.startswith(field) and detail in said and line for line, found, said in problems), problems


def test_a_manual_device_says_what_is_plausible_of_its_own_signals() -> None:
    content = {
        "name": "bench",
        "laboratory": "wired",
        "simulated": False,
        "axes": {"oven": {"minimum": 0, "maximum": 1}},
        "detectors": {"eye": {"signals": {"shade": None}}},
        "outcomes": {"shade": {"signal": "shade"}},
        "devices": {
            "oven": {"protocol": "manual", "plausible": {"shade": [0, 1]}},
            "eye": {"protocol": "manual", "plausible": {"colour": [0, 1]}, "stands_at": 3},
        },
    }
    with pytest.raises(ValueError, match=r"oven has no signal 'shade'.*an axis has limits") as refused:
        Profile.model_validate(content)
    assert "eye has no signal 'colour'; use one of: shade" in str(refused.value)
    assert "eye is a detector; remove it" in str(refused.value)
    content["devices"] = {"oven": {"protocol": "manual"}, "eye": {"protocol": "manual", "plausible": {"shade": [1, 0]}}}
    with pytest.raises(ValueError, match=r"shade: 1 is not below 0; write \[low, high\]"):
        Profile.model_validate(content)
