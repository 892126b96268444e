# pyright: basic
"""Snapshots of values that belong together, as files: a pickle and the memory of its arrays behind it. What is large is
kept in pieces beside it (``parts.py``)."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, Optional

from . import parts, rebuild, veil
from .pickling import ObjectPickler, Refused


def keep(
    values: Mapping[str, Any],
    namespace: dict[str, Any],
    file: BinaryIO,
    shared_roots: frozenset[int],
    known: Optional[parts.Digests] = None,
) -> int:
    """Write values that belong together into a file that will lie in ``LIBRARY/groups/XX``; returns the bytes.
    ``known``: what was digested since a cell ran. Raises Refused, OSError and whatever the objects raise."""
    known = parts.Digests() if known is None else known
    buffers: list[pickle.PickleBuffer] = []
    body = io.BytesIO()
    pickler = ObjectPickler(body, namespace, True, buffers.append)
    pickler.shared_roots = shared_roots
    pickler.dump(dict(values))
    for found in pickler.arrays.values():
        if len({id(one) for one in found}) > 1 and not _one_memory(found, shared_roots):
            raise Refused("tensors that share memory")
    data = memoryview(veil.cover(body.getbuffer()))
    sizes: list[int] = []
    pieces: list[Any] = []
    total = 0
    into_arrays, copies = frozenset(map(id, pickler.own_buffers)), frozenset(map(id, pickler.copies))
    for buffer in buffers:
        raw: Any = buffer.raw()
        size = raw.nbytes
        total += size
        if size > veil.LARGEST:
            sizes.append(size | parts.IN_PARTS | (parts.INTO_ARRAY if id(buffer) in into_arrays else 0))
            digests = known.of(raw, None if id(buffer) in copies else buffer)
            parts.write(raw, digests, parts.beside(file.name))
            pieces += digests
        else:
            sizes.append(size)
            pieces.append(veil.cover(raw))
    header = struct.pack("<8sQQ%dQ" % len(sizes), parts.MAGIC, data.nbytes, len(sizes), *sizes)
    for piece in (header, data, *pieces):
        file.write(piece)
    return len(header) + data.nbytes + total


def _one_memory(arrays: list[Any], shared_roots: frozenset[int]) -> bool:
    """Whether sharing between these is kept by the pickle: numpy's is, torch's is not."""
    return all(type(one).__module__.startswith("numpy") for one in arrays)


def load(path: str, known: Optional[parts.Digests] = None) -> dict[str, Any]:
    """Values kept by :func:`keep`. ``known`` learns what memory holds. Raises OSError, ValueError and whatever the
    objects raise."""
    with open(path, "rb") as file:
        size, sizes = parts.read_head(file)
        body = veil.uncover(file.read(size))
        buffers = [_buffer(file, told, path, known) for told in sizes]
    return rebuild.loads(body, buffers)  # written by a session of this very notebook


def _buffer(file: BinaryIO, told: int, path: str, known: Optional[parts.Digests]) -> Any:
    size = told & parts.BYTES
    if not told & parts.IN_PARTS:
        return veil.uncover(file.read(size)) if size <= veil.LARGEST else file.read(size)
    digests = [file.read(32) for _ in range(parts.count(size))]
    stored = parts.Stored(parts.beside(path), digests, size, known)
    return stored if told & parts.INTO_ARRAY else stored.read()
