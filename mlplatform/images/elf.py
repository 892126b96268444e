"""What is read from, and changed in, ELF files: enough to move a program with its libraries to another place."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NULL, _NEEDED, _STRTAB, _RPATH, _RUNPATH = 0, 1, 5, 15, 29
#: A tag that every loader passes over.
_IGNORED: Final = 0x6000F000
_PROCESSORS: Final = {62: "amd64", 183: "arm64"}


@dataclass(frozen=True, slots=True)
class Elf:
    """A 64-bit little-endian ELF file. ``needed``: names of libraries; ``interpreter``: the loader's path, or ""."""

    architecture: str
    interpreter: str
    needed: tuple[str, ...]
    data: bytes

    @property
    def is_dynamic(self) -> bool:
        return bool(self.interpreter or self.needed)


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read(file: Path) -> Elf | None:
    """None if it is no ELF file of a kind we know."""
    with file.open("rb") as opened:
        if opened.read(6) != b"\x7fELF\x02\x01":
            return None
    data = file.read_bytes()
    segments = list(_segments(data))
    interpreter = next(
        (data[s.offset : s.offset + s.size].rstrip(b"\0").decode() for s in segments if s.kind == _INTERP), ""
    )
    names = _names(data, segments)
    needed = tuple(_text(data, names + value) for _, tag, value in _tags(data, segments) if tag == _NEEDED)
    return Elf(_PROCESSORS.get(struct.unpack_from("<H", data, 18)[0], "unknown"), interpreter, needed, data)


def portable(elf: Elf) -> bytes:
    """The file as another machine wants it.

    Its absolute DT_RPATH and DT_RUNPATH are taken out: those of the machine it was built on would be looked through.
    One that is relative to the file ($ORIGIN) stays. What no loader reads (symbols for a debugger, which are most of a
    Python built from source) is cut off.
    """
    data = bytearray(elf.data)
    segments = list(_segments(elf.data))
    names = _names(elf.data, segments)
    for place, tag, value in _tags(elf.data, segments):
        if tag in (_RPATH, _RUNPATH) and not _text(elf.data, names + value).startswith("$ORIGIN"):
            struct.pack_into("<q", data, place, _IGNORED)
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<HH", data, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(data[: max(segment.offset + segment.size for segment in segments)])


def _segments(data: bytes) -> Iterator[_Segment]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", data, start + number * size)
        yield _Segment(kind, offset, address, in_file)


def _tags(data: bytes, segments: list[_Segment]) -> Iterator[tuple[int, int, int]]:
    """Each entry of the dynamic section: where it stands in the file, its tag and value."""
    for segment in segments:
        if segment.kind == _DYNAMIC:
            for place in range(segment.offset, segment.offset + segment.size - 15, 16):
                tag, value = struct.unpack_from("<qQ", data, place)
                if tag == _NULL:
                    return
                yield place, tag, value


def _names(data: bytes, segments: list[_Segment]) -> int:
    """Where the names of the dynamic section begin in the file."""
    for _, tag, value in _tags(data, segments):
        if tag == _STRTAB:
            for segment in segments:
                if segment.kind == _LOAD and segment.address <= value < segment.address + segment.size:
                    return value - segment.address + segment.offset
    return 0


def _text(data: bytes, place: int) -> str:
    return data[place : data.index(b"\0", place)].decode(errors="surrogateescape")
