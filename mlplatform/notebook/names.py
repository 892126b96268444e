"""What ``from MODULE import *`` brings, told without running any third-party code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

#: Modules of the standard library that do something when they are imported.
_LOUD: Final = frozenset({"antigravity", "this", "__main__", "idlelib", "turtledemo", "test"})


@lru_cache(maxsize=256)
def exported_names(module: str, level: int = 0) -> frozenset[str] | None:
    """The names that a star import binds; None if only importing the module would tell."""
    top = module.partition(".")[0]
    if level or not module or top in _LOUD:
        return None
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return _of_module(module)
    return _of_source(module) if "." not in module else None


def _of_module(module: str) -> frozenset[str] | None:
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    names: Any = getattr(found, "__all__", None)
    return frozenset(names if names is not None else (name for name in dir(found) if not name.startswith("_")))


def _of_source(module: str) -> frozenset[str] | None:
    """``__all__`` of a module's file, where it is one plain list."""
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (ImportError, ValueError, OSError, SyntaxError):
        return None
    found: frozenset[str] | None = None
    for node in ast.walk(tree):
        targets = _targets(node)
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            continue
        value = getattr(node, "value", None)
        if found is not None or not isinstance(node, ast.Assign) or not isinstance(value, (ast.List, ast.Tuple)):
            return None
        words = [item.value for item in value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if len(words) != len(value.elts):
            return None
        found = frozenset(words)
    return found


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign) else []
