"""From records to what a result depends on: reads, writes, peers, and reasons why this may not be all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .ignored import Ignored
from .records import Record, plain
from .verify import STAT_DIGEST_MAX, describe_file, file_type, listing_digest, stamp

_NOTHING, _FILE, _FOLDER = 0, 1, 2
#: More names than this that are missing in one folder become one entry.
_FEW = 3


@dataclass
class _Seen:
    """What the task did with one path, in its order."""

    first: Optional[Record] = None
    read: bool = False
    looked: bool = False
    listed: bool = False
    link: bool = False
    missing: bool = False
    written: bool = False
    removed: bool = False
    both: bool = False
    folder: bool = False
    before: Optional[Record] = None


@dataclass
class Findings:
    """Members of result.json. ``untraced``: the first reason why the reads may not be all."""

    reads: list[dict[str, Any]] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType] - 3.9
    writes: list[str] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType] - 3.9
    peers: list[str] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType] - 3.9
    listened: set[str] = field(default_factory=set)  # pyright: ignore[reportUnknownVariableType] - 3.9
    executed: bool = False
    untraced: str = ""

    def doubt(self, reason: str) -> None:
        self.untraced = self.untraced or reason


def evaluate(records: Iterable[Record], ignored: Ignored) -> Findings:
    """Digest what the task read and has not written itself. Call it when everything of the task has ended."""
    found = Findings()
    paths: dict[str, _Seen] = {}
    programs = _Programs()
    for record in records:
        if record.op in "CN":
            _peer(found, record)
        elif record.op in "EePUF":
            programs.take(record)
        else:
            path = plain(record.path)
            if not ignored.covers(path):
                _take(paths.setdefault(path, _Seen()), record)
    programs.finish(found)
    for path in programs.files:
        if not path.startswith(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
            _add_file(found, path)
    for path, seen in sorted(paths.items()):
        _settle(found, path, seen, ignored, paths)
    found.reads = _together(found.reads)
    return found


def _together(reads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each folder in which much was looked for in vain (every import looks into every folder)."""
    names: dict[str, list[str]] = {}
    for read in reads:
        if read["kind"] == "missing":
            names.setdefault(os.path.dirname(read["path"]), []).append(os.path.basename(read["path"]))
    many = {folder: sorted(found) for folder, found in names.items() if len(found) > _FEW}
    kept = [read for read in reads if read["kind"] != "missing" or os.path.dirname(read["path"]) not in many]
    return kept + [{"path": folder, "kind": "absent", "names": many[folder]} for folder in sorted(many)]


def _take(seen: _Seen, record: Record) -> None:
    op = record.op
    if seen.first is None:
        seen.first = record
    if op in "WXDB":
        if seen.before is None:
            seen.before = record
        if op == "D":
            seen.folder = True
            seen.looked = seen.looked or record.type == _FOLDER
        elif op == "B":
            seen.both = True
        elif op == "W":
            seen.written = True
        else:
            seen.removed = True
        return
    if seen.before is not None and not (seen.before.op in "BD" and seen.before.type != _NOTHING):
        return  # it looks at what it wrote itself
    if op == "R":
        seen.read = True
    elif op == "L":
        seen.listed = True
    elif op == "K":
        seen.link = True
    elif op == "M":
        seen.missing = True
    else:
        seen.looked = True


# ------------------------------------------------------------------ what it comes to
def _settle(found: Findings, path: str, seen: _Seen, ignored: Ignored, paths: Mapping[str, _Seen]) -> None:
    try:
        now: Optional[os.stat_result] = os.stat(path)
    except OSError:
        now = None
    before = seen.before or seen.first
    assert before is not None
    touched = seen.written or seen.removed or seen.both or (seen.folder and before.type == _NOTHING)
    if touched and _changed(found, path, seen, before, now):
        return
    if seen.link:
        _add_link(found, path)
    if seen.read or seen.both or seen.looked:
        _add_look(found, path, seen, now, ignored)
    if seen.listed and now is not None:
        _add_listing(found, path, paths)
    if seen.missing and not (seen.read or seen.looked or seen.listed or seen.both):
        if now is None:
            found.reads.append({"path": path, "kind": "missing"})
        else:
            found.doubt("%s appeared while the task ran" % path)


def _changed(found: Findings, path: str, seen: _Seen, before: Record, now: Optional[os.stat_result]) -> bool:
    """Whether the task changed what is there, and what follows from it."""
    existed = before.type != _NOTHING
    if now is None:
        if existed:
            found.doubt("it removed %s" % path)
        elif seen.missing or seen.both:
            found.reads.append({"path": path, "kind": "missing"})
        return True
    if existed and before.type == _FILE and stat.S_ISREG(now.st_mode) and before.stamp == stamp(now):
        # Opened so that it could have been written, and left as it was.
        seen.read = seen.read or seen.both
        return not (seen.read or seen.looked or seen.listed)
    if existed and before.type == _FOLDER and stat.S_ISDIR(now.st_mode):
        return not (seen.looked or seen.listed)
    if existed and (seen.read or seen.both):
        found.doubt("it changed %s, which it had read" % path)
    found.writes.append(path)
    return True


def _add_look(found: Findings, path: str, seen: _Seen, now: Optional[os.stat_result], ignored: Ignored) -> None:
    if now is None:
        if seen.first is not None and seen.first.type == _NOTHING:
            found.reads.append({"path": path, "kind": "missing"})
        elif os.path.islink(path):
            _add_link(found, path)
        else:
            found.doubt("%s disappeared while the task ran" % path)
        return
    kind = file_type(now.st_mode)
    if kind != "file":
        if not ignored.above(path):
            found.reads.append({"path": path, "kind": "stat", "type": kind})
        return
    first = seen.first
    if first is not None and first.type == _FILE and first.stamp != stamp(now):
        found.doubt("%s changed while the task ran" % path)
        return
    if not (seen.read or seen.both) and now.st_size > STAT_DIGEST_MAX:
        size, mtime_ns, inode = stamp(now)
        entry = {"path": path, "kind": "stat", "type": kind, "size": size, "mtime_ns": mtime_ns, "inode": inode}
        found.reads.append(entry)
        return
    _add_file(found, path)


def _add_file(found: Findings, path: str) -> None:
    try:
        found.reads.append(describe_file(path, os.stat(path)))
    except OSError as problem:
        found.doubt("%s could not be read again: %s" % (path, problem.strerror))


def _add_link(found: Findings, path: str) -> None:
    try:
        found.reads.append({"path": path, "kind": "link", "target": os.readlink(path)})
    except OSError:
        return  # no link: reading it failed for the task as well


def _add_listing(found: Findings, path: str, paths: Mapping[str, _Seen]) -> None:
    own: list[str] = []
    for other, seen in paths.items():
        if os.path.dirname(other) != path or seen.before is None:
            continue
        if (seen.written or seen.folder or seen.both) and seen.before.type == _NOTHING:
            own.append(os.path.basename(other))
    try:
        entry: dict[str, Any] = {"path": path, "kind": "listing", "digest": listing_digest(path, own)}
    except OSError as problem:
        found.doubt("%s could not be listed again: %s" % (path, problem.strerror))
        return
    if own:
        entry["except"] = sorted(own)
    found.reads.append(entry)


# ------------------------------------------------------------------ programs and peers
class _Programs:
    """Every program that was started must have said that it is watched."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self._waiting: dict[int, str] = {}
        self._spawned: dict[int, str] = {}
        self._last = ""
        self._began: set[int] = set()
        self._blind = ""
        self._any = False

    def take(self, record: Record) -> None:
        if record.op == "P":
            self._began.add(record.pid)
            self._waiting.pop(record.pid, None)
        elif record.op == "U":
            self._began.add(record.pid)
            self._waiting.pop(record.pid, None)
            self._blind = record.path
        elif record.op == "F":
            self._spawned[int(record.path)] = ""
        else:
            self._any = True
            self.files[plain(record.path)] = None
            if record.op == "E":
                self._waiting[record.pid] = record.path
            else:
                self._last = record.path

    def finish(self, found: Findings) -> None:
        found.executed = self._any
        unseen = list(self._waiting.values())
        unseen += [self._last for pid in self._spawned if pid not in self._began]
        if self._blind:
            found.doubt("it ran %s, which makes its system calls itself and cannot be watched" % self._blind)
        if unseen:
            found.doubt("it ran %s, which could not be watched" % unseen[0])


def _peer(found: Findings, record: Record) -> None:
    family, _, rest = record.path.partition(" ")
    if family == "unix":
        peer = rest
    else:
        host, _, port = rest.rpartition(" ")
        host = host[7:] if host.startswith("::ffff:") and "." in host else host  # IPv4 by a socket that can both
        peer = "%s:%s" % ("[%s]" % host if ":" in host else host, port)
    if record.op == "N":
        found.listened.add(peer if family == "unix" else peer.rpartition(":")[2])
    elif peer not in found.peers:
        found.peers.append(peer)
