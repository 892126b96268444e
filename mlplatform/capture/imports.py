"""What a name that was imported becomes: an import statement again."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .nodes import Node
from .sheets import Sheet, sheet
from .values import advice

if TYPE_CHECKING:
    from .reach import Reach


def own_module_name(namespace: Mapping[str, Any]) -> str:
    return str(namespace.get("__name__") or "__main__")


def importable(value: Any) -> bool:
    """Whether ``from MODULE import QUALIFIED.NAME`` gives this very object."""
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__" or "<locals>" in path:
        return False
    found: Any = sys.modules.get(module)
    for word in path.split("."):
        found = getattr(found, word, None)
    return found is value


class Importer:
    """Import statements for one walk."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.extra: dict[str, None] = {}

    def module(self, node: Node, value: ModuleType) -> None:
        name = value.__name__
        node.rank = 0
        if name == "__main__" or not (name in sys.modules or self._reach.modules.find(name)):
            self._reach.error("cannot-travel", f"{node.name!r} is a module without source ({name})", advice("module"))
            return
        if not self.note_module(value):
            self._reach.error("cannot-travel", f"{node.name!r} is a module without source ({name})", advice("module"))
        node.text = f"import {name}\n" if node.name == name else f"import {name} as {node.name}\n"
        self._reach.part(f"import {node.name}", node.text.strip())

    def note_module(self, value: ModuleType) -> bool:
        """False for a module that another process cannot import."""
        name = value.__name__
        if name == "__main__" or sys.modules.get(name) is not value:
            return False
        self._reach.modules.reach(name)
        return _has_origin(value) or name.partition(".")[0] in self._reach.modules.distributions

    def note(self, value: Any) -> bool:
        """Take in the module of a function or class that is imported; False for one that is captured by its text."""
        module = getattr(value, "__module__", None)
        if isinstance(value, BuiltinFunctionType) and not isinstance(value.__self__, (ModuleType, type(None))):
            return True  # a method of a builtin object
        if module in ("builtins", None) or getattr(builtins, getattr(value, "__name__", ""), None) is value:
            return True
        if module == self._reach.own_module or not importable(value):
            return False
        self._reach.modules.reach(str(module))
        return True

    def binds(self, node: Node, value: Any) -> bool:
        """Write an import for a value that a statement of its own cells or file imports by this name, or that its
        module has under its qualified name."""
        told = self._statement(node.name, value)
        if told is None and isinstance(value, (FunctionType, type, BuiltinFunctionType)):
            own = value.__module__ == self._reach.own_module
            if not own and importable(value):
                told = (value.__module__, value.__qualname__)
        if told is None:
            return False
        module, path = told
        node.rank = 0
        self._reach.modules.reach(module)
        first, *rest = path.split(".")
        if rest:
            node.text = f"from {module} import {first} as {node.name}\n{node.name} = {node.name}.{'.'.join(rest)}\n"
        else:
            node.text = f"from {module} import {first}" + (f" as {node.name}\n" if first != node.name else "\n")
        self._reach.part(f"import {node.name}", f"{module}.{path}")
        return True

    def _statement(self, name: str, value: Any) -> tuple[str, str] | None:
        if isinstance(value, (int, float, str, bytes, bool, list, dict, set, tuple, frozenset, type(None))):
            return None  # data counts by what it is now
        if getattr(value, "__module__", None) == self._reach.own_module:
            return None
        for where in self._sheets(name):
            told = where.imports.get(name)
            if told is None:
                continue
            module = sys.modules.get(told[0])
            data = not isinstance(value, (FunctionType, type, BuiltinFunctionType))
            if data and self._reach.modules.is_project(told[0]):
                continue
            if module is not None and getattr(module, told[1], None) is value:
                return told
        return None

    def _sheets(self, name: str) -> Iterable[Sheet]:
        own = sheet(str(self._reach.namespace.get("__file__") or ""))
        for where in ([own] if own else []) + (self._reach.cells if self._reach.own_module == "__main__" else []):
            if name in where.text and "import" in where.text:
                yield where

    def chains(self, chains: Iterable[str], namespace: Mapping[str, Any]) -> None:
        """``package.submodule.name`` needs the submodule imported, whoever imported it here."""
        for chain in chains:
            first, *rest = chain.split(".")
            value = namespace.get(first)
            while isinstance(value, ModuleType) and rest:
                inner = getattr(value, rest[0], None)
                path = f"{value.__name__}.{rest[0]}"
                if not isinstance(inner, ModuleType) or inner.__name__ != path or sys.modules.get(path) is not inner:
                    break
                self._reach.modules.reach(path)
                self.extra[path] = None
                value, rest = inner, rest[1:]


def _has_origin(module: ModuleType) -> bool:
    spec: Any = getattr(module, "__spec__", None)
    return spec is not None and (spec.origin is not None or bool(spec.submodule_search_locations))
