"""One maker of a cached thing at a time, and marks of when it was last used, across processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

#: A mark is renewed only when it is older than this many seconds, so that a hit costs one look.
_MARK_EVERY: Final = 3600.0


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Hold an exclusive lock on ``path``; gives False if ``wait`` is not wanted and somebody else holds it.

    The kernel lets go of it when the holder dies. The file is never removed while held, and a lock on a removed file
    is noticed and taken again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if _same_file(descriptor, path):
                yield True
                return
        finally:
            os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def mark_used(path: Path) -> bool:
    """Note that ``path`` is in use now; False if it is not there."""
    try:
        if time.time() - path.stat().st_mtime > _MARK_EVERY:
            os.utime(path)
    except OSError:
        return path.exists()
    return True
