from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig import make_rig_fixture, rig_fixture  # noqa: F401 - fixtures
