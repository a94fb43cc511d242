"""What stands between the worker and a set besides the limits, and the call for Stop All."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rig import Rig, until

from athanor.instruments.latch import Latch
from athanor.instruments.safeguards import Safeguards
from athanor.instruments.write_switch import WriteSwitch


def test_without_a_place_there_is_only_the_count() -> None:
    safeguards = Safeguards()
    safeguards.tally.add("limit.above")
    assert (safeguards.refusal(), safeguards.facts()) == (None, {"writes": None})
    safeguards.call_stop_all("nobody is there")
    assert safeguards.tally.counts() == {"limit.above": 1}


def test_making_them_lays_out_the_switch(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text("{}")
    place: Any = SimpleNamespace(directory=tmp_path, sockets=tmp_path)
    safeguards = Safeguards(place)
    assert safeguards.refusal() is None
    WriteSwitch(place).path.unlink()
    assert (safeguards.refusal() or ("",))[0] == "writes.off"
    assert "removed" in safeguards.facts()["writes"]
    safeguards.call_stop_all("no recovery process listens")


def test_stop_all_is_called_for(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    until(lambda: (executor.status() or {})["recovery"] is None)
    Safeguards(rig.place).call_stop_all("interlock.stale: cool; the run did not end")
    state = Latch(rig.place).read()
    assert state.engaged
    assert (state.by, "interlock.stale" in (state.reason or "")) == ("interlock", True)
