"""An instrument obeys one gate, the first that it was started for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.trust import trusted_gate
from athanor.memory.places import InstrumentPlace
from athanor.memory.signing import GateKey


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    made = InstrumentPlace.of("oven", home)
    made.directory.mkdir(parents=True)
    return made


def public(folder: Path) -> Path:
    GateKey.load_or_create(folder)
    return folder / "gate.pub"


def test_the_first_gate_is_kept_and_another_refused(place: InstrumentPlace, tmp_path: Path) -> None:
    first, other = public(tmp_path / "first"), public(tmp_path / "other")
    assert trusted_gate(place, first) == trusted_gate(place, first)
    with pytest.raises(InstrumentUnavailable, match=rf"ATHANOR_KEYS.*remove {place.directory / 'gate.pub'}"):
        trusted_gate(place, other)
    moved = Path(shutil.copy(first, tmp_path / "elsewhere.pub"))
    trusted_gate(place, moved)  # the key counts, and not where it lies
    (place.directory / "gate.pub").unlink()
    trusted_gate(place, other)


@pytest.mark.parametrize("spoilt", ["given", "known"])
def test_what_cannot_be_read_is_trusted_by_nobody(place: InstrumentPlace, tmp_path: Path, spoilt: str) -> None:
    given = public(tmp_path / "keys")
    trusted_gate(place, given)
    (given if spoilt == "given" else place.directory / "gate.pub").write_text("no key")
    with pytest.raises(InstrumentUnavailable, match="cannot read the public key"):
        trusted_gate(place, given)
