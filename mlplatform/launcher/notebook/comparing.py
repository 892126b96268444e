# pyright: basic
"""Whether what a name reaches is what it was, and which names reach the same objects."""

from __future__ import annotations

import enum
import hashlib
import importlib
import pickle
import sys
import types
from collections.abc import Iterable
from typing import Any, Optional

from . import parts, veil
from .guard import tried_apart
from .pickling import ObjectPickler, reason_of


class Seen:
    """What one pickling for comparison came to. ``shared``: ids of objects that can be changed, to find out who shares
    them. ``why``: it could not be told (then ``digest`` is empty)."""

    __slots__ = ("alive", "arrays", "digest", "kinds", "modules", "names", "shared", "size", "whole", "why")

    def __init__(self) -> None:
        self.digest = ""
        self.size = 0
        self.names: set[str] = set()
        self.modules: set[str] = set()
        self.whole = False
        self.shared: set[int] = set()
        self.arrays: dict[int, frozenset[tuple[int, int, int]]] = {}
        self.kinds: frozenset[type] = frozenset()
        self.alive: Any = None
        self.why = ""


def place(array: Any) -> tuple[int, int, int]:
    """Which array, and from where to where in memory it lies (for tensors, anywhere)."""
    bounds = getattr(sys.modules.get("numpy.lib.array_utils"), "byte_bounds", None)
    if bounds is None:
        import numpy as np

        bounds = getattr(np, "byte_bounds", None) or importlib.import_module("numpy.lib.array_utils").byte_bounds
    if not hasattr(array, "__array_interface__") or type(array).__module__.startswith("torch"):
        return id(array), 0, 1
    low, high = bounds(array)
    return id(array), int(low), int(high)


def shared_roots(all_seen: Iterable[Seen]) -> frozenset[int]:
    """Owners of memory over which more than one array lies, and not side by side."""
    over: dict[int, set[tuple[int, int, int]]] = {}
    for one in all_seen:
        for root, arrays in one.arrays.items():
            over.setdefault(root, set()).update(arrays)
    return frozenset(root for root, arrays in over.items() if _overlap(arrays))


def _overlap(arrays: set[tuple[int, int, int]]) -> bool:
    ordered = sorted((low, high, which) for which, low, high in arrays)
    end = -1
    for low, high, _ in ordered:
        if low < end:
            return True
        end = max(end, high)
    return False


class _Hashing:
    """A file that only hashes."""

    def __init__(self) -> None:
        self.hasher = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.hasher.update(veil.cover_ours(data))
        size = memoryview(data).nbytes
        self.size += size
        return size


def look(
    value: Any,
    namespace: dict[str, Any],
    shared_roots: frozenset[int] = frozenset(),
    known: Optional[parts.Digests] = None,
) -> Seen:
    """Digest of everything that ``value`` reaches, and what of it can be shared. ``known``: what was digested since a
    cell ran."""
    known = parts.Digests() if known is None else known
    seen, met_own_state = _look(value, namespace, shared_roots, False, known)
    if met_own_state and not seen.digest:  # what such an object leaves out need not be fit to be kept
        seen, _ = _look(value, namespace, shared_roots, True, known)
    return seen


def _look(
    value: Any, namespace: dict[str, Any], shared_roots: frozenset[int], lenient: bool, known: parts.Digests
) -> tuple[Seen, bool]:
    seen = Seen()
    out = _Hashing()

    def take(buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as raw:
            out.size += raw.nbytes
            if raw.nbytes <= veil.LARGEST:
                out.hasher.update(raw)
                return False
            copied = any(buffer is one for one in pickler.copies)
            out.hasher.update(parts.told(raw, known.of(raw, None if copied else buffer)))
        return False

    pickler = ObjectPickler(out, namespace, False, take)
    pickler.shared_roots = shared_roots
    pickler.lenient = lenient
    _, problem = tried_apart(pickler.dump, value)
    if problem is None:
        seen.digest = out.hasher.hexdigest()
    else:
        seen.why = reason_of(problem, value)
    seen.size = out.size
    seen.names, seen.whole, seen.kinds = pickler.names, pickler.whole, frozenset(pickler.kinds)
    seen.modules = pickler.modules
    memo = pickler.memo.copy()
    seen.alive = (memo, pickler.foreign_memory, pickler.arrays)
    seen.arrays = {root: frozenset(map(place, arrays)) for root, arrays in pickler.arrays.items()}
    by_reference = pickler.by_reference
    seen.shared = {
        key for key, (_, obj) in memo.items() if key not in by_reference and not _unchangeable(type(obj), obj)
    }
    seen.shared.update(pickler.arrays)
    return seen, pickler.met_own_state


_UNCHANGEABLE_TYPES = frozenset(
    (str, bytes, int, float, complex, bool, type(None), type(...), tuple, frozenset, range, slice, types.CodeType,
     types.BuiltinFunctionType, types.ModuleType, types.MethodType)
)  # fmt: skip
_UNCHANGEABLE_NAMES = frozenset(
    (
        "datetime",
        "decimal",
        "fractions",
        "pathlib",
        "re",
        "uuid",
        "zoneinfo",
        "ipaddress",
        "_decimal",
        "pytz",
        "dateutil",
    )
)
_UNCHANGEABLE_CLASSES = frozenset(
    (
        "Timestamp", "Timedelta", "Period", "Interval", "DataType", "ArrowDtype", "CategoricalDtype", "StringDtype",
        "Schema", "Field", "Buffer", "NAType", "device", "Size", "dtype",
    )
)  # fmt: skip
_known: dict[type, bool] = {}


def _unchangeable(kind: type, obj: Any) -> bool:
    if kind in _UNCHANGEABLE_TYPES:
        return True
    answer = _known.get(kind)
    if answer is None:
        answer = _known[kind] = _never_changes(kind)
    return answer


def _never_changes(kind: type) -> bool:
    module = kind.__module__ or ""
    root = module.partition(".")[0]
    if root in _UNCHANGEABLE_NAMES or kind.__name__ in _UNCHANGEABLE_CLASSES:
        return root != "__main__"
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.generic, numpy.dtype)):
        return True
    return issubclass(kind, enum.Enum) and root != "__main__"
