"""Which environment variables user code read: a recording ``os.environ``."""

from __future__ import annotations

import _collections_abc
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from .ignored import noise, ours, packages

_read: set[str] = set()
_written: set[str] = set()
_pending: set[str] = set()
_bulk = False
#: Code of the standard library through which a variable is asked for.
_THROUGH = (os.__file__, _collections_abc.__file__, __file__, "<frozen os>", "<frozen _collections_abc>")
_packages = tuple(packages())
_on = False


class _Recording(type(os.environ)):  # type: ignore[misc]
    """Takes the place of the class of ``os.environ``, so that references made before see it too."""

    __module__ = "os"  # what it holds is told by its place, as for the class itself

    def __getitem__(self, key: Any) -> Any:
        _note(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        _written.add(key)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        _written.add(key)

    def __iter__(self) -> Iterator[Any]:
        everything()
        names = list(super().__iter__())
        _pending.update(names)
        return iter(names)


def _note(key: Any) -> None:
    if not _on or not isinstance(key, str) or key in _written:
        return
    if key in _pending:
        _pending.discard(key)
    elif key not in _read and not (noise(key) and _asked_by_package()):
        _read.add(key)


def _asked_by_package() -> bool:
    """Whether the code that asks is an installed package's."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_THROUGH):
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_packages)


def everything() -> None:
    """All variables at once were handed on: to a copy, or to a child process."""
    global _bulk
    _bulk = True


def record() -> None:
    """From now on."""
    global _on
    _on = True
    os.environ.__class__ = _Recording


def stop() -> None:
    global _on
    _on = False


def env_read(spec: Mapping[str, Any]) -> dict[str, Optional[str]]:
    """Digest of each variable that was read, as the submission gave it (null: it was not set). Variables whose values
    the platform chose for this attempt, and those that hold secrets, are left out."""
    env = {str(name): str(value) for name, value in spec["env"].items()}
    names = set(_read)
    if _bulk:
        names |= {name for name in env if not noise(name)}
    secret = [str(value) for value in spec.get("secrets") or ()]
    left_out = frozenset(("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER") if spec.get("gpus") is not None else ())
    found: dict[str, Optional[str]] = {}
    for name in sorted(names - left_out):
        value = env.get(name)
        if ours(name) or (value is not None and value in secret) or (value is None and name in os.environ):
            continue
        found[name] = None if value is None else digest(value)
    return found


def digest(value: str) -> str:
    """How a value is written down: never as it is."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
