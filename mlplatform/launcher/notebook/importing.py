# pyright: basic
"""What cells of earlier tasks imported, imported again in another process: importing registers accessors, patches
classes and binds submodules to their packages, and nothing of that is in a variable."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from .guard import tried


def import_again(sources: Iterable[str], transform: Callable[[str], str]) -> None:
    """Import what these cells surely tried to import, in their order. ``transform``: the shell's, from magics to
    Python. What cannot be imported is left out: the cell may have caught that too."""
    for source in sources:
        if "import" not in source:
            continue
        tree, problem = tried(lambda source=source: ast.parse(transform(source)))
        if problem is None:
            for name in _modules(tree.body):
                if name not in sys.modules:
                    tried(importlib.import_module, name)


def _modules(statements: Sequence[ast.stmt]) -> Iterator[str]:
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            # Asked for only now that its package is there: a name of the package is no module.
            held = vars(sys.modules[node.module]) if node.module in sys.modules else {}
            yield from ("%s.%s" % (node.module, alias.name) for alias in node.names if _may_be_module(alias.name, held))
        elif isinstance(node, (ast.Try, ast.With)):
            yield from _modules(node.body)


def _may_be_module(name: str, held: dict) -> bool:
    return name != "*" and name not in held
