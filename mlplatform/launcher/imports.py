"""Imports while a task is watched.

Looking for a module, or for the version of an installed package, lists every folder on the path. Left alone, that would
make each new file in the project a change. What counts instead: the module that was found, and that the folders before
it had none of its name.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

from .ignored import Ignored

_watching = False
#: Modules that list the whole path while they are imported, or of which a class does so later.
_LISTING_MODULES = ("pkg_resources", "importlib_metadata")


def watch(pause: Callable[[bool], None], ignored: Ignored) -> None:
    """Once for a process. ``pause``: nothing is recorded between ``pause(True)`` and ``pause(False)``."""
    global _watching
    if _watching:
        return
    _watching = True
    finder: Any = importlib.machinery.FileFinder
    find = finder.find_spec

    def find_and_tell(self: Any, fullname: str, target: Any = None) -> Any:
        spec = find(self, fullname, target)
        if spec is None and not ignored.covers(self.path):
            place = os.path.join(self.path, fullname.rpartition(".")[2])
            os.path.exists(place + ".py")
            os.path.exists(place)
        elif spec is not None and fullname in _LISTING_MODULES and spec.loader is not None:
            spec.loader.exec_module = _then_quiet(spec.loader.exec_module, pause)
        return spec

    finder._fill_cache = _quiet(finder._fill_cache, pause)
    finder.find_spec = find_and_tell
    _quiet_metadata(importlib.metadata, pause)


def _quiet(function: Callable[..., Any], pause: Callable[[bool], None]) -> Callable[..., Any]:
    def quietly(*arguments: Any) -> Any:
        pause(True)
        try:
            return function(*arguments)
        finally:
            pause(False)

    return quietly


def _then_quiet(execute: Callable[[Any], None], pause: Callable[[bool], None]) -> Callable[[Any], None]:
    def execute_quietly(module: Any) -> None:
        _quiet(execute, pause)(module)
        _quiet_metadata(module, pause)

    return execute_quietly


def _quiet_metadata(module: Any, pause: Callable[[bool], None]) -> None:
    """``importlib.metadata`` (and its backport) looks for ``*.dist-info`` in every folder on the path."""
    path_class = getattr(module, "FastPath", None)
    if path_class is not None and hasattr(path_class, "children"):
        path_class.children = _quiet(path_class.children, pause)
