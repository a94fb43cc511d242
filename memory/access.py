"""Who may read and write a ledger's file. The log and index that SQLite keeps beside it get the file's own mode."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o600
SHARED = 0o660
BESIDE = ("-wal", "-shm")


def make_private(path: Path) -> None:
    """Make an empty file for its owner alone, whatever the umask, unless there is one already: that is left as it is.

    In a folder that hands its group on (its setgid bit is set) the group may use it too, if the umask lets it: such a
    folder was set up by somebody for several accounts.

    Raises:
        OSError: it cannot be made.
    """
    mode = SHARED if _is_shared(path.parent) else PRIVATE
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    except FileExistsError:
        pass


def too_open(path: Path) -> list[str]:
    """Say of the file, and of what lies beside it, where more accounts may write it than `make_private` would let."""
    found = []
    for file in (path, *(path.with_name(path.name + ending) for ending in BESIDE)):
        try:
            mode = file.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & stat.S_IWOTH:
            found.append(f"every account of this computer may write {file}: chmod o-rwx {file}")
        elif mode & stat.S_IWGRP and not _is_shared(path.parent):
            found.append(f"its group may write {file}: chmod g-rwx {file}, or keep it in a folder set up for the group")
    return found


def _is_shared(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_ISGID)
