# pyright: basic
"""Snapshots of values that belong together, as files: a pickle and the memory of its arrays behind it."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from . import rebuild, veil
from .pickling import ObjectPickler, Refused

_MAGIC = b"MLPNB1\0\0"


def keep(values: Mapping[str, Any], namespace: dict[str, Any], file: BinaryIO, shared_roots: frozenset[int]) -> int:
    """Write values that belong together; returns the bytes. Raises Refused and whatever the objects raise."""
    buffers: list[pickle.PickleBuffer] = []
    body = io.BytesIO()
    pickler = ObjectPickler(body, namespace, True, buffers.append)
    pickler.shared_roots = shared_roots
    pickler.dump(dict(values))
    for found in pickler.arrays.values():
        if len({id(one) for one in found}) > 1 and not _one_memory(found, shared_roots):
            raise Refused("tensors that share memory")
    raws: list[Any] = [buffer.raw() for buffer in buffers]
    raws = [veil.cover(raw) if raw.nbytes <= veil.LARGEST else raw for raw in raws]
    data = memoryview(veil.cover(body.getbuffer()))
    sizes = b"".join(struct.pack("<Q", memoryview(raw).nbytes) for raw in raws)
    header = struct.pack("<8sQQ", _MAGIC, data.nbytes, len(raws)) + sizes
    total = 0
    for piece in (header, data, *raws):
        file.write(piece)
        total += memoryview(piece).nbytes
    return total


def _one_memory(arrays: list[Any], shared_roots: frozenset[int]) -> bool:
    """Whether sharing between these is kept by the pickle: numpy's is, torch's is not."""
    return all(type(one).__module__.startswith("numpy") for one in arrays)


def load(path: str) -> dict[str, Any]:
    """Values kept by :func:`keep`. Raises OSError, ValueError and whatever the objects raise."""
    with open(path, "rb") as file:
        magic, size, count = struct.unpack("<8sQQ", file.read(24))
        if magic != _MAGIC:
            raise ValueError("%s holds no snapshot" % path)
        sizes = struct.unpack("<%dQ" % count, file.read(8 * count))
        body = veil.uncover(file.read(size))
        buffers = [file.read(length) for length in sizes]
        buffers = [veil.uncover(raw) if len(raw) <= veil.LARGEST else raw for raw in buffers]
    return rebuild.loads(body, buffers)  # written by a session of this very notebook
