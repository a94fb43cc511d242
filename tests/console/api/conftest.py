from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.api.site_rig import Site


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    made = Site(home)
    yield made
    made.desk.verification.stop()
    made.desk.verification.wait(60.0)
    made.ledger.close()
