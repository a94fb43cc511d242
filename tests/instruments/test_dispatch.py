"""A dispatch that the disk lets down half way; the rest is in tests/system/test_worker_refusals.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rig import Rig

from athanor.instruments import spool
from athanor.instruments.dispatch import Dispatcher
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.spool import Backlog, was_started
from athanor.instruments.words import Refused
from athanor.memory.resources import Needs, Sample


@pytest.mark.parametrize("has_sample", [True, False])
def test_the_start_document_names_the_sample(rig: Rig, has_sample: bool) -> None:
    started: list[Any] = []
    engine: Any = SimpleNamespace(
        job=None, check_steps=lambda *_: None, start=lambda job, _: started.append(job), count_aborts=lambda: 0
    )
    dispatcher = Dispatcher(
        rig.place, load("snar-flow").profile(), Latch(rig.place), rig.key.public, engine, SimpleNamespace(), Backlog(),
        lambda: rig.ledger,
    )  # type: ignore[arg-type]  # fmt: skip
    rig.ledger.add_sample(Sample(id="s1", label="wafer 7"))
    experiment = rig.propose()
    needs = Needs(("s1",) if has_sample else ())
    decision, lease = rig.approve(experiment), rig.lease
    intent = rig.ledger.commit_intent(experiment.id, decision.id, rig.place.name, lease.holder, lease.epoch, needs)
    dispatcher.dispatch(intent.id, rig.lease.epoch, 0, lambda _: None)
    [job] = started
    assert job.metadata.get("sample") == ({"id": "s1", "label": "wafer 7"} if has_sample else None)


@pytest.mark.parametrize(
    ("folder", "code", "is_used_up"), [("spool", "spool.failed", False), ("started", "mark.failed", True)]
)
def test_an_intent_that_was_used_up_without_a_start_is_refused_for_good(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, folder: str, code: str, is_used_up: bool
) -> None:
    started: list[Any] = []
    ended: list[Any] = []
    engine: Any = SimpleNamespace(
        job=None, check_steps=lambda *_: None, start=lambda job, _: started.append(job), count_aborts=lambda: 0
    )
    writer: Any = SimpleNamespace(end=lambda _header, ending, _path: ended.append(ending))
    dispatcher = Dispatcher(
        rig.place, load("snar-flow").profile(), Latch(rig.place), rig.key.public, engine, writer, Backlog(),
        lambda: rig.ledger,
    )  # fmt: skip
    sync = spool.sync_folder

    def fail(path: Path) -> None:
        if path.name == folder:
            raise OSError(5, "Input/output error")
        sync(path)

    monkeypatch.setattr(spool, "sync_folder", fail)
    intent = rig.intent()
    with pytest.raises(Refused) as caught:
        dispatcher.dispatch(intent.id, rig.lease.epoch, 0, lambda _: None)
    assert (caught.value.code, caught.value.final, started) == (code, is_used_up, [])
    assert was_started(rig.place, intent.id) is is_used_up
    # Left as it was it would be waited for without end: nobody runs it and nobody may start it again.
    assert [ending.state for ending in ended] == (["refused"] if is_used_up else [])
    if not is_used_up:
        monkeypatch.setattr(spool, "sync_folder", sync)
        assert dispatcher.dispatch(intent.id, rig.lease.epoch, 0, lambda _: None) == intent.experiment_id
        assert len(started) == 1
