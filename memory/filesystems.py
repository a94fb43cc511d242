"""On which file system does a path lie, and may a ledger lie there?

SQLite's write-ahead log shares memory between processes, which works on one host only (sqlite.org/wal.html, "all
processes using a database must be on the same host computer").
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from athanor.memory.errors import NetworkFilesystem

# fmt: off
NETWORK_TYPES = frozenset({
    "9p", "acfs", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.glusterfs", "fuse.s3fs",
    "fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs",
    "panfs", "smb2", "smb3", "smbfs", "webdav",
})
# fmt: on
_ESCAPE = re.compile(r"\\([0-7]{3})")
_BSD_MOUNT = re.compile(r"^.* on (?P<where>/.*?) \((?P<options>[^()]*)\)$")


def parse_mounts(text: str) -> list[tuple[str, str]]:
    """Return (mount point, type) for each line of Linux's `/proc/mounts`, in order."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 3:
            found.append((_ESCAPE.sub(lambda octal: chr(int(octal.group(1), 8)), fields[1]), fields[2]))
    return found


def parse_bsd_mounts(text: str) -> list[tuple[str, str]]:
    """Return (mount point, type) for each line that macOS's `mount` prints, in order."""
    found = []
    for line in text.splitlines():
        match = _BSD_MOUNT.match(line)
        if match:
            found.append((match["where"], match["options"].split(",")[0].strip()))
    return found


def type_of(path: Path, mounts: list[tuple[str, str]]) -> str | None:
    """Return the type of the file system on which an absolute path lies: that of the longest, last mounted prefix."""
    best: tuple[int, str] | None = None
    for where, kind in mounts:
        mount = Path(where)
        if (path == mount or mount in path.parents) and (best is None or len(mount.parts) >= best[0]):
            best = (len(mount.parts), kind)
    return best[1] if best else None


def refuse_network(path: Path, mounts: list[tuple[str, str]] | None = None) -> None:
    """Return if a ledger may lie at `path`.

    Raises:
        NetworkFilesystem: it lies on a network file system.
    """
    whole = path.expanduser().resolve()
    kind = type_of(whole, _mounts() if mounts is None else mounts)
    if kind is not None and kind.lower() in NETWORK_TYPES:
        raise NetworkFilesystem(
            f"{path} lies on a network file system ({kind}), where two computers would damage the ledger: "
            "keep it on a local disk and copy backups there with `athanor ledger backup`"
        )


def _mounts() -> list[tuple[str, str]]:
    table = Path("/proc/mounts")
    if table.exists():
        return parse_mounts(table.read_text(encoding="utf-8", errors="surrogateescape"))
    if sys.platform == "darwin":
        shown = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False, timeout=10)
        return parse_bsd_mounts(shown.stdout)
    return []
