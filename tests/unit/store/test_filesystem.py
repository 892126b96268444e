"""Which file systems count as network ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.store import filesystem

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/my\\040share rw master:5 propagate_from:2 - nfs4 server:/export rw,vers=4.2
41 22 0:36 / /mnt/my\\040share/local rw - xfs /dev/sdb rw
42 22 0:37 / /mnt/ssh rw - fuse.sshfs me@host: rw
43 22 0:38 / /mnt/over rw - fuse.fuse-overlayfs x rw
44 22 0:39 / /same rw - ext4 /dev/sdc rw
45 22 0:40 / /same rw - cifs //server/share rw
nonsense
"""

MOUNT = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//me@server/My (old) share on /Volumes/share (smbfs, nodev, nosuid, mounted by me)
server:/x on /Volumes/n f s (nfs)
"""


@pytest.mark.parametrize(
    ("path", "type_", "network"),
    [
        ("/srv/me/x", "ext4", False),
        ("/", "ext4", False),
        ("/mnt/my share", "nfs4", True),
        ("/mnt/my share/a/b", "nfs4", True),
        ("/mnt/my share2", "ext4", False),
        ("/mnt/my share/local/x", "xfs", False),
        ("/mnt/ssh/x", "fuse.sshfs", True),
        ("/mnt/over/x", "fuse.fuse-overlayfs", False),
        ("/same/x", "cifs", True),
    ],
)
def test_linux(path: str, type_: str, network: bool) -> None:
    found = filesystem.type_of(path, filesystem.parse_mountinfo(MOUNTINFO))
    assert found == type_
    assert filesystem.is_network_type(found) is network


def test_macos() -> None:
    table = filesystem.parse_mount_command(MOUNT)
    assert filesystem.type_of("/Users/me", table) == "apfs"
    assert filesystem.type_of("/Volumes/share/x", table) == "smbfs"
    assert filesystem.type_of("/Volumes/n f s", table) == "nfs"
    assert [filesystem.is_network_type(name) for _, name in table] == [False, True, True]


def test_here(tmp_path: Path) -> None:
    assert filesystem.mounts()
    assert not filesystem.is_network(tmp_path / "not" / "there" / "yet")


def test_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(filesystem.sys, "platform", "sunos5")
    assert filesystem.mounts() == []
    assert not filesystem.is_network(tmp_path)
