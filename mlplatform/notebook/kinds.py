"""What kind of cell it is: one that only defines, one that looks like long work."""

from __future__ import annotations

import ast
import re
from typing import Final

from mlplatform.notebook.syntax import words

#: Decorators that keep no state and do nothing when they are applied.
_PURE_DECORATORS: Final = words(
    "staticmethod classmethod property dataclass wraps cached_property total_ordering abstractmethod overload final "
    "override contextmanager asynccontextmanager njit jit"
)
_HEAVY: Final = re.compile(
    r"(?:^|_)(?:fit|train|cross_val|search|minimi[sz]e|maximi[sz]e|optimi[sz]e|solve|simulate|bootstrap|resample|sleep|"
    r"evaluate|benchmark|backward|compute|persist|run|gather|wait|download|fetch|query|scan|crawl|request|urlopen|"
    r"urlretrieve|read|load|generate|process|compile|predict|transform|score|sample|apply|map|subprocess|Popen|"
    r"check_call|check_output|system|embed|encode|tokenize|learn|infer|merge|join|groupby)(?:_|$|[A-Z0-9])"
)


def only_defines(tree: ast.Module) -> bool:
    """Whether running it again in a fresh process gives the same and changes nothing else."""
    return bool(tree.body) and all(_defines(statement) for statement in tree.body)


def looks_heavy(tree: ast.Module) -> bool:
    """Whether there is work in it that may take time: a loop, or a call whose name says so."""
    for node in _outside_functions(tree):
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While, ast.Await)):
            return True
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if _HEAVY.search(str(name)):
                return True
    return False


def _outside_functions(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            found.append(part)
            found += _outside_functions(part)
    return found


def _defines(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            plain = all(_is_plain(default) for default in (*node.args.defaults, *node.args.kw_defaults) if default)
            return plain and all(_is_pure_decorator(each) for each in node.decorator_list)
        case ast.ClassDef():
            return all(_is_pure_decorator(each) for each in node.decorator_list) and all(
                _defines(part) or _is_plain_assignment(part) for part in node.body
            )
        case ast.Try():
            handled = all(_is_import_error(handler) for handler in node.handlers)
            parts = (*node.body, *node.orelse, *node.finalbody, *(p for h in node.handlers for p in h.body))
            return handled and all(_defines(part) or _is_plain_assignment(part) for part in parts)
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case _:
            return False


def _is_pure_decorator(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in _PURE_DECORATORS or name in ("setter", "getter", "deleter")


def _is_plain_assignment(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name()], value=value):
            return _is_plain(value)
        case ast.AnnAssign(target=ast.Name(), value=value):
            return value is None or _is_plain(value)
        case _:
            return False


def _is_plain(node: ast.expr) -> bool:
    """A constant that cannot be changed."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=operand):
            return _is_plain(operand)
        case ast.Tuple(elts=parts):
            return all(_is_plain(part) for part in parts)
        case _:
            return False


def _is_import_error(handler: ast.ExceptHandler) -> bool:
    names = [part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)] if handler.type else []
    return bool(names) and set(names) <= {"ImportError", "ModuleNotFoundError"}
