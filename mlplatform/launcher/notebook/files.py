# pyright: basic
"""Files that a task of a notebook looked at and wrote, as its record keeps them.

Unlike a task of a pipeline, a task of a notebook lives in a folder that earlier tasks have written to, and it may
change what is there: what it found there before is known from *their* records.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional

from .. import reads as plain_reads
from ..ignored import Ignored
from ..reads import Findings
from ..records import plain, read_records
from ..verify import digest_of

#: Larger files that a task wrote are not kept for putting back; its task is not reused.
KEPT_MAX = 256 * 2**20


def stamps(paths: Iterable[str]) -> dict[str, Any]:
    """How the system tells these files apart from what they are later."""
    return {path: _stamp(path) for path in paths}


def changed(before: Mapping[str, Any]) -> list[str]:
    """Those of :func:`stamps` that are not as they were, or may not be: nobody sees what is written into a file through
    a descriptor or a mapping that an earlier task opened."""
    mapped = _mapped()
    return [path for path, stamp in before.items() if path in mapped or _stamp(path) != stamp]


def _stamp(path: str) -> Any:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return found.st_ino
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _mapped() -> frozenset[str]:
    """Files that this process can write to as to memory."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(None, 5) for line in file]
    except OSError:
        return frozenset()
    return frozenset(words[5] for words in lines if len(words) == 6 and words[1].startswith("rw") and "s" in words[1])


def findings(
    path: str,
    spec: Mapping[str, Any],
    before: Mapping[str, Optional[str]],
    store: str,
    changed: Sequence[str] = (),
) -> dict[str, Any]:
    """What a trace comes to: ``reads`` (see ``verify.py``), ``writes`` (path -> digest, "" for a folder, None if it is
    gone), ``own_reads`` (paths of earlier tasks that it depends on -> what they held), ``peers``, ``doubt``,
    ``executed``. ``before``: what earlier tasks of the notebook have left, in the form of ``writes``; ``changed``: what
    of that is another now, however that came."""
    ignored = Ignored(spec)
    found = plain_reads.Findings()
    seen: dict[str, plain_reads._Seen] = {}
    programs = plain_reads._Programs()
    for record in read_records(path):
        if record.op in "CN":
            plain_reads._peer(found, record)
        elif record.op in "EePUF":
            programs.take(record)
        else:
            name = plain(record.path)
            if not ignored.covers(name):
                plain_reads._take(seen.setdefault(name, plain_reads._Seen()), record)
    programs.finish(found)
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in programs.files:
        if not name.startswith(own) and not ignored.covers(name):
            plain_reads._add_file(found, name)
    mine: dict[str, Any] = {}
    kept: dict[str, Optional[str]] = {}
    for name, look in sorted(seen.items()):
        if name in before:
            _known(found, name, look, before[name], mine)
        else:
            plain_reads._settle(found, name, look, ignored, seen)
    for name in changed:
        if name not in found.writes:
            found.writes.append(name)
            mine[name] = before[name]  # what it wrote went into what was there
    places = (os.path.realpath(spec["cwd"]), os.path.realpath(tempfile.gettempdir()), spec["cwd"])
    for name in found.writes:
        _keep(found, name, kept, store, places)
    reads = plain_reads._together(found.reads)
    return {
        "reads": reads,
        "own_reads": mine,
        "writes": kept,
        "peers": found,
        "doubt": found.untraced,
        "executed": found.executed,
    }


def _known(found: Findings, path: str, seen: Any, before: Optional[str], mine: dict[str, Any]) -> None:
    """A path that an earlier task of the notebook wrote or removed."""
    if seen.read or seen.looked or seen.listed or seen.missing or seen.both or seen.link:
        mine[path] = before
    if not (seen.written or seen.removed or seen.both or seen.folder):
        return
    found.writes.append(path)


def _keep(found: Findings, path: str, kept: dict[str, Optional[str]], store: str, places: tuple[str, ...]) -> None:
    if not path.startswith(tuple(place + os.sep for place in places)):
        found.doubt("it wrote %s, outside the notebook's folder" % path)
        return
    try:
        status = os.stat(path)
    except FileNotFoundError:
        kept[path] = None
        return
    except OSError as problem:
        found.doubt("%s, which it wrote, cannot be read: %s" % (path, problem.strerror))
        return
    if stat.S_ISDIR(status.st_mode):
        kept[path] = ""
        return
    if not stat.S_ISREG(status.st_mode):
        found.doubt("it made %s, which is no plain file" % path)
        return
    if status.st_size > KEPT_MAX:
        found.doubt("it wrote %s, too large to be kept for putting back" % path)
        return
    try:
        kept[path] = store_file(path, store)
    except OSError as problem:
        found.doubt("%s, which it wrote, could not be kept: %s" % (path, problem.strerror))


def store_file(path: str, store: str) -> str:
    """Copy a file under its digest; returns the digest. Raises OSError."""
    os.makedirs(store, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=store)
    hasher = hashlib.sha256()
    with open(path, "rb") as source, os.fdopen(handle, "wb") as target:
        while piece := source.read(1 << 20):
            hasher.update(piece)
            target.write(piece)
    digest = hasher.hexdigest()
    os.replace(temporary, os.path.join(store, digest))
    return digest


def put_back(files: Mapping[str, Optional[str]], store: str, is_kept: Callable[[str], bool]) -> Optional[str]:
    """Make files as ``files`` say. A file that holds something of which no copy is kept (``is_kept`` by digest) was
    changed by somebody and is left alone. Returns why it could not be done, or None."""
    for path, digest in sorted(files.items()):
        try:
            status: Optional[os.stat_result] = os.stat(path)
        except OSError:
            status = None
        if digest == "":
            os.makedirs(path, exist_ok=True)
            continue
        if status is not None:
            if not stat.S_ISREG(status.st_mode):
                return "%s is no file any more" % path
            now = digest_of(path, status)
            if now == digest:
                continue
            if not is_kept(now):
                return "%s, which the notebook had written, was changed since" % path
        if digest is None:
            if status is not None:
                os.unlink(path)
            continue
        kept = os.path.join(store, digest)
        if not os.path.exists(kept):
            return "%s, which the notebook had written, is gone" % path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = "%s.%d.mlplatform" % (path, os.getpid())
        shutil.copyfile(kept, temporary)
        os.replace(temporary, path)
    return None
