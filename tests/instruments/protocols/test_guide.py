"""The profiles in the guide are read, and the worked one is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bluesky.plan_stubs import mv, read, trigger
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask
from ruamel.yaml import YAML

from athanor.instruments.profile import parse_profile
from athanor.instruments.protocols.mqtt_access import Topic
from athanor.instruments.protocols.mqtt_messages import SIGNAL_OPTIONS
from athanor.instruments.protocols.opcua import BETWEEN
from athanor.instruments.protocols.registers import Register
from athanor.instruments.protocols.sila_features import Address
from athanor.instruments.protocols.wired import PROTOCOLS, client_class, connect_profile
from athanor.instruments.protocols.wiring import AxisWiring, ControllerSpec
from tests.instruments.protocols.scpi_rig import ScpiRig

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "connect-an-instrument.md"


def blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_worked_profile_runs() -> None:
    rig = ScpiRig()
    rig.start()
    try:
        text = blocks()[0]
        assert parse_profile(text).controllers["bench"].address == "TCPIP::192.0.2.10::5025::SOCKET"
        engine = RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
        devices = connect_profile(parse_profile(text.replace("TCPIP::192.0.2.10::5025::SOCKET", rig.address)))
        try:
            engine(mv(devices.axes["stage"], 2.0))
            engine(trigger(devices.detectors[0], wait=True))
            readings = engine(read(devices.detectors[0])).plan_result | engine(read(devices.axes["stage"])).plan_result
        finally:
            devices.close()
        assert readings["counts"]["value"] == 0.625
        assert readings["stage"]["value"] == pytest.approx(2.0, abs=0.005)
    finally:
        rig.close()


def test_the_node_of_the_guide_is_read() -> None:
    content = YAML(typ="safe").load(blocks()[2])
    assert ControllerSpec.model_validate(content["controllers"]["node"]).protocol == "http"
    assert AxisWiring.model_validate(content["devices"]["stage"]).lag_s == 3


def test_the_opc_ua_machine_of_the_guide_is_read() -> None:
    content = YAML(typ="safe").load(blocks()[3])
    controller = ControllerSpec.model_validate(content["controllers"]["plc"])
    client_class(controller.protocol)(controller.address, controller.options, "plc")
    stop = AxisWiring.model_validate(content["devices"]["stage"]).signals()["stop"]
    assert len(BETWEEN.split(stop.address("write").removeprefix("call:"))) == 2


def test_the_modbus_oven_of_the_guide_is_read() -> None:
    content = YAML(typ="safe").load(blocks()[4])
    controller = ControllerSpec.model_validate(content["controllers"]["oven"])
    client_class(controller.protocol)(controller.address, controller.options, "oven")
    for signal in AxisWiring.model_validate(content["devices"]["heater"]).signals().values():
        for address in (signal.read, signal.write, signal.options.get("fault")):
            assert address is None or Register.parse(str(address))


def test_the_epics_motor_of_the_guide_is_read() -> None:
    content = YAML(typ="safe").load(blocks()[5])
    controller = ControllerSpec.model_validate(content["controllers"]["ioc"])
    client_class(controller.protocol)(controller.address, controller.options, "ioc")
    assert set(AxisWiring.model_validate(content["devices"]["stage"]).signals()) == {
        "setpoint",
        "readback",
        "done",
        "stop",
    }


@pytest.mark.parametrize(("controller", "device"), [("robot", "stage"), ("pump", "flow")])
def test_the_sila_and_mqtt_controllers_of_the_guide_are_read(controller: str, device: str) -> None:
    content = YAML(typ="safe").load(next(block for block in blocks() if f"  {controller}:\n" in block))
    spec = ControllerSpec.model_validate(content["controllers"][controller])
    client_class(spec.protocol)(spec.address, spec.options, controller)
    parse = {"sila": Address.parse, "mqtt": Topic.parse}[spec.protocol]
    signals = AxisWiring.model_validate(content["devices"][device]).signals()
    assert {"setpoint", "readback", "stop"} <= signals.keys()
    for signal in signals.values():
        for address in filter(None, (signal.read, signal.write)):
            assert parse(address)
        assert spec.protocol == "sila" or signal.options.keys() <= SIGNAL_OPTIONS


def test_the_guide_names_every_protocol() -> None:
    table = GUIDE.read_text()
    for protocol in PROTOCOLS:
        assert f"`{protocol}`" in table
