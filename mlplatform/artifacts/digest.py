"""Content digests of files and trees: the reference. Standard library only, Python 3.9, no import of the package.

- A file: ``sha256:`` and the SHA-256 of its bytes.
- A tree: ``sha256:`` and the SHA-256 of the line ``mlplatform-tree-1\\n`` followed by one record an entry, in the order
  of their paths as bytes: ``KIND SP WHAT SP PATH NUL``. PATH is relative to the root, its parts joined by ``/``.

======  ==========================================  ==============================
KIND    entry                                       WHAT
======  ==========================================  ==============================
``f``   a file                                      hex SHA-256 of its bytes
``d``   a folder with nothing in it                 ``-``
``l``   a link to nowhere, or to a folder above it  hex SHA-256 of its target text
``o``   anything else (pipe, socket, device)        ``-``
======  ==========================================  ==============================

Other links count as what they lead to. Modes, owners and times do not count: an object store keeps none of them, and
what was put there and fetched again must be the same thing. ``launcher.digest`` follows the same rule by itself, since
it runs where this package is not; tests hold the two against each other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HEADER = b"mlplatform-tree-1\n"
_PIECE = 1 << 20


class Entry(NamedTuple):
    """One entry of a tree: ``name`` is its relative path as bytes, ``path`` where it is, ``kind`` as above."""

    name: bytes
    kind: str
    path: str


def digest_path(path: str) -> tuple[str, int]:
    """(digest, size in bytes) of a file or tree; a link counts as what it leads to. Raises OSError."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        return digest_tree(path)
    digest, size = digest_file(path)
    return "sha256:" + digest, size


def digest_file(path: str) -> tuple[str, int]:
    """(hex SHA-256, size in bytes) of a file. Raises OSError."""
    sha, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            sha.update(piece)
            size += len(piece)
    return sha.hexdigest(), size


def digest_tree(root: str) -> tuple[str, int]:
    """(digest, size of all files together) of a folder. Raises OSError."""
    records: list[tuple[bytes, str, str]] = []
    total = 0
    for entry in walk(root):
        what = "-"
        if entry.kind == "f":
            what, size = digest_file(entry.path)
            total += size
        elif entry.kind == "l":
            what = hashlib.sha256(os.fsencode(os.readlink(entry.path))).hexdigest()
        records.append((entry.name, entry.kind, what))
    return digest_records(records), total


def digest_records(records: Iterable[tuple[bytes, str, str]]) -> str:
    """The digest of a tree from its (PATH, KIND, WHAT) records in any order."""
    sha = hashlib.sha256(HEADER)
    for name, kind, what in sorted(records):
        sha.update(kind.encode("ascii") + b" " + what.encode("ascii") + b" " + name + b"\0")
    return "sha256:" + sha.hexdigest()


def walk(root: str) -> Iterator[Entry]:
    """The entries of a tree, in no particular order. Raises OSError."""
    return _walk(root, b"", (os.path.realpath(root),))


def _walk(folder: str, prefix: bytes, above: tuple[str, ...]) -> Iterator[Entry]:
    with os.scandir(folder) as listing:
        found = list(listing)
    if not found and prefix:
        yield Entry(prefix[:-1], "d", folder)
    for item in found:
        name = prefix + os.fsencode(item.name)
        is_link = item.is_symlink()
        try:
            mode = item.stat().st_mode
        except OSError:
            if not is_link:
                raise
            yield Entry(name, "l", item.path)
            continue
        if stat.S_ISREG(mode):
            yield Entry(name, "f", item.path)
        elif not stat.S_ISDIR(mode):
            yield Entry(name, "o", item.path)
        else:
            real = os.path.realpath(item.path) if is_link else os.path.join(above[-1], item.name)
            if is_link and real in above:
                yield Entry(name, "l", item.path)
            else:
                yield from _walk(item.path, name + b"/", (*above, real))
