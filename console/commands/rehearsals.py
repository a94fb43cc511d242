"""Rehearsals of campaigns on their simulated twins: begin one, look at it, end it.

What there is to know of one lies in a folder of its own, `rehearsals/` beside the ledger, and in no memory: a console
that was started anew finds it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.console import overview
from athanor.console.commands.refused import Refused
from athanor.memory.errors import NotFound

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.memory.ledger import Ledger

FOLDER = "rehearsals"
MOST_AT_ONCE = 2
MOST_KEPT = 20
MOST_EXPERIMENTS = 50
LONGEST_S = 1800.0
PROCESS = "process"
_NAME = re.compile(r"rehearsal-[0-9a-f]{8}")


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal. `standing`: `running`, `done`, `cancelled` or `failed`; `view` is None until it has begun."""

    id: str
    name: str
    laboratory: str
    by: str
    at: datetime
    standing: str
    detail: str | None
    differs: list[str]
    view: overview.Overview | None


class Rehearsals:
    """The rehearsals of one site.

    Args:
        ledger: the site's ledger, beside which they are kept; they write nothing into it but that they were begun.
        person: who rehearses.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self._ledger = ledger
        self.person = person
        self.folder = ledger.path.resolve().parent / FOLDER

    def begin(self, spec: Spec, twin: str | None, experiments: int, wall_s: float) -> str:
        """Begin a rehearsal in a process of its own; returns its id.

        Args:
            spec: the campaign; it is changed as `athanor.console.rehearsal.simplified` says.
            twin: the simulated laboratory; None: the campaign's own, if that is simulated.
            experiments: how many at most.
            wall_s: seconds it may take at most.

        Raises:
            Refused: there is no twin, the campaign does not fit it, or too many rehearsals are going on.
        """
        from athanor.console import rehearsal

        laboratory, options = self._twin(spec, twin)
        rehearsed, differs = rehearsal.simplified(spec, laboratory, options, min(experiments, MOST_EXPERIMENTS))
        self._check_fit(rehearsed)
        with self._turn():
            known = self._names()
            if sum(self._is_running(name) for name in known) >= MOST_AT_ONCE:
                raise Refused(
                    f"{MOST_AT_ONCE} rehearsals are going on already", "Wait for one of them to end, or cancel it."
                )
            self._prune(known)
            name = f"rehearsal-{secrets.token_hex(4)}"
            folder = self.folder / name
            folder.mkdir(mode=0o700)
            request = {
                "name": spec.name,
                "laboratory": laboratory,
                "by": self.person,
                "at": datetime.now(UTC).isoformat(),
                "differs": differs,
                "wall_s": min(wall_s, LONGEST_S),
            }
            (folder / rehearsal.SPEC).write_text(rehearsed.model_dump_json(), encoding="utf-8")
            (folder / rehearsal.REQUEST).write_text(json.dumps(request), encoding="utf-8")
            self._launch(folder)
        self._ledger.add_event(None, "rehearsal_begun", {"rehearsal": name, **request})
        return name

    def all(self) -> list[Rehearsal]:
        """Every rehearsal that is kept, the newest first, without its view."""
        found = [self._look(name, with_view=False) for name in self._names()]
        return sorted((one for one in found if one is not None), key=lambda one: one.at, reverse=True)

    def one(self, name: str) -> Rehearsal:
        """One rehearsal with how far it is. Raises `NotFound` when there is none."""
        found = self._look(name, with_view=True) if _NAME.fullmatch(name) else None
        if found is None:
            raise NotFound("rehearsal", name)
        return found

    def cancel(self, name: str) -> None:
        """End a rehearsal: the experiment in hand is finished first. One that is over stays as it is.

        Raises:
            NotFound: there is none.
        """
        from athanor.console.rehearsal import CANCEL

        self.one(name)
        (self.folder / name / CANCEL).touch(mode=0o600)

    def _twin(self, spec: Spec, twin: str | None) -> tuple[str, dict[str, Any]]:
        from athanor.instruments import laboratory

        own = spec.laboratory.name
        if twin is None or twin == own:
            if own is not None and hasattr(laboratory.load(own), "simulate"):
                return own, dict(spec.laboratory.options)
            raise Refused(
                "this instrument is real, and has no simulated twin of its own",
                "Name a simulated laboratory with the same knobs and outcomes, or start without a rehearsal.",
            )
        if twin not in laboratory.names() or not hasattr(laboratory.load(twin), "simulate"):
            raise Refused(f"{twin} is no simulated laboratory")
        return twin, {}

    def _check_fit(self, spec: Spec) -> None:
        from athanor.agents.fitting import examine

        _, problems = examine(spec)
        if problems:
            said = "; ".join(f"{one.field}: {one.message}" for one in problems)
            raise Refused(f"the campaign does not fit the laboratory {spec.laboratory.name}: {said}")

    def _launch(self, folder: Path) -> None:
        from athanor.agents.holders import process_name
        from athanor.console.rehearsal import LOG
        from athanor.instruments import detached
        from athanor.memory import places

        # Sockets need a short path; one level deeper than those of instruments, so that nobody takes it for one.
        sockets = places.runtime_dir() / f"r{folder.name.removeprefix('rehearsal-')}"
        environment = {
            **detached.without_model(),
            "ATHANOR_HOME": str(folder),
            "ATHANOR_KEYS": str(folder / "keys"),
            "ATHANOR_RUNTIME": str(sockets),
            "ATHANOR_LEDGER": str(folder / "ledger.db"),
        }
        with os.fdopen(os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            command = [sys.executable, "-m", "athanor.console.rehearsal", str(folder)]
            process = detached.start(command, output, environment)
        (folder / PROCESS).write_text(process_name(process.pid), encoding="utf-8")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One begins at a time, whichever process asks."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return [item.name for item in self.folder.iterdir() if _NAME.fullmatch(item.name) and item.is_dir()]

    def _is_running(self, name: str) -> bool:
        from athanor.agents.holders import is_process_gone
        from athanor.console.rehearsal import RESULT

        folder = self.folder / name
        if (folder / RESULT).exists():
            return False
        try:
            return not is_process_gone((folder / PROCESS).read_text(encoding="utf-8"))
        except OSError:
            return False

    def _prune(self, known: list[str]) -> None:
        """Let go of the oldest that are over."""
        from athanor.memory import places

        over = [name for name in known if not self._is_running(name)]
        over.sort(key=lambda name: (self.folder / name).stat().st_mtime)
        for name in over[: max(0, len(over) - MOST_KEPT + 1)]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.rmtree(places.runtime_dir() / f"r{name.removeprefix('rehearsal-')}", ignore_errors=True)

    def _look(self, name: str, *, with_view: bool) -> Rehearsal | None:
        from athanor.console import rehearsal

        folder = self.folder / name
        try:
            request = json.loads((folder / rehearsal.REQUEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        standing, detail = "running", None
        try:
            result = json.loads((folder / rehearsal.RESULT).read_text(encoding="utf-8"))
            if result["problem"] is not None or result["state"] == "failed":
                standing, detail = "failed", result["problem"] or result["reason"]
            elif (folder / rehearsal.CANCEL).exists() and result["state"] == "paused":
                standing, detail = "cancelled", result["reason"]
            else:
                standing, detail = "done", result["reason"]
        except (OSError, ValueError, KeyError):
            if not self._is_running(name):
                standing, detail = "failed", "its process ended without a word; its log is in " + str(folder)
        return Rehearsal(
            id=name,
            name=request["name"],
            laboratory=request["laboratory"],
            by=request["by"],
            at=datetime.fromisoformat(request["at"]),
            standing=standing,
            detail=detail,
            differs=list(request["differs"]),
            view=_view(folder / rehearsal.LEDGER) if with_view else None,
        )


def _view(path: Path) -> overview.Overview | None:
    """How far a rehearsal is, read from its own ledger without writing there; None while there is nothing to read."""
    from athanor.memory.errors import LedgerError
    from athanor.memory.ledger import Ledger

    if not path.exists():
        return None
    try:
        with Ledger.open(path, anchor=None, keys=path.parent / "keys") as ledger:
            campaigns = ledger.campaigns()
            return overview.look(ledger, campaigns[0]) if campaigns else None
    except LedgerError:  # it is being made
        return None
