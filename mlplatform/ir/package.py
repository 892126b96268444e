"""Reading the bytes of a pipeline file: plain text, or a package that holds one.

Packages are untrusted: only regular files are looked at, nothing is ever written to disk, names that leave the
package are refused, and what a member unpacks to is counted while it is unpacked, whatever its header says.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from mlplatform.core.errors import Finding, NotFound
from mlplatform.ir.documents import MAX_BYTES, refuse

#: Largest package that is read, in bytes, packed; how much of it may be unpacked in all, and how many members it has.
MAX_PACKAGE_BYTES: Final = 64 * 1024 * 1024
MAX_UNPACKED_BYTES: Final = 256 * 1024 * 1024
MAX_MEMBERS: Final = 1000
_CHUNK: Final = 1 << 20
_ZIP_MAGIC: Final = b"PK"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BAD_ARCHIVE: Final = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError)
_BAD_MEMBER: Final = (NotImplementedError, RuntimeError, ValueError, OverflowError)  # odd methods, passwords, sizes


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a pipeline, and where it came from: a file name, for packages with the member's."""

    data: bytes
    origin: str


class _Refused(Exception):
    """Why a package cannot be read; carries the text of the finding."""


def read_file(path: str | Path) -> Document:
    """Read the pipeline text in file ``path``.

    Raises:
        InvalidPipeline: not text, too large, or a package without exactly one pipeline in it.
        NotFound: there is no such file, or it cannot be read.
    """
    name = str(path)
    try:
        with open(name, "rb") as stream:
            head = stream.read(4)
            limit = MAX_PACKAGE_BYTES if _is_package(head) else MAX_BYTES
            data = head + stream.read(limit + 1 - len(head))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NotFound(f"The pipeline file {name!r} cannot be read: {reason}.", hint="Check the path.") from None
    if len(data) > limit:
        message = f"the file is larger than {limit // 2**20} MiB"
        refuse(name, [Finding("", message, "too-large", "pass large values as artifacts, not as constants")])
    return read_bytes(data, name)


def read_bytes(data: bytes, origin: str = "") -> Document:
    """Find the pipeline text in the bytes of a file; packages are told by their content, not by their name.

    A package holds ``pipeline.yaml`` (or ``.yml``, ``.json``) at any depth, or a single file of such a kind.

    Raises:
        InvalidPipeline: a package that cannot be read or holds no pipeline, or more than one.
    """
    if not _is_package(data[:4]):
        if PurePosixPath(origin).suffix.lower() in (".zip", ".tgz", ".gz") and data:
            refuse(origin, [Finding("", "the file is named like a package but is none", "bad-package")])
        return Document(data, origin)
    if len(data) > MAX_PACKAGE_BYTES:
        message = f"the package is larger than {MAX_PACKAGE_BYTES // 2**20} MiB"
        refuse(origin, [Finding("", message, "too-large")])
    try:
        members = _zip_members(data) if data.startswith(_ZIP_MAGIC) else _tar_members(data)
        name, text = _choose(members)
    except _Refused as error:
        hint = "make it of one pipeline.yaml, as the KFP compiler writes it"
        refuse(origin, [Finding("", str(error), "bad-package", hint)])
    except (*_BAD_ARCHIVE, *_BAD_MEMBER) as error:
        refuse(origin, [Finding("", f"the package is damaged: {error or type(error).__name__}", "bad-package")])
    return Document(text, f"{origin}:{name}" if origin else name)


def _is_package(head: bytes) -> bool:
    return head[:2] == _GZIP_MAGIC or head in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def _choose(members: Iterator[tuple[str, bytes]]) -> tuple[str, bytes]:
    found = dict(members)
    named = [name for name in found if PurePosixPath(name).stem == "pipeline"]
    candidates = named or list(found)
    if len(candidates) == 1:
        return candidates[0], found[candidates[0]]
    if not candidates:
        raise _Refused("there is no YAML or JSON file in the package")
    raise _Refused(f"there is more than one pipeline in the package: {', '.join(sorted(candidates)[:5])}")


def _wanted(name: str) -> bool:
    """Whether a member may be the pipeline. Refuses names that leave the package."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or name[1:2] == ":" or "\0" in name:
        raise _Refused(f"the package has a member outside of it: {name[:80]!r}")
    return pure.suffix.lower() in (".yaml", ".yml", ".json") and not pure.name.startswith(".")


def _read(stream: IO[bytes], name: str) -> bytes:
    """Unpack one member, at most :data:`MAX_BYTES` of it."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _Refused(f"{name[:80]!r} unpacks to more than {MAX_BYTES // 2**20} MiB")
    return data


def _zip_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise _Refused(f"the package has more than {MAX_MEMBERS} members")
        total = 0
        for info in infos:
            wanted = _wanted(info.filename)
            kind = info.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise _Refused(f"the package has a link or device in it: {info.filename[:80]!r}")
            if wanted and not info.is_dir():
                with archive.open(info) as stream:
                    text = _read(stream, info.filename)
                total += len(text)
                if total > MAX_UNPACKED_BYTES:
                    raise _Refused(f"the package unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MiB")
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
        while True:
            piece = self._unpacker.unconsumed_tail or self._next_piece()
            text = self._unpacker.decompress(piece, len(target))
            if text or not piece:
                break
        self._total += len(text)
        if self._total > MAX_UNPACKED_BYTES:
            raise _Refused(f"the package unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MiB")
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
                raise _Refused(f"the package has more than {MAX_MEMBERS} members")
            wanted = _wanted(info.name)
            if not info.isfile() and not info.isdir():
                raise _Refused(f"the package has a link or device in it: {info.name[:80]!r}")
            member = archive.extractfile(info) if wanted and info.isfile() else None
            if member is not None:
                yield info.name, _read(member, info.name)
