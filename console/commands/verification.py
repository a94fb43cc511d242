"""Verifying the record as a job: in a process of its own, one at a time, with its progress and its result to read.

A ledger of years takes minutes and a whole core. In the console's own process it would hold up everybody else, Stop
All among them; as a process it is given the lowest priority, and it ends when nobody reads what it says any more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from athanor.console.commands.refused import Refused

log = logging.getLogger(__name__)

EVERY = 2000
"""Rows between two words about progress."""
MOST_PROBLEMS = 100
"""Problems that are listed; how many there are is always said."""
LONGEST_S = 3600.0
"""A verification that takes longer than this is ended."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth a note. `position` is where the row stands, or where it should."""

    kind: str
    chain: str | None
    seq: int | None
    position: int | None
    detail: str


@dataclass(frozen=True)
class Standing:
    """How a verification stands.

    Attributes:
        state: `none`: there was none since the console started; `failed`: it could not be carried out.
        rows: read so far.
        of: rows there were when it began.
        first: the first row of the journal that is wrong, where one is.
        problems: what is wrong, 100 at most; `count` says how many there are.
    """

    state: Literal["none", "running", "whole", "broken", "failed"] = "none"
    by: str | None = None
    began: datetime | None = None
    ended: datetime | None = None
    rows: int = 0
    of: int = 0
    chains: int = 0
    count: int = 0
    first: Finding | None = None
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    detail: str | None = None


class Verification:
    """The verification of one ledger.

    Args:
        path: the ledger's file.
        tell: writes an event into the journal: who had it verified, and what came of it.
    """

    def __init__(self, path: Path, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._path = path
        self._tell = tell
        self._guard = threading.Lock()
        self._standing = Standing()
        self._process: subprocess.Popen[str] | None = None
        self._ended = threading.Event()
        self._ended.set()

    def standing(self) -> Standing:
        """How it stands."""
        with self._guard:
            return self._standing

    def start(self, by: str) -> Standing:
        """Begin one in somebody's name. Raises `Refused` while there is one."""
        with self._guard:
            if self._standing.state == "running":
                raise Refused(
                    f"{self._standing.by} is having the record verified already",
                    "Wait for its result: it will be the same.",
                )
            command = [sys.executable, "-m", "athanor.console.commands.verification", str(self._path)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self._process = process
            self._ended.clear()
            self._standing = Standing(state="running", by=by, began=datetime.now(UTC))
            threading.Thread(target=self._follow, args=(process,), name="verification", daemon=True).start()
            return self._standing

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came in time."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """End the one that runs, as the console does when it ends."""
        with self._guard:
            process = self._process
        if process is not None:
            process.kill()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        late = threading.Timer(LONGEST_S, process.kill)
        late.daemon = True
        late.start()
        result: dict[str, Any] | None = None
        try:
            with process:
                assert process.stdout is not None and process.stderr is not None
                for said in _lines(process.stdout):
                    if "ok" in said:
                        result = said
                    else:
                        with self._guard:
                            self._standing = replace(self._standing, rows=said["rows"], of=said["of"])
                trouble = process.stderr.read().strip().rpartition("\n")[2]
        except Exception as error:
            log.exception("a verification could not be followed")
            process.kill()
            result, trouble = None, str(error)
        finally:
            late.cancel()
        self._end(result, trouble or f"it ended early, with status {process.returncode}")

    def _end(self, result: dict[str, Any] | None, trouble: str) -> None:
        with self._guard:
            standing = replace(self._standing, ended=datetime.now(UTC))
            if result is None:
                standing = replace(standing, state="failed", detail=trouble)
            else:
                problems = [Finding(**item) for item in result["problems"]]
                standing = replace(
                    standing,
                    state="whole" if result["ok"] else "broken",
                    rows=result["rows"],
                    of=max(standing.of, result["rows"]),
                    chains=result["chains"],
                    count=result["count"],
                    first=None if result["first"] is None else Finding(**result["first"]),
                    problems=problems,
                    notes=[Finding(**item) for item in result["notes"]],
                )
            self._standing, self._process = standing, None
        if result is not None:
            told = {"by": standing.by, "rows": standing.rows, "ok": result["ok"], "problems": standing.count}
            try:
                self._tell("audit_verified", {**told, "first": result["first"]})
            except Exception:
                log.exception("what a verification found could not be written down: %s", told)
        self._ended.set()


def _lines(stream: Any) -> Iterator[dict[str, Any]]:
    for line in stream:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def check(path: Path, say: Callable[[dict[str, Any]], None]) -> None:
    """Verify a ledger; `say` is told `{rows, of}` on the way and the result, with `ok`, at the end."""
    from athanor.memory import pages
    from athanor.memory import verify as checking
    from athanor.memory.ledger import Ledger

    with Ledger.open(path, anchor=None) as ledger:
        of = ledger.changes()

        def progress(rows: int) -> None:
            if rows % EVERY == 0:
                say({"rows": rows, "of": of})

        say({"rows": 0, "of": of})
        report = checking.verify(ledger, progress=progress)

        def placed(problem: checking.Problem) -> Finding:
            at = None
            if problem.chain is not None and problem.seq is not None:
                at = pages.position_of(ledger, problem.chain, problem.seq)
            return Finding(position=at, **asdict(problem))

        found = [placed(problem) for problem in report.problems[: 10 * MOST_PROBLEMS]]
        rows = [item for item in found if item.seq is not None]
        first = min(rows, key=lambda item: item.position or _near(ledger, item), default=found[0] if found else None)
        say(
            {
                "ok": report.is_clean,
                "rows": report.rows,
                "chains": report.chains,
                "count": len(report.problems),
                "first": None if first is None else asdict(first),
                "problems": [asdict(item) for item in found[:MOST_PROBLEMS]],
                "notes": [asdict(placed(note)) for note in report.notes[:MOST_PROBLEMS]],
            }
        )


def _near(ledger: Any, item: Finding) -> int:
    """Where a row that is missing would stand: after the one before it."""
    from athanor.memory import pages

    assert item.chain is not None and item.seq is not None
    before = pages.position_before(ledger, item.chain, item.seq)
    return before + 1


def main(arguments: list[str]) -> int:
    """Verify the ledger named, and say so on standard output, a line of JSON at a time."""
    import os

    with contextlib.suppress(OSError):
        os.nice(15)

    def say(said: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    try:
        check(Path(arguments[0]), say)
    except BrokenPipeError:  # nobody is there to hear it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
