"""Outside state a task looked at: written down after it ran, compared before its result is reused.

One read is a mapping with ``path`` and ``kind``:

- ``file``: ``digest`` (hex SHA-256 of the content) with ``size``, ``mtime_ns``, ``inode`` of that moment. While those
  are the same the content is not read again, unless ``racy`` (it had been written within two seconds before, so that
  a change may hide behind the same time). Another time with the same content is no change.
- ``stat``: ``type`` (``dir``, ``other``, ``file``); a file too large to digest for having been stat'ed alone, with
  ``size``, ``mtime_ns``, ``inode``.
- ``listing``: ``digest`` of the sorted names in a folder, without those in ``except`` (what the task itself put there)
  and :data:`NOT_LISTED`.
- ``link``: ``target`` of a symbolic link that was read.
- ``missing``: there was nothing. ``absent``: none of ``names`` was in the folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Optional

#: Names that come and go without anybody meaning it.
NOT_LISTED = frozenset(("__pycache__", ".ipynb_checkpoints", ".DS_Store", ".mlplatform"))
#: A file that was only stat'ed is digested up to this size (bytes).
STAT_DIGEST_MAX = 64 * 2**20
_RACY_NS = 2_000_000_000
_CHUNK = 1 << 20


def check_reads(reads: Iterable[Mapping[str, Any]]) -> Optional[str]:
    """The first difference between what was read and what is there now, as a sentence; None if there is none."""
    for read in reads:
        difference = check_read(read)
        if difference:
            return difference
    return None


def check_read(read: Mapping[str, Any]) -> Optional[str]:
    """The same for one read."""
    path = str(read["path"])
    kind = read["kind"]
    if kind == "absent":
        return _check_absent(path, read["names"])
    try:
        if kind == "link":
            same = os.readlink(path) == read["target"]
            return None if same else "%s, a link it read, leads elsewhere now" % path
        now = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None if kind == "missing" else "%s, which it read, is gone" % path
    except OSError as problem:
        return "%s, which it read, cannot be read now: %s" % (path, problem.strerror)
    if kind == "missing":
        return "%s is there now; it was not when the task looked" % path
    try:
        return _check_present(read, path, now)
    except OSError as problem:
        return "%s, which it read, cannot be read now: %s" % (path, problem.strerror)


def _check_absent(folder: str, names: Sequence[str]) -> Optional[str]:
    try:
        there = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        return "%s, where it looked for files, cannot be listed now: %s" % (folder, problem.strerror)
    for name in names:
        if name in there:
            return "%s is there now; it was not when the task looked" % os.path.join(folder, name)
    return None


def _check_present(read: Mapping[str, Any], path: str, now: os.stat_result) -> Optional[str]:
    kind = read["kind"]
    if kind == "listing":
        if not stat.S_ISDIR(now.st_mode):
            return "%s, a folder it listed, is none any more" % path
        same = listing_digest(path, read.get("except") or ()) == read["digest"]
        return None if same else "other files are in %s, which it listed" % path
    if kind == "stat":
        if file_type(now.st_mode) != read["type"]:
            return "%s is now of another kind" % path
        if read["type"] == "file" and stamp(now) != _stamp_of(read):
            return "%s, which it looked at, changed" % path
        return None
    if not stat.S_ISREG(now.st_mode):
        return "%s, a file it read, is none any more" % path
    if now.st_size != read["size"]:
        return "%s, which it read, changed" % path
    if not read.get("racy") and stamp(now) == _stamp_of(read):
        return None
    return None if digest_of(path, now) == read["digest"] else "%s, which it read, changed" % path


def file_type(mode: int) -> str:
    """``file``, ``dir`` or ``other``."""
    return "file" if stat.S_ISREG(mode) else "dir" if stat.S_ISDIR(mode) else "other"


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """(size, mtime_ns, inode)."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _stamp_of(read: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return read["size"], read["mtime_ns"], read["inode"]


def describe_file(path: str, status: os.stat_result) -> dict[str, Any]:
    """A read of kind ``file`` as it is now. Raises OSError."""
    size, mtime_ns, inode = stamp(status)
    read: dict[str, Any] = {
        "path": path,
        "kind": "file",
        "digest": _digest(path),
        "size": size,
        "mtime_ns": mtime_ns,
        "inode": inode,
    }
    if time.time_ns() - mtime_ns < _RACY_NS:
        read["racy"] = True
    return read


def listing_digest(path: str, without: Sequence[str] = ()) -> str:
    """Digest of the names in a folder. Raises OSError."""
    left_out = NOT_LISTED.union(without)
    names = sorted(os.fsencode(name) for name in os.listdir(path) if name not in left_out)
    return hashlib.sha256(b"\0".join(names)).hexdigest()


def digest_of(path: str, status: os.stat_result) -> str:
    """Hex SHA-256 of the content; files that did not change since this process digested them are not read again."""
    if time.time_ns() - status.st_mtime_ns < _RACY_NS:
        return _digest(path)
    return _remembered(path, status.st_dev, *stamp(status))


@lru_cache(maxsize=4096)
def _remembered(path: str, device: int, size: int, mtime_ns: int, inode: int) -> str:
    return _digest(path)


def _digest(path: str) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while True:
            piece = file.read(_CHUNK)
            if not piece:
                return hasher.hexdigest()
            hasher.update(piece)
