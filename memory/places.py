"""Where Athanor keeps things on this computer. Standard library only: the software stop imports this module."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_INSTRUMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class PlaceError(Exception):
    """A folder cannot be used as asked; the message names the folder and the remedy."""


def home() -> Path:
    """Return the data folder: `ATHANOR_HOME`, else the platform's data folder for this user."""
    chosen = os.environ.get("ATHANOR_HOME")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "athanor"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "athanor"


def keys_dir() -> Path:
    """Return the folder of keys and signed heads, `ATHANOR_KEYS` or the configuration folder; made 0700 if absent."""
    chosen = os.environ.get("ATHANOR_KEYS")
    if chosen:
        path = Path(chosen).expanduser()
    else:
        config = os.environ.get("XDG_CONFIG_HOME")
        path = (Path(config) if config else Path.home() / ".config") / "athanor" / "keys"
    return _private(path)


def runtime_dir() -> Path:
    """Return the short folder in which Unix sockets live (their paths are limited to about 100 bytes); mode 0700.

    Raises:
        PlaceError: the folder belongs to another user, so that somebody else could stand in for an instrument.
    """
    chosen = os.environ.get("ATHANOR_RUNTIME")
    if chosen:
        return _private(Path(chosen).expanduser())
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir():
        return _private(Path(session) / "athanor")
    path = _private(Path(tempfile.gettempdir()) / f"athanor-{os.getuid()}")
    # In a folder that everybody can write to, the name could have been taken before us.
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PlaceError(
            f"{path} is not a private folder of this user; remove it or set ATHANOR_RUNTIME to one that is"
        )
    return path


def _private(path: Path) -> Path:
    if not path.is_dir():
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PlaceError(f"cannot make the folder {path}: {error.strerror or error}") from error
    return path


@dataclass(frozen=True)
class InstrumentPlace:
    """Everything that one instrument keeps on disk.

    Attributes:
        name: the instrument's name.
        directory: spool, started marks, latch, configuration, lock and logs.
        sockets: the short folder of its Unix sockets and process ids.
    """

    name: str
    directory: Path
    sockets: Path

    @classmethod
    def of(cls, name: str, base: Path | None = None) -> InstrumentPlace:
        """Return the place of the instrument `name` below `base` (default: the data folder).

        A simulated laboratory uses the folder of its ledger as base, so that two ledgers have two simulated
        instruments; a real instrument exists once and always uses the data folder.

        Raises:
            PlaceError: the name is not usable as a folder name.
        """
        if not _INSTRUMENT_NAME.fullmatch(name):
            raise PlaceError(f"instrument name {name!r}: use letters, digits, '.', '_' and '-', at most 64 of them")
        directory = (base if base is not None else home()).expanduser().absolute() / "instruments" / name
        short = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
        return cls(name=name, directory=directory, sockets=runtime_dir() / short)
