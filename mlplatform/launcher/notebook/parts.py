# pyright: basic
"""Large memory of snapshots: pieces of it, each a file that is named by the digest of what it holds.

What has not changed between two snapshots is written once, also if it is a column of a table of which another column is
new. Pieces are digested, written and read by several threads: a machine that has to find new memory for what is written
(a virtual one, mostly) needs longer for that than for anything else, and does so on one processor for one file.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Optional

from .guard import tried

MAGIC = b"MLPNB1\0\0"
#: In a snapshot's head in the place of a memory's size: it lies in pieces, whose digests stand instead of it; it goes
#: into an array as it is read.
IN_PARTS, INTO_ARRAY = 1 << 63, 1 << 62
#: The bytes that such a number tells.
BYTES = INTO_ARRAY - 1
#: Bytes of a piece.
SIZE = 16 * 2**20
#: More threads than this find no more memory.
_MOST = 8


class Digests:
    """Digests of pieces of memories while no cell runs: a boundary compares the same memory alone and together with
    others, and writes it.

    What was digested is kept alive, so that no other memory can come to lie in its place. Should something change it
    all the same before it is written (a thread of the user's), the piece does not match its name, and is not accepted
    when it is read.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], list[bytes]] = {}
        self._alive: list[Any] = []

    def of(self, raw: Any, alive: Any) -> list[bytes]:
        """The digests of a memory's pieces. ``alive``: what holds the memory, None if it will not last."""
        raw = memoryview(raw)
        key = _key(raw)
        found = self._known.get(key) if key is not None else None
        if found is None:
            found = _digested(raw)
            if alive is not None:
                self.learn(raw, found, alive)
        return found

    def learn(self, raw: Any, digests: Sequence[bytes], alive: Any) -> None:
        """They are known from elsewhere: the memory was just read, and compared with them."""
        key = _key(memoryview(raw))
        if key is not None:
            self._known[key] = list(digests)
            self._alive.append(alive)

    def forget(self) -> None:
        """A cell may run from here on."""
        self._known.clear()
        self._alive.clear()


def _key(raw: Any) -> Optional[tuple[int, int]]:
    """Where a memory lies; None where that cannot be told (without numpy there is no large memory to speak of)."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "frombuffer"):
        return None
    return int(numpy.frombuffer(raw, dtype=numpy.uint8).__array_interface__["data"][0]), raw.nbytes


def _digested(raw: Any) -> list[bytes]:
    found: dict[int, bytes] = {}

    def take(index: int, piece: Any) -> None:
        found[index] = hashlib.sha256(piece).digest()

    _side_by_side(take, _pieces(raw))
    return [found[index] for index in sorted(found)]


def told(raw: Any, digests: Sequence[bytes]) -> bytes:
    """A memory in a digest of more than it: its length, and the digests of its pieces one behind the other."""
    return struct.pack("<Q", memoryview(raw).nbytes) + b"".join(digests)


def write(raw: Any, digests: Sequence[bytes], folder: str) -> None:
    """Keep a memory, whose pieces have these digests, below ``folder``. Raises OSError."""

    def take(index: int, piece: Any) -> None:
        path = path_of(folder, digests[index])
        try:
            os.utime(path)  # it is in use again, and nobody may remove it as old
        except OSError:
            _write_new(path, piece)

    _side_by_side(take, _pieces(memoryview(raw)))


def path_of(folder: str, digest: bytes) -> str:
    name = digest.hex()
    return os.path.join(folder, name[:2], name)


class Stored:
    """A memory that :func:`write` has kept, before it is read."""

    def __init__(self, folder: str, digests: Sequence[bytes], size: int, known: Optional[Digests] = None) -> None:
        self._folder = folder
        self._digests = digests
        self._known = known
        self.size = size

    def read_into(self, target: Any, alive: Any = None) -> None:
        """Fill ``target``, writable memory of ``size`` bytes that ``alive`` holds.

        Raises OSError, and ValueError if a piece is not what it was.
        """

        def take(index: int, piece: Any) -> None:
            path = path_of(self._folder, self._digests[index])
            with open(path, "rb", buffering=0) as file:
                at = 0
                while at < piece.nbytes:
                    read = file.readinto(piece[at:])
                    if not read:
                        break
                    at += read
            if hashlib.sha256(piece).digest() != self._digests[index]:
                tried(os.unlink, path)  # or whoever has to keep such a piece would find it there
                raise ValueError("%s does not hold what was written" % path)

        _side_by_side(take, _pieces(memoryview(target)))
        if self._known is not None and alive is not None:
            self._known.learn(target, self._digests, alive)

    def read(self) -> bytearray:
        """The memory itself. Raises what :meth:`read_into` raises."""
        found = bytearray(self.size)
        self.read_into(found)
        return found


def count(size: int) -> int:
    """How many pieces a memory of so many bytes has."""
    return -(-size // SIZE)


def beside(path: str) -> str:
    """Where the pieces of a snapshot ``LIBRARY/groups/XX/GROUP`` lie."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(path)))), "parts")


def read_head(file: BinaryIO) -> tuple[int, tuple[int, ...]]:
    """Of a snapshot that is open at its beginning: the size of its pickle, and what is told of each memory behind that.
    Raises OSError, and ValueError if it is none."""
    head = file.read(24)
    if len(head) < 24 or not head.startswith(MAGIC):
        raise ValueError("%s holds no snapshot" % file.name)
    size, many = struct.unpack("<QQ", head[8:])
    return size, struct.unpack("<%dQ" % many, file.read(8 * many))


def named_in(path: str) -> tuple[int, list[bytes]]:
    """(bytes of a snapshot with its pieces, their digests). Raises what :func:`read_head` raises."""
    found: list[bytes] = []
    with open(path, "rb") as file:
        size, told = read_head(file)
        total = 24 + 8 * len(told) + size + sum(one & BYTES for one in told)
        file.seek(size, os.SEEK_CUR)
        for one in told:
            if one & IN_PARTS:
                found += [file.read(32) for _ in range(count(one & BYTES))]
            else:
                file.seek(one, os.SEEK_CUR)
    return total, found


def in_use_again(path: str) -> int:
    """Keep a snapshot and its pieces from being removed as old; returns their bytes. Raises OSError if one is gone, and
    what :func:`read_head` raises."""
    total, digests = named_in(path)
    for one in (path, *(path_of(beside(path), digest) for digest in digests)):
        os.utime(one)
    return total


def _pieces(raw: Any) -> list[Any]:
    return [raw[start : start + SIZE] for start in range(0, raw.nbytes, SIZE)]


def _write_new(path: str, piece: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            at = 0
            while at < piece.nbytes:
                at += file.write(piece[at:])
        os.replace(temporary, path)
        temporary = ""
    finally:
        if temporary:
            os.unlink(temporary)


def _side_by_side(job: Callable[[int, Any], None], pieces: list[Any]) -> None:
    """Call ``job`` with every piece and its number; raises what one of the calls raised."""
    waiting = list(enumerate(pieces))[::-1]
    problems: list[Exception] = []

    def work() -> None:
        while not problems:
            try:
                index, piece = waiting.pop()
            except IndexError:
                return
            _, problem = tried(job, index, piece)
            if problem is not None:
                problems.append(problem)

    # Threads without a name of their own would count up the names of the user's.
    others = [threading.Thread(target=work, name="snapshot") for _ in range(min(_processors(), _MOST, len(pieces)) - 1)]
    for one in others:
        one.start()
    work()
    for one in others:
        one.join()
    if problems:
        raise problems[0]


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
