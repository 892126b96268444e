"""Which names are local to a function, a lambda or a comprehension."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def parameters_of(node: ast.AST) -> frozenset[str]:
    """Names of a function's parameters."""
    arguments = getattr(node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return frozenset()
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return frozenset(argument.arg for argument in every if argument is not None)


def bound_names(node: ast.AST) -> frozenset[str]:
    """Names that a function's body binds, or a comprehension's loops; nested scopes keep theirs."""
    if isinstance(node, _COMPREHENSIONS):
        loops = (part for generator in node.generators for part in ast.walk(generator.target))
        return frozenset(part.id for part in loops if isinstance(part, ast.Name))
    if isinstance(node, _FUNCTIONS):
        return frozenset(name for statement in node.body for name in _bound_in(statement))
    if isinstance(node, ast.Lambda):
        return frozenset(_bound_in(node.body))
    return frozenset()


def declared_globals(node: ast.AST) -> frozenset[str]:
    """Names that a function declares global."""
    if not isinstance(node, _FUNCTIONS):
        return frozenset()
    return frozenset(
        name
        for statement in node.body
        for part in _same_scope(statement)
        if isinstance(part, ast.Global)
        for name in part.names
    )


def _bound_in(node: ast.AST) -> Iterator[str]:
    for part in _same_scope(node):
        match part:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.partition(".")[0] for alias in part.names)
            case ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case _:
                pass


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is under it in the same scope. A walrus in a comprehension binds in the scope around it."""
    yield node
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
        return
    if isinstance(node, _COMPREHENSIONS):
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                yield part.target
        return
    for part in ast.iter_child_nodes(node):
        yield from _same_scope(part)
