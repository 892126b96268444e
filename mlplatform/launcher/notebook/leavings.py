# pyright: basic
"""What tasks leave inside libraries that no item of hidden state names: warnings that were given (and are not given
again), counters that number what a library makes. Tasks that ran side by side in processes of their own must not have
met in one of these: each would have found it as the other left it."""

from __future__ import annotations

import hashlib
import itertools
import random
import sys
import types
from collections.abc import Iterator
from typing import Any

_COUNT = type(itertools.count())


def marks() -> dict[str, Any]:
    """All of it, by place."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or name.startswith("_mlplatform"):
            continue
        held = vars(module)
        given = held.get("__warningregistry__")
        if isinstance(given, dict):
            for key in list(given):
                if isinstance(key, tuple):
                    found["warning %s %s" % (name, _digest(key))] = True
        if name.partition(".")[0] in getattr(sys, "stdlib_module_names", ()) or name == "__main__":
            continue
        for key, value in list(held.items()):
            if isinstance(value, type):
                if value.__module__ == name:
                    for inner, counter in _counters(value):
                        found["counter %s:%s.%s" % (name, value.__qualname__, inner)] = counter
            elif type(value) is int or type(value) is _COUNT or type(value) is random.Random:
                found["counter %s:%s" % (name, key)] = _state(value)
    return found


def met(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Places that differ, without those that only came with a module's import."""
    missing = object()
    return sorted(
        key
        for key, value in after.items()
        if before.get(key, missing) != value and (key in before or key.startswith("warning "))
    )


def _counters(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(kind).items()):
        if type(value) is int or type(value) is _COUNT:
            yield name, _state(value)


def _state(value: Any) -> Any:
    if type(value) is _COUNT:
        return repr(value)
    return value if type(value) is int else hash(value.getstate())


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()[:16]
