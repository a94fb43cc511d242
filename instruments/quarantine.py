"""Spool files that the ledger cannot take are set aside: kept whole, told of, and out of the way of all others.

They lie in `quarantine/` in the instrument's folder, each with a note `<file>.why`. Nothing here is ever deleted. A run
of another ledger goes back into the spool as soon as that ledger's campaigns use the instrument again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from athanor.instruments.spool import spool_folder, sync_folder

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

Kind = Literal["damaged", "foreign", "refused"]
"""It cannot be read whole; it belongs to another ledger or instrument; the ledger will not take what it says."""

NOTE = ".why"


@dataclass(frozen=True)
class SetAside:
    """One file that was set aside: which and why, and the run it belongs to as far as that can be read."""

    file: str
    kind: Kind
    detail: str
    at: str
    sha256: str
    intent: str | None = None
    experiment: str | None = None


def quarantine_folder(place: InstrumentPlace) -> Path:
    """Where an instrument's files are set aside."""
    return place.directory / "quarantine"


def set_aside(
    place: InstrumentPlace, path: Path, kind: Kind, detail: str, intent: str | None, experiment: str | None
) -> SetAside:
    """Move a spool file out of the way, with a note that says why. Raises `OSError`: then it lies where it was."""
    folder = quarantine_folder(place)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = _free(folder, path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    found = SetAside(target.name, kind, detail, moment, digest, intent, experiment)
    # The note first: a file without one would be a riddle, a note without its file is passed over.
    _note(target).write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    path.rename(target)
    sync_folder(folder)
    sync_folder(path.parent)
    log.warning("set aside as %s: %s: %s", target, kind, detail)
    return found


def aside(place: InstrumentPlace) -> list[SetAside]:
    """What lies in the quarantine of an instrument, oldest first."""
    folder = quarantine_folder(place)
    found = [_told(path) for path in folder.iterdir() if path.suffix != NOTE] if folder.is_dir() else []
    return sorted(found, key=lambda item: (item.at, item.file))


def take_back(place: InstrumentPlace, is_ours: Callable[[str], bool], kinds: tuple[Kind, ...] = ("foreign",)) -> int:
    """Put files of these kinds whose intent `is_ours` back into the spool; how many.

    Only for the holder of the instrument's lock.
    """
    count = 0
    for item in aside(place):
        if item.kind not in kinds or item.intent is None or not is_ours(item.intent):
            continue
        target = spool_folder(place) / f"{item.intent}.jsonl"
        if target.exists():
            continue
        path = quarantine_folder(place) / item.file
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.rename(target)
        sync_folder(target.parent)
        _note(path).unlink(missing_ok=True)
        count += 1
    return count


def _told(path: Path) -> SetAside:
    try:
        return SetAside(**json.loads(_note(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        moment = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return SetAside(path.name, "damaged", "no note says why", moment, "")


def _note(path: Path) -> Path:
    return path.with_name(path.name + NOTE)


def _free(folder: Path, name: str) -> Path:
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem}.{number}{Path(name).suffix}"
    return path
