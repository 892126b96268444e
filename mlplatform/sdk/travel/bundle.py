"""The text of this package's travelling modules, small enough to stand in a command line."""

from __future__ import annotations

import ast
import base64
import zlib
from functools import lru_cache
from importlib.resources import files
from typing import Final

#: What the modules are called where the task runs; frames of files named so are not the user's.
PACKAGE: Final = "_mlplatform_task"
#: Raised when tasks or artifacts are written in another way than before.
VERSION: Final = 1
_MODULES: Final = ("classes", "tables", "models", "formats", "task")

_LOADER: Final = """
def _mlplatform_adapter():
    import base64, sys, types, zlib
    if {package!r} not in sys.modules:
        modules = eval(zlib.decompress(base64.b85decode({text!r})))
        sys.modules[{package!r}] = types.ModuleType({package!r})
        sys.modules[{package!r}].__path__ = []
        for name, source in modules:
            module = types.ModuleType({package!r} + "." + name)
            module.__package__ = {package!r}
            sys.modules[module.__name__] = module
            exec(compile(source, "<mlplatform " + name + ">", "exec", dont_inherit=True), module.__dict__)
    return sys.modules[{package!r} + ".task"]
"""


@lru_cache(maxsize=1)
def loader() -> str:
    """Python text defining ``_mlplatform_adapter()``, which gives the module ``task``."""
    found: list[tuple[str, str]] = []
    for name in _MODULES:
        text = files(__package__ or "").joinpath(name + ".py").read_text(encoding="utf-8")
        found.append((name, _without_words(text)))
    packed = base64.b85encode(zlib.compress(repr(found).encode(), 9)).decode("ascii")
    return _LOADER.format(package=PACKAGE, text=packed)


def _without_words(text: str) -> str:
    """Without comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
