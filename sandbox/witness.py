"""The witness log of a laboratory's controller: what really reached the hardware, written by the hardware's side.

One JSON object per line with `t` (wall time, Unix seconds), `mono` (monotonic seconds, one clock for every process of
this boot) and `kind`: `start run set motion position end stop trigger reading connect disconnect options fault refusal
exit`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any, TextIO

KEPT = 100_000
"""Lines kept in memory while the disk takes none."""


class Witness:
    """Appends lines to a log. A full disk neither stops the controller nor loses lines that memory can hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._waiting: deque[str] = deque(maxlen=KEPT)

    def __call__(self, kind: str, **what: Any) -> None:
        """Write one line; non-finite numbers are written as text."""
        line = {"t": time.time(), "mono": time.monotonic(), "kind": kind, **what}
        try:
            text = json.dumps(line, allow_nan=False)
        except (ValueError, TypeError):
            text = json.dumps({key: value if _is_plain(value) else repr(value) for key, value in line.items()})
        self._waiting.append(text + "\n")
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            try:
                if self._file is None:
                    self._file = self._path.open("a", encoding="utf-8", buffering=1)
                self._file.write(self._waiting[0])
            except OSError:
                self._drop()
                return
            self._waiting.popleft()

    def _drop(self) -> None:
        # A text file that failed to flush keeps its buffer; begin afresh with the next line.
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass
        self._file = None

    def close(self) -> None:
        """Close the log."""
        self._flush()
        self._drop()


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        return False
    return True


def read_witness(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a witness log, oldest first; an unfinished last line is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]
