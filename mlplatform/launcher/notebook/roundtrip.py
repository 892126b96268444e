# pyright: basic
"""Whether snapshots come back as they were: loaded and compared right when they are written.

That happens in a child process: loading runs code of the user's classes, which may do anything to the notebook it runs
in. What libraries and the standard types make is trusted to come back equal if it comes back at all; objects of the
notebook's own classes are compared attribute by attribute.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from .guard import tried_apart
from .projects import is_project_module

#: Types from here always come back, or our own pickler sees to it.
_TRUSTED = frozenset(
    (
        "builtins", "numpy", "pandas", "datetime", "decimal", "fractions", "collections", "pathlib", "re", "uuid",
        "types", "functools", "enum", "random", "operator", "itertools", "pyarrow", "polars", "_io", "zoneinfo",
    )
)  # fmt: skip
#: Loading takes as long as writing, about.
_PATIENCE = 120.0
#: More bytes than this are not loaded a second time; should they not load, the first run that needs them finds out.
LARGEST = 512 * 2**20
_DEEPEST = 200


def needs_check(kinds: Sequence[type]) -> bool:
    """Whether objects of these types could come back otherwise."""
    return any((kind.__module__ or "").partition(".")[0] not in _TRUSTED for kind in kinds)


def own_class(kind: type) -> bool:
    """A class of the notebook or its project."""
    if kind.__module__ == "__main__":
        return True
    module = sys.modules.get(kind.__module__)
    return module is not None and is_project_module(kind.__module__, module)


def failures(pending: Mapping[str, tuple[str, Mapping[str, Any]]], load: Callable[[str], Any]) -> dict[str, str]:
    """Of snapshots (id -> where it lies, the values in it) those that do not come back, with the reason. ``load``: from
    a path to the values."""
    if not pending or not hasattr(os, "fork"):
        return {}
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries do not matter to the child
        child = os.fork()
    if child == 0:
        _in_child(read, write, pending, load)
    os.close(write)
    said = dict(json.loads(line) for line in _listen(read, child))
    os.close(read)
    found = {group: why for group, why in said.items() if why}
    silent = [group for group in pending if group not in said]
    if silent:  # it died, or did not come to an end, at the first of these
        found[silent[0]] = "loading it again ends the process, or does not end"
        found.update(failures({group: pending[group] for group in silent[1:]}, load))
    return found


def _listen(read: int, child: int) -> list[str]:
    """Its lines, as far as it came."""
    said, until = b"", time.monotonic() + _PATIENCE
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            break
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        said += piece
    os.waitpid(child, 0)
    return said[: said.rfind(b"\n") + 1].decode("ascii").splitlines()


def _in_child(
    read: int, write: int, pending: Mapping[str, tuple[str, Mapping[str, Any]]], load: Callable[[str], Any]
) -> None:
    """Does not return."""
    try:
        os.close(read)
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silent, stream)
        for group, (path, values) in pending.items():
            os.write(write, (json.dumps([group, _why(path, values, load)]) + "\n").encode("ascii"))
    finally:
        os._exit(0)


def _why(path: str, values: Mapping[str, Any], load: Callable[[str], Any]) -> str:
    loaded, problem = tried_apart(load, path)
    if problem is not None:
        return "it cannot be loaded again: %s: %s" % (type(problem).__name__, str(problem)[:200])
    for name, value in values.items():
        place, problem = tried_apart(lambda name=name, value=value: difference(value, loaded[name], name))
        if problem is not None:
            return "%s cannot be compared with what comes back: %r" % (name, problem)
        if place:
            return "it does not come back as it was (%s)" % place
    return ""


def difference(one: Any, other: Any, place: str, seen: Optional[set[tuple[int, int]]] = None, depth: int = 0) -> str:
    """Where two values differ, as a dotted place; empty if they do not, as far as this looks."""
    seen = set() if seen is None else seen
    if one is other or (id(one), id(other)) in seen or depth > _DEEPEST:
        return ""
    seen.add((id(one), id(other)))
    kind = type(one)
    if kind.__qualname__ != type(other).__qualname__:
        return place
    if kind in (int, float, complex, str, bytes, bool, bytearray):
        return "" if one == other or one != one else place
    if kind in (list, tuple):
        if len(one) != len(other):
            return place
        pairs = [("[%d]" % index, one[index], other[index]) for index in range(len(one))]
    elif kind is dict:
        if len(one) != len(other):
            return place
        values = list(other.values())
        pairs = [("[%r]" % (key,), value, values[index]) for index, (key, value) in enumerate(one.items())]
    elif kind in (set, frozenset):
        return "" if len(one) == len(other) else place
    elif own_class(kind):
        mine, theirs = attributes(one), attributes(other)
        if mine.keys() != theirs.keys():
            return "%s.%s" % (place, sorted(mine.keys() ^ theirs.keys())[0])
        pairs = [("." + name, mine[name], theirs[name]) for name in mine]
        if issubclass(kind, (list, tuple, set, frozenset)) and len(one) != len(other):
            return place
    else:
        return _array_difference(one, other, place)
    return next(filter(None, (difference(a, b, place + at, seen, depth + 1) for at, a, b in pairs)), "")


def attributes(value: Any) -> dict[str, Any]:
    """What an object holds by name, in its dictionary and its slots."""
    found: dict[str, Any] = {}
    for cls in type(value).__mro__:
        names = cls.__dict__.get("__slots__") or ()
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    found.update(getattr(value, "__dict__", {}))
    return found


def _array_difference(one: Any, other: Any, place: str) -> str:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(one, numpy.ndarray) or one.dtype.hasobject:
        return ""
    same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return "" if same else place
