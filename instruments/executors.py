"""Which executor an instrument has: that of the queue it was set up with, else the local one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from athanor.instruments.executor import LocalExecutor
from athanor.instruments.profile import Profile
from athanor.memory.places import InstrumentPlace


def executor_for(
    profile: Profile,
    options: Mapping[str, Any],
    place: InstrumentPlace,
    ledger_url: str,
    gate_public: Path,
    campaign: str | None = None,
) -> LocalExecutor:
    """The executor of an instrument, with the arguments of `LocalExecutor`."""
    from athanor.instruments.queueserver.settings import has_queue

    kind = LocalExecutor
    if has_queue(place):
        from athanor.instruments.queueserver.executor import QueueServerExecutor

        kind = QueueServerExecutor
    return kind(profile, options, place, ledger_url, gate_public, campaign)
