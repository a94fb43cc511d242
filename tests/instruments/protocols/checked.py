"""What `athanor instruments check` finds of a rig."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from athanor.instruments.checking import Check
from athanor.instruments.findings import Report
from athanor.instruments.sight import look_at
from athanor.memory.places import InstrumentPlace
from tests.instruments.protocols.conformance import Rig


def report(rig: Rig, home: Path, **options: Any) -> Report:
    """Check the rig's instrument, as its profile says."""
    stream = io.StringIO()
    YAML().dump(rig.profile().model_dump(mode="json", exclude_none=True), stream)
    sight = look_at(stream.getvalue(), "bench.yaml")
    return Check(sight, InstrumentPlace.of("bench", home), timeout_s=10.0, **options).run()
