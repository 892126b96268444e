# pyright: basic
"""Final values of a notebook's run, each by itself: loaded from its snapshots in the notebook's own interpreter."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Mapping
from typing import Any

from .. import surroundings
from . import veil
from .checkpoint import group_path
from .guard import tried
from .projects import is_project_module


def main(request_path: str) -> None:
    """``request_path``: JSON with ``library``, ``folder``, ``names`` (name -> [content, group]), ``singles`` (name ->
    digest), ``wanted``, ``to``: where ``{name: cloudpickle bytes}`` is written as a pickle, and ``problems``: where
    ``{name: why}`` of those that cannot be had is written as JSON."""
    with open(request_path, "rb") as file:
        request = json.loads(file.read())
    os.chdir(request["folder"])
    sys.path.insert(0, "")
    surroundings.anonymous_main()
    veil.learn(os.environ)
    loader = _Loader(request)
    found: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for name in request["wanted"]:
        data, problem = tried(loader.value, name)
        if problem is None:
            found[name] = data
        else:
            problems[name] = _why(problem)
    with open(request["problems"], "w", encoding="utf-8") as told:
        json.dump(problems, told)
    temporary = "%s.%d" % (request["to"], os.getpid())
    with open(temporary, "wb") as out:
        pickle.dump(found, out)
    os.replace(temporary, request["to"])


def _why(problem: Exception) -> str:
    if isinstance(problem, KeyError):
        return "the notebook did not end with a variable of this name"
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        return "it needs the module %s, which the notebook's interpreter does not find here" % problem.name
    if isinstance(problem, FileNotFoundError):
        return "it could not be kept when the run ended, or what was kept of it is gone"
    return "it cannot be loaded here: %s: %s" % (type(problem).__name__, problem)


class _Loader:
    def __init__(self, request: Mapping[str, Any]) -> None:
        from . import rebuild

        self._library = request["library"]
        self._names = request["names"]
        self._singles = request["singles"]
        self._all = False
        self._groups: dict[str, dict[str, Any]] = {}
        self._namespace = vars(sys.modules["__main__"])
        rebuild.bind(self._namespace)
        path = self._names.get("@sys.path")
        if path is not None:
            sys.path[:] = self._load(path[1])["@sys.path"]

    def value(self, name: str) -> bytes:
        """cloudpickle's bytes of one value. Raises KeyError for a name the notebook did not end with."""
        from cloudpickle import cloudpickle

        if name in self._singles:
            with open(os.path.join(self._library, "values", self._singles[name]), "rb") as file:
                return veil.uncover(file.read())
        value = self._bring(name)
        for module_name, module in list(sys.modules.items()):
            if (
                is_project_module(module_name, module)
                and module_name not in cloudpickle.list_registry_pickle_by_value()
            ):
                cloudpickle.register_pickle_by_value(module)
        return cloudpickle.dumps(value)

    def _bring(self, name: str) -> Any:
        """Load a name, and those that functions behind it look up: they travel with the functions."""
        from .comparing import look

        waiting, seen = [name], {name}
        while waiting:
            one = waiting.pop()
            told = self._names.get(one)
            if told is None:
                if one == name:
                    raise KeyError("the notebook did not end with this name")
                continue
            loaded, problem = tried(self._load, told[1])
            if problem is not None:
                self._bring_functions()
                loaded, problem = tried(self._load, told[1])
            if problem is not None:
                if one == name:
                    raise problem
                continue
            self._namespace[one] = loaded[one]
            for other in look(self._namespace[one], self._namespace).names - seen:
                seen.add(other)
                waiting.append(other)
        return self._namespace[name]

    def _bring_functions(self) -> None:
        """Everything else that loads: a formula may name it."""
        if self._all:
            return
        self._all = True
        for name, told in self._names.items():
            found, problem = tried(self._load, told[1])
            if problem is None and not name.startswith("@"):
                self._namespace.setdefault(name, found[name])

    def _load(self, group: str) -> dict[str, Any]:
        from .keeping import load

        if group not in self._groups:
            self._groups[group] = load(group_path(self._library, group))
        return self._groups[group]
