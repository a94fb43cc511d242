from __future__ import annotations

from tests.instruments.protocols.conformance import Conformance
from tests.instruments.protocols.mqtt_rig import MqttRig, PeriodicRig


class TestMqtt(Conformance):
    rig_class = MqttRig


class TestMqttPeriodic(Conformance):
    rig_class = PeriodicRig
