"""Is a path on a network file system? SQLite's write-ahead log needs memory shared by all its processes, which such
file systems cannot give: there the rollback journal is used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: Types whose files another machine may open at the same time. FUSE types are named ``fuse.NAME``.
_NETWORK: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "coda", "9p", "v9fs",
        "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "ocfs2", "gfs", "gfs2", "davfs",
        "davfs2", "webdav", "acfs", "panfs", "wekafs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "virtiofs",
    }
)  # fmt: skip
_LOCAL_FUSE: Final = frozenset({"fuse.fuse-overlayfs", "fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.mergerfs"})

_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_DARWIN: Final = re.compile(r"^.* on (?P<point>.*) \((?P<type>[\w.]+)(?:,.*)?\)$")


def is_network(path: Path) -> bool:
    """True if ``path`` (which may not exist yet) lies on a network file system. Unknown systems count as local."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return is_network_type(type_of(os.path.realpath(path), mounts()))


def is_network_type(name: str) -> bool:
    """By the name of the type, as the operating system spells it."""
    return name in _NETWORK or (name.startswith(("fuse.", "macfuse", "osxfuse")) and name not in _LOCAL_FUSE)


def type_of(path: str, table: Iterable[tuple[str, str]]) -> str:
    """Type of the mount that ``path`` lies in; '' if none is known. The last of two mounts on one point counts."""
    best, found = -1, ""
    for point, name in table:
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, found = len(point), name
    return found


def mounts() -> list[tuple[str, str]]:
    """(mount point, type) of everything mounted; empty where it cannot be known."""
    try:
        if sys.platform == "linux":
            return parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
        if sys.platform == "darwin":
            listed = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=False)
            return parse_mount_command(listed.stdout)
    except (OSError, subprocess.SubprocessError):
        pass
    return []


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """Linux: proc_pid_mountinfo(5). The fields after `` - `` begin with the type."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) >= 5:
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found.append((point, after.split(" ", 1)[0]))
    return found


def parse_mount_command(text: str) -> list[tuple[str, str]]:
    """macOS: ``//server/share on /Volumes/x (smbfs, nodev, ...)``."""
    matches = (_DARWIN.match(line) for line in text.splitlines())
    return [(match["point"], match["type"]) for match in matches if match]
