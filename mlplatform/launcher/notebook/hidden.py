# pyright: basic
"""State of a process that is in no variable of the notebook: generators, environment, settings of libraries, patches.

Each is a named item with a value to compare and carry, or None while it is as a fresh kernel has it. *Settings* may
influence whatever runs after them, so every task depends on all of them; *streams* (random generators) only matter to
tasks that move them.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import threading
import time
import types
import warnings
from collections.abc import Mapping
from typing import Any, Optional

from . import libraries, rebuild, registered
from .process import Process
from .projects import is_project_module

#: Variables that belong to the session, not to the notebook.
_OURS = ("MLPLATFORM_", "MLFLOW_", "LD_PRELOAD", "PYTHONHASHSEED", "_KFP_", "MPLBACKEND", "JPY_", "COLUMNS", "LINES")


class Hidden:
    """All items of this process, against the state at the session's start."""

    def __init__(self, namespace: dict[str, Any], folder: str) -> None:
        self._namespace = namespace
        self._cwd = folder
        self._environ = _environment()
        self._path = list(sys.path)
        self._argv = list(sys.argv)
        self._zone = _timezone()
        self._filters = list(warnings.filters)
        self._builtins = dict(vars(builtins))
        self._threads = set(threading.enumerate())
        self._recursion = sys.getrecursionlimit()
        self._hooks = (sys.displayhook, sys.excepthook, sys.stdout, sys.stderr)
        self._random: Any = None
        self._libraries = libraries.Libraries()
        self._process = Process(namespace)
        self._loaded = set(sys.modules)
        #: Modules that cells have made of nothing.
        self._made: set[str] = set()
        self._patched: dict[str, Any] = {}
        import random

        self._random = random.getstate()

    # ------------------------------------------------------------------ what there is
    def read(self, words: frozenset[str]) -> dict[str, Any]:
        """Items that are not as in a fresh kernel. ``words``: what the task that just ran mentions."""
        import random

        found: dict[str, Any] = {}
        if random.getstate() != self._random:
            found["@random"] = random.getstate()
        environment = _environment()
        changed: dict[str, Optional[str]] = {
            name: value for name, value in environment.items() if self._environ.get(name) != value
        }
        changed.update(dict.fromkeys(name for name in self._environ if name not in environment))
        if changed:
            found["@environment"] = changed
        if _folder() != self._cwd:
            found["@folder"] = _folder()
        if sys.path != self._path:
            found["@sys.path"] = list(sys.path)
        if sys.argv != self._argv:
            found["@argv"] = list(sys.argv)
        if _timezone() != self._zone:
            found["@timezone"] = _timezone()
        if list(warnings.filters) != self._filters:
            found["@warnings"] = list(warnings.filters)
        if sys.getrecursionlimit() != self._recursion:
            found["@recursion"] = sys.getrecursionlimit()
        found.update(self._libraries.read(words))
        found.update(self._process.read(words))
        if "ModuleType" in words:
            self._made.update(name for name in set(sys.modules) - self._loaded if _is_made(sys.modules[name]))
        found.update(self._modules())
        found.update(self._patches())
        return found

    def write(self, items: Mapping[str, Any]) -> None:
        """Make the process as ``items`` (from :meth:`read`) say; what is not in them as in a fresh kernel."""
        import random

        random.setstate(items.get("@random") or self._random)
        self._write_environment(items.get("@environment") or {})
        if _timezone() != (items.get("@timezone") or self._zone) and hasattr(time, "tzset"):
            time.tzset()  # only where a cell had called it: setting TZ alone changes nothing
        os.chdir(items.get("@folder") or self._cwd)
        sys.path[:] = items.get("@sys.path") or self._path
        sys.argv[:] = items.get("@argv") or self._argv
        sys.setrecursionlimit(items.get("@recursion") or self._recursion)
        self._write_modules(items)
        self._libraries.write(items)
        self._process.write(items)
        self._write_patches(items)
        # Last: importing libraries adds filters of its own.
        filters: Any = warnings.filters
        filters[:] = items.get("@warnings") or self._filters
        warnings._filters_mutated()  # type: ignore[attr-defined]

    def blocks(self, loop: Any) -> list[str]:
        """Reasons why no other process could go on from here, whatever the variables are."""
        import asyncio

        found = [
            *self._libraries.blocks(),
            *self._process.blocks(),
            *registered.hooks(rebuild.the_shell(), self._namespace),
        ]
        found += ["a module made by a cell (%s)" % name for name in sorted(self._made & set(sys.modules))]
        for thread in set(threading.enumerate()) - self._threads:
            target: Any = getattr(thread, "_target", None)
            if getattr(target, "__module__", "") == "__main__" or type(thread).__module__ == "__main__":
                found.append("a thread that is running (%s)" % thread.name)
        waiting = [task for task in asyncio.all_tasks(loop) if not getattr(task, "_mlplatform", False)]
        if waiting:
            found.append("an asyncio task that is pending")
        if (sys.displayhook, sys.excepthook, sys.stdout, sys.stderr) != self._hooks:
            found.append("a replaced hook or stream of sys")
        return found

    # ------------------------------------------------------------------ environment
    def _write_environment(self, changed: Mapping[str, Optional[str]]) -> None:
        wanted = {**self._environ, **changed}
        for name, value in wanted.items():
            if value is None:
                os.environ.pop(name, None)
            elif os.environ.get(name) != value:
                os.environ[name] = value
        for name in _environment():
            if name not in wanted:
                del os.environ[name]

    # ------------------------------------------------------------------ modules of the project
    def _modules(self) -> dict[str, Any]:
        """Modules that are nobody's package: their data is state like any other."""
        found: dict[str, Any] = {}
        names: list[str] = []
        for name, module in list(sys.modules.items()):
            if name in self._made:
                made = {key: value for key, value in list(vars(module).items()) if not key.startswith("__")}
                found["@module:" + name] = made
                continue
            if not is_project_module(name, module):
                continue
            names.append(name)
            data = {
                key: value
                for key, value in list(vars(module).items())
                if not key.startswith("__") and not isinstance(value, (types.ModuleType, type)) and not callable(value)
            }
            if data:
                found["@module:" + name] = data
        if names:
            found["@modules"] = names
        return found

    def _write_modules(self, items: Mapping[str, Any]) -> None:
        for name in items.get("@modules") or ():
            module = importlib.import_module(name)
            data = items.get("@module:" + name)
            if data:
                vars(module).update(data)

    # ------------------------------------------------------------------ patches
    def note_patches(self, places: frozenset[str]) -> None:
        """Dotted places that the text of a task assigns to; those in modules and their classes are watched."""
        for place in places:
            base, _, name = place.rpartition(".")
            found = self._resolve(base)
            if not found:
                continue
            names = [name] if name != "*" else []
            for one in names:
                self._patched.setdefault("@patch:%s:%s" % (found, one), None)

    def _resolve(self, base: str) -> str:
        """``module:Class.path`` of a dotted expression; empty if it is no module and no class of one."""
        first, *rest = base.split(".")
        value: Any = self._namespace.get(first)
        for word in rest:
            value = getattr(value, word, None)
        if isinstance(value, types.ModuleType):
            if sys.modules.get(value.__name__) is value and not is_project_module(value.__name__, value):
                return value.__name__ + ":"
            return ""
        if isinstance(value, type) and value.__module__ != "__main__" and value.__module__ in sys.modules:
            return "%s:%s" % (value.__module__, value.__qualname__)
        return ""

    def _patches(self) -> dict[str, Any]:
        """Values of the notebook in modules that are not the notebook's."""
        for name, module in list(sys.modules.items()):
            if not isinstance(module, types.ModuleType) or name.startswith("_mlplatform"):
                continue
            if vars(module) is self._namespace:
                continue
            for key, value in list(vars(module).items()):
                own = type(value) is types.FunctionType and value.__globals__ is self._namespace
                if own and not is_project_module(name, module):
                    self._patched.setdefault("@patch:%s::%s" % (name, key), None)
        for key, value in list(vars(builtins).items()):
            changed = key not in self._builtins or self._builtins[key] is not value
            if changed and key not in ("_", "display", "get_ipython"):
                self._patched.setdefault("@patch:builtins::%s" % key, None)
        for place in registered.extensions():
            self._patched.setdefault(place, None)
        found: dict[str, Any] = {}
        for place in self._patched:
            holder, name = _holder(place)
            if holder is not None and name in vars(holder):
                found[place] = vars(holder)[name]
        return found

    def _write_patches(self, items: Mapping[str, Any]) -> None:
        for place, value in items.items():
            if place.startswith("@patch:"):
                holder, name = _holder(place, load=True)
                if holder is not None:
                    self._patched.setdefault(place, None)
                    setattr(holder, name, value)


def _is_made(module: Any) -> bool:
    return type(module) is types.ModuleType and module.__spec__ is None and not hasattr(module, "__file__")


def _holder(place: str, load: bool = False) -> tuple[Any, str]:
    """``@patch:module:Class.path:name`` -> the module or class, and the name."""
    module, path, name = place[len("@patch:") :].split(":")
    found: Any = importlib.import_module(module) if load else sys.modules.get(module)
    for word in path.split(".") if path else ():
        found = getattr(found, word, None)
    return found, name


def is_setting(name: str) -> bool:
    """Whether every later task depends on this item."""
    return name.startswith("@") and name not in STREAMS and not name.startswith("@module")


#: Items that matter only to tasks which move or ask for them.
STREAMS = frozenset(("@random", "@numpy.random", "@torch.random"))
#: Words by which a task looks at a generator without moving it.
ASKING = frozenset(("getstate", "get_state", "get_rng_state", "initial_seed", "bit_generator", "_rand"))


def _environment() -> dict[str, str]:
    """All variables, read in a way that a recording ``os.environ`` does not notice."""
    environ: Any = os.environ
    decode_key, decode_value = environ.decodekey, environ.decodevalue
    found = {decode_key(key): decode_value(value) for key, value in environ._data.items()}
    return {name: value for name, value in found.items() if not name.startswith(_OURS)}


def _timezone() -> list[Any]:
    """What ``time.tzset`` found when it was called last."""
    return [list(time.tzname), time.timezone, time.altzone]


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
