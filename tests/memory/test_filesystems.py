from __future__ import annotations

from pathlib import Path

import pytest

from athanor.memory.errors import NetworkFilesystem
from athanor.memory.filesystems import parse_bsd_mounts, parse_mounts, refuse_network, type_of

LINUX = r"""/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/local ext4 rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
user@host:/x /mnt/ssh fuse.sshfs rw 0 0
auto /data autofs rw 0 0
lab:/data /data nfs rw 0 0
broken
"""
BSD = """/dev/disk3s1 on / (apfs, sealed, local, read-only, journaled)
//me@nas/share on /Volumes/share (smbfs, nodev, nosuid, mounted by me)
server:/x on /Volumes/with (odd) name (nfs)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/ledger.db", "ext4"),
        ("/tmp/ledger.db", "tmpfs"),
        ("/home/ada/ledger.db", "nfs4"),
        ("/home/local/ada/ledger.db", "ext4"),
        ("/homework/ledger.db", "ext4"),
        ("/mnt/my share/ledger.db", "cifs"),
        ("/mnt/ssh/ledger.db", "fuse.sshfs"),
        ("/data/ledger.db", "nfs"),
    ],
)
def test_the_longest_and_last_mount_counts(path: str, kind: str) -> None:
    assert type_of(Path(path), parse_mounts(LINUX)) == kind


def test_macos_names_the_type_first() -> None:
    mounts = parse_bsd_mounts(BSD)
    assert type_of(Path("/Users/ada/ledger.db"), mounts) == "apfs"
    assert type_of(Path("/Volumes/share/ledger.db"), mounts) == "smbfs"
    assert type_of(Path("/Volumes/with (odd) name/l.db"), mounts) == "nfs"


@pytest.mark.parametrize("path", ["/home/ada/l.db", "/mnt/my share/l.db", "/mnt/ssh/l.db", "/data/l.db"])
def test_a_network_file_system_is_refused_with_the_remedy(path: str) -> None:
    with pytest.raises(NetworkFilesystem, match="local disk"):
        refuse_network(Path(path), parse_mounts(LINUX))


def test_this_folder_is_not_refused(tmp_path: Path) -> None:
    refuse_network(tmp_path / "ledger.db")
    refuse_network(Path("/tmp/l.db"), parse_mounts(LINUX))
