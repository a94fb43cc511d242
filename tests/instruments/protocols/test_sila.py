from __future__ import annotations

from tests.instruments.protocols.conformance import Conformance
from tests.instruments.protocols.sila_rig import ObservableRig, SilaRig


class TestSila(Conformance):
    rig_class = SilaRig


class TestSilaObservable(Conformance):
    rig_class = ObservableRig
