"""Digests of files and trees: what an artifact *is*, wherever it lies.

- A file: ``sha256:`` and the SHA-256 of its bytes.
- A tree: ``sha256:`` and the SHA-256 of its manifest: the line ``mlplatform-tree-1\\n``, then for each entry, sorted by
  its path as bytes, ``KIND SP WHAT SP PATH NUL``. PATH is relative to the root with ``/``. KIND ``f`` is a file (WHAT:
  hex SHA-256 of its bytes), ``d`` a folder with nothing in it (WHAT: ``-``), ``l`` a link that leads nowhere or round
  in circles (WHAT: hex SHA-256 of its target text), ``o`` anything else (WHAT: ``-``).

Links count as what they lead to. Modes, owners and times do not count: they differ between stores that hold the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

HEADER = b"mlplatform-tree-1\n"
_CHUNK = 1 << 20


def digest_path(path: str) -> tuple[str, int]:
    """(digest, size in bytes) of a file or tree. Raises OSError, FileNotFoundError included."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        return digest_tree(path)
    digest, size = digest_file(path)
    return "sha256:" + digest, size


def digest_file(path: str) -> tuple[str, int]:
    """(hex SHA-256, size in bytes) of a file, read in pieces."""
    hasher = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:
        while True:
            piece = file.read(_CHUNK)
            if not piece:
                return hasher.hexdigest(), size
            hasher.update(piece)
            size += len(piece)


def digest_tree(root: str) -> tuple[str, int]:
    """(digest, sum of the sizes of files) of a folder."""
    entries: list[tuple[bytes, bytes, str, int]] = []
    for relative, kind, what, size in _walk(root, b"", (os.path.realpath(root),)):
        entries.append((relative, kind, what, size))
    entries.sort()
    hasher = hashlib.sha256(HEADER)
    for relative, kind, what, _ in entries:
        hasher.update(kind + b" " + what.encode("ascii") + b" " + relative + b"\0")
    return "sha256:" + hasher.hexdigest(), sum(entry[3] for entry in entries)


def _walk(folder: str, prefix: bytes, above: tuple[str, ...]) -> Iterator[tuple[bytes, bytes, str, int]]:
    with os.scandir(folder) as listing:
        found = list(listing)
    if not found and prefix:
        yield prefix[:-1], b"d", "-", 0
    for entry in found:
        name = prefix + os.fsencode(entry.name)
        try:
            mode = entry.stat().st_mode
        except OSError:
            if not entry.is_symlink():
                raise
            yield name, b"l", _target(entry.path), 0
            continue
        if stat.S_ISREG(mode):
            digest, size = digest_file(entry.path)
            yield name, b"f", digest, size
        elif stat.S_ISDIR(mode):
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if entry.is_symlink() and real in above:
                yield name, b"l", _target(entry.path), 0
            else:
                yield from _walk(entry.path, name + b"/", (*above, real))
        else:
            yield name, b"o", "-", 0


def _target(link: str) -> str:
    return hashlib.sha256(os.fsencode(os.readlink(link))).hexdigest()
