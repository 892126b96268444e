"""Reading the trace file that ``native/trace.c`` writes: one binary record for each first look at something."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

#: length, op, type, spare, pid, size, mtime_ns, inode; then the path.
_HEADER = struct.Struct("<IBBHiqqQ")
_MAX = 1 << 14


@dataclass(frozen=True)
class Record:
    """``op``: R read, B opened for reading and writing, W about to be written, S stat'ed, M not found, L listed, K link
    read, X about to be removed, D about to be made a folder, C connected to, N listened at, E executed (this process
    becomes it), e spawned, F number of a spawned process, P a process began, U one began that cannot be seen into.
    ``type``: what was there at that moment: 0 nothing, 1 file, 2 folder, 3 link, 4 other."""

    op: str
    type: int
    pid: int
    size: int
    mtime_ns: int
    inode: int
    path: str

    @property
    def stamp(self) -> tuple[int, int, int]:
        return self.size, self.mtime_ns, self.inode


def read_records(path: str) -> Iterator[Record]:
    """All records in the order they were written. Raises OSError; ValueError where the file is torn."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise ValueError("the trace ends within a record")
        length, op, kind, _, pid, size, mtime_ns, inode = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= _MAX or at + length > len(data):
            raise ValueError("the trace holds a broken record")
        name = os.fsdecode(data[at + _HEADER.size : at + length])
        yield Record(chr(op), kind, pid, size, mtime_ns, inode, name)
        at += length


def plain(path: str) -> str:
    """One spelling for a path: ``..`` is followed through links, ``//`` and ``/./`` are dropped."""
    if "/.." in path:
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if path.endswith("/.."):
            path = os.path.realpath(path)
    return os.path.normpath(path)
