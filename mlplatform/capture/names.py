"""The names a piece of source text uses without binding them, told apart by when they are needed."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

#: Scopes that run where they stand, not when somebody calls them.
_AT_ONCE = frozenset(("lambda", "listcomp", "setcomp", "dictcomp", "genexpr"))


@dataclass(frozen=True)
class Import:
    """One static import. ``module`` is absolute or begins with dots; ``names``: what ``from`` takes of it."""

    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """What a text needs.

    Attributes:
        at_once: names that must be there when the text is executed (decorators, defaults, bases, class bodies).
        later: names its functions look up when they are called.
        hints: names in annotations; it is no fault if they cannot be had.
        chains: dotted names beginning with a free name, longest first (``os.path.join``).
        imports: import statements and calls with a constant name, anywhere in it.
        dynamic: it imports modules whose names are computed.
    """

    at_once: tuple[str, ...]
    later: tuple[str, ...]
    hints: frozenset[str]
    chains: tuple[str, ...]
    imports: tuple[Import, ...]
    dynamic: bool

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.at_once, *self.later)))


@lru_cache(maxsize=4096)
def names_of(text: str) -> Names:
    """Raises SyntaxError."""
    tree = ast.parse(text)
    at_once: dict[str, None] = {}
    later: dict[str, None] = {}
    _scan(symtable.symtable(text, "<captured>", "exec"), at_once, later, True)
    hints = frozenset(_annotation_names(tree))
    imports = tuple(dict.fromkeys(static_imports(tree)))
    return Names(
        at_once=tuple(at_once),
        later=tuple(name for name in (*later, *sorted(hints)) if name not in at_once),
        hints=hints,
        chains=tuple(sorted(_chains(tree), key=lambda chain: (-chain.count("."), chain))),
        imports=imports,
        dynamic=_imports_dynamically(tree),
    )


def _scan(table: symtable.SymbolTable, at_once: dict[str, None], later: dict[str, None], now: bool) -> None:
    module = table.get_type() == "module"
    for symbol in table.get_symbols():
        free = symbol.is_referenced() and (not symbol.is_assigned() and not symbol.is_imported() if module else True)
        if free and (module or symbol.is_global()):
            (at_once if now else later)[symbol.get_name()] = None
    for child in table.get_children():
        kind = str(child.get_type())
        runs_now = now and (kind != "function" or child.get_name() in _AT_ONCE)
        _scan(child, at_once, later, runs_now)


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as told) | ast.AnnAssign(annotation=told):
                yield told
            case ast.FunctionDef(returns=ast.expr() as told) | ast.AsyncFunctionDef(returns=ast.expr() as told):
                yield told
            case _:
                pass


def _annotation_names(tree: ast.AST) -> Iterator[str]:
    for annotation in _annotations(tree):
        for node in ast.walk(annotation):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from _names_in_text(node.value)


def _names_in_text(annotation: str) -> Iterator[str]:
    try:
        tree = ast.parse(annotation, mode="eval")
    except (SyntaxError, ValueError):
        return
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _chains(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            words = dotted(node)
            if words:
                found.add(words)
    return found


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for such an expression, else empty."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(words))) if isinstance(node, ast.Name) else ""


# ------------------------------------------------------------------ imports
def static_imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (Import(alias.name) for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                yield Import("." * level + (module or ""), tuple(alias.name for alias in aliases))
            case ast.Call() if _is_import_call(node):
                yield from _constant_import(node)
            case _:
                pass


def _is_import_call(node: ast.Call) -> bool:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name in ("import_module", "__import__") and bool(node.args)


def _constant_import(node: ast.Call) -> Iterable[Import]:
    first = node.args[0]
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        return
    words = first.value
    package = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords if k.arg == "package"), None)
    if words.startswith(".") and isinstance(package, ast.Constant) and isinstance(package.value, str):
        base = package.value.split(".")
        up = len(words) - len(words.lstrip("."))
        words = ".".join((*base[: len(base) - up + 1], words.lstrip(".")))
    yield Import(words)


def _imports_dynamically(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call) and _is_import_call(node) and not isinstance(node.args[0], ast.Constant)
        for node in ast.walk(tree)
    )


# ------------------------------------------------------------------ what counts as a change
@lru_cache(maxsize=4096)
def normalised(text: str) -> str:
    """Text without comments, formatting and docstrings (these stay where it speaks of ``__doc__``)."""
    tree = ast.parse(text)
    if "__doc__" not in text:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                _drop_docstring(node)
    return ast.dump(tree)


def _drop_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]
