"""Unpacking pipeline packages in memory.

Packages are untrusted: only regular files are looked at, nothing is ever written to disk, names that leave the
package are refused, and what a member unpacks to is counted while it is unpacked, whatever its header says.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Final, cast

from mlplatform.ir.limits import MAX_BYTES

#: How much of a package may be unpacked in all, and how many members it may have.
MAX_UNPACKED_BYTES: Final = 256 * 1024 * 1024
MAX_MEMBERS: Final = 1000
_CHUNK: Final = 1 << 20
_KINDS: Final = (".yaml", ".yml", ".json")
#: What the archive modules raise on damaged input; the last row on passwords, unknown methods and absurd sizes.
_DAMAGE: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, IndexError),
)


class Refused(Exception):
    """The package cannot be read; the text says why."""


def find_pipeline(data: bytes) -> tuple[str, bytes]:
    """The name and text of the one pipeline in a zip or gzipped tar.

    Raises:
        Refused: damaged, beyond a limit, unsafe, or not exactly one pipeline in it.
    """
    try:
        found = dict(_zip_members(data) if data.startswith(b"PK") else _tar_members(data))
    except _DAMAGE as error:
        raise Refused(f"the package is damaged: {error or type(error).__name__}") from None
    named = [name for name in found if PurePosixPath(name).stem == "pipeline"]
    candidates = named or list(found)
    if len(candidates) == 1:
        return candidates[0], found[candidates[0]]
    if not candidates:
        raise Refused("there is no YAML or JSON file in the package")
    raise Refused(f"there is more than one pipeline in the package: {', '.join(sorted(candidates)[:5])}")


def _wanted(name: str) -> bool:
    """Whether a member may be the pipeline. Refuses names that leave the package."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or name[1:2] == ":" or "\0" in name:
        raise Refused(f"the package has a member outside of it: {name[:80]!r}")
    return pure.suffix.lower() in _KINDS and not pure.name.startswith(".")


def _read(stream: IO[bytes], name: str) -> bytes:
    """Unpack one member, at most :data:`MAX_BYTES` of it."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Refused(f"{name[:80]!r} unpacks to more than {MAX_BYTES // 2**20} MiB")
    return data


def _too_much() -> Refused:
    return Refused(f"the package unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MiB")


def _zip_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise Refused(f"the package has more than {MAX_MEMBERS} members")
        total = 0
        for info in infos:
            wanted = _wanted(info.filename)
            kind = info.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise Refused(f"the package has a link or device in it: {info.filename[:80]!r}")
            if wanted and not info.is_dir():
                with archive.open(info) as stream:
                    text = _read(stream, info.filename)
                total += len(text)
                if total > MAX_UNPACKED_BYTES:
                    raise _too_much()
                yield info.filename, text


class _Bounded(io.RawIOBase):
    """A gzip stream that gives up after :data:`MAX_UNPACKED_BYTES`, because tar must unpack what it skips."""

    def __init__(self, data: bytes) -> None:
        self._packed = memoryview(data)
        self._at = 0
        self._unpacker = zlib.decompressobj(wbits=31)
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast("bytearray", buffer)).cast("B")
        text = b""
        while not text and not self._unpacker.eof:
            piece = self._unpacker.unconsumed_tail or self._next_piece()
            if not piece:
                raise EOFError("the compressed data ends too early")
            text = self._unpacker.decompress(piece, len(target))
        self._total += len(text)
        if self._total > MAX_UNPACKED_BYTES:
            raise _too_much()
        target[: len(text)] = text
        return len(text)

    def _next_piece(self) -> bytes:
        piece = bytes(self._packed[self._at : self._at + _CHUNK])
        self._at += len(piece)
        return piece


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    stream = cast("IO[bytes]", io.BufferedReader(_Bounded(data), _CHUNK))
    count = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            count += 1
            if count > MAX_MEMBERS:
                raise Refused(f"the package has more than {MAX_MEMBERS} members")
            wanted = _wanted(info.name)
            if not info.isfile() and not info.isdir():
                raise Refused(f"the package has a link or device in it: {info.name[:80]!r}")
            member = archive.extractfile(info) if wanted and info.isfile() else None
            if member is not None:
                yield info.name, _read(member, info.name)
