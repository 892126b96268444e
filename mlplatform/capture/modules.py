"""Modules by where they come from, and the project's own by what they reach.

A module is *built in* (the standard library), *installed* (below the interpreter's package folders: it is named by its
distribution and not carried), or the *project's* (everything else with a source file: its text travels).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Final

from .names import Import, static_imports

#: Import names that say little of the distribution they come from; checked against what is installed.
_KNOWN: Final = {
    "sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow", "yaml": "PyYAML", "cv2": "opencv-python",
    "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "attr": "attrs", "OpenSSL": "pyOpenSSL",
    "dotenv": "python-dotenv",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A module of the project. ``path``: its file (for a folder without ``__init__.py`` that folder)."""

    name: str
    path: str
    is_package: bool
    source: str
    submodule_paths: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]


class Modules:
    """Finds modules as this process would, without executing any. ``project``: a folder to look in as well, before
    the others with ``first``, as Python does with the folder of a script.
    """

    def __init__(self, project: Path | None = None, *, first: bool = False) -> None:
        more = [str(project)] if project else []
        path = [*more, *sys.path] if first else [*sys.path, *more]
        self._path = list(dict.fromkeys(path))
        self.project: dict[str, Place] = {}
        self.distributions: dict[str, str] = {}
        self.missing: set[str] = set()
        self.sourceless: dict[str, str] = {}
        self._seen: set[str] = set()

    def reach(self, name: str) -> None:
        """Take in a module by its absolute name, the packages above it, and all that the project's ones import."""
        words = name.split(".")
        for count in range(1, len(words) + 1):
            self._reach_one(".".join(words[:count]))

    def reach_import(self, told: Import, package: str = "") -> None:
        """``from a import b`` may mean the module ``a.b``."""
        module = absolute(told.module, package)
        if not module:
            return
        self.reach(module)
        if module in self.project and self.project[module].is_package:
            for name in told.names:
                for submodule in self._submodules(module) if name == "*" else (name,):
                    if self._is_module(f"{module}.{submodule}"):
                        self.reach(f"{module}.{submodule}")

    def is_project(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> Place | None:
        """A module of the project; None for any other and for what is not there."""
        spec = self._spec(name)
        return _place(name, spec) if spec is not None else None

    def _reach_one(self, name: str) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return
        spec = self._spec(name)
        if spec is None:
            if "." not in name:
                self.missing.add(name)
            return
        place = _place(name, spec)
        if place is None:
            self._installed(top)
            if not distribution_of(top) and spec.origin and not is_installed(spec.origin) and top != "mlplatform":
                self.sourceless[name] = spec.origin
            return
        self.project[name] = place
        for told in imports_of(place.source):
            self.reach_import(told, place.package)

    def _installed(self, top: str) -> None:
        for name, version in distribution_of(top).items():
            self.distributions[name] = version

    def _spec(self, name: str) -> ModuleSpec | None:
        loaded: Any = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None)
        if isinstance(spec, ModuleSpec):
            return spec
        parent, _, last = name.rpartition(".")
        path: list[str] | None = self._path
        if parent:
            above = self._spec(parent)
            path = list(above.submodule_search_locations or ()) if above is not None else None
        if path is None:
            return None
        try:
            return PathFinder.find_spec(name if parent else last, path)
        except KeyError:  # a folder without __init__.py in a package that is not imported here
            found = ModuleSpec(name, None, is_package=True)
            found.submodule_search_locations = [f"{each}/{last}" for each in path if os.path.isdir(f"{each}/{last}")]
            return found
        except (ImportError, ValueError, AttributeError):
            return None

    def _is_module(self, name: str) -> bool:
        return self._spec(name) is not None

    def _submodules(self, package: str) -> list[str]:
        found: set[str] = set()
        for folder in self.project[package].submodule_paths:
            for entry in os.scandir(folder) if os.path.isdir(folder) else ():
                if entry.name.endswith(".py") and entry.name != "__init__.py":
                    found.add(entry.name[:-3])
                elif entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__":
                    found.add(entry.name)
        return sorted(found)


def absolute(module: str, package: str) -> str:
    """A dotted name without leading dots; empty if it leads out of the package."""
    if not module.startswith("."):
        return module
    try:
        return importlib.util.resolve_name(module, package or None)
    except (ImportError, ValueError):
        return ""


@lru_cache(maxsize=2048)
def imports_of(source: str) -> tuple[Import, ...]:
    try:
        return tuple(dict.fromkeys(static_imports(ast.parse(source))))
    except (SyntaxError, ValueError, RecursionError):
        return ()


# ------------------------------------------------------------------ the project's or somebody else's
def _place(name: str, spec: ModuleSpec) -> Place | None:
    if name.partition(".")[0] == "mlplatform" or name == "__main__":
        return None
    folders = tuple(spec.submodule_search_locations or ())
    if spec.origin is None or spec.origin == "namespace":
        own = [folder for folder in folders if not is_installed(folder)]
        return Place(name, own[0], True, "", tuple(own)) if own else None
    if not spec.origin.endswith(".py") or is_installed(spec.origin):
        return None
    source = read_source(spec.origin)
    return None if source is None else Place(name, spec.origin, bool(folders), source, folders)


def read_source(path: str) -> str | None:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeError):
        return None


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    found.append(site.getusersitepackages() if site.ENABLE_USER_SITE else "")
    found += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    both = [path for folder in found if folder for path in (folder, os.path.realpath(folder))]
    return tuple(dict.fromkeys(os.path.join(path, "") for path in both))


@lru_cache(maxsize=8192)
def is_installed(path: str) -> bool:
    """Below a folder of the interpreter's: its standard library or its packages."""
    full = os.path.abspath(path)
    return full.startswith(_installed_folders()) or os.path.realpath(full).startswith(_installed_folders())


# ------------------------------------------------------------------ distributions
@lru_cache(maxsize=2048)
def distribution_of(top: str) -> Mapping[str, str]:
    """Distributions (with versions) that give a top-level import name."""
    for guess in (_KNOWN.get(top, ""), top):
        try:
            found = importlib.metadata.distribution(guess) if guess else None
        except importlib.metadata.PackageNotFoundError:
            continue
        if found is not None:
            return {found.metadata["Name"]: found.version}
    names = _all_distributions().get(top, ())
    return {name: importlib.metadata.version(name) for name in dict.fromkeys(names)}


@lru_cache(maxsize=1)
def _all_distributions() -> Mapping[str, list[str]]:
    """Slow (it reads every package's list of files), so only asked where guessing fails."""
    return importlib.metadata.packages_distributions()
