"""Parameters of a notebook: plain values set in a cell that is tagged for it, or in its first cell of such values."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from mlplatform.core.values import JsonValue, ParameterType
from mlplatform.notebook.model import Cell, Parameter
from mlplatform.notebook.syntax import parse
from mlplatform.notebook.tags import PARAMETERS

_ANNOTATIONS: Final = {
    "int": ParameterType.NUMBER_INTEGER,
    "float": ParameterType.NUMBER_DOUBLE,
    "bool": ParameterType.BOOLEAN,
    "str": ParameterType.STRING,
    "list": ParameterType.LIST,
    "tuple": ParameterType.LIST,
    "dict": ParameterType.STRUCT,
}
_SECRET: Final = re.compile(r"(?i)(password|passwd|secret|token|api_?key|credential|private_?key)")
_MISSING: Final = object()


def tagged_cells(cells: Iterable[Cell]) -> list[int]:
    """Cells tagged ``parameters`` or ``pipeline-parameters``; values are set at the end of the last one."""
    return [cell.index for cell in cells if cell.runs and PARAMETERS & set(cell.tags)]


def offered_cell(cells: Sequence[Cell], definitions: Iterable[int]) -> int | None:
    """Without tags: the first cell that does more than import and define, if it only sets plain values."""
    known = set(definitions)
    for cell in cells:
        if not cell.runs or cell.index in known:
            continue
        tree = parse(cell.source)
        if tree is None or not tree.body:
            if tree is not None or cell.source.lstrip().startswith("%"):
                continue  # comments, or a line such as %matplotlib inline
            return None
        found = _assignments(tree)
        plain = len(found) == len([node for node in tree.body if not _is_text(node)])
        # An empty list or mapping is there to be filled.
        offered = plain and found and all(value is not _MISSING and value not in ([], {}) for _, value, _ in found)
        return cell.index if offered and not any(_SECRET.search(name) for name, _, _ in found) else None
    return None


def read_parameters(cells: Sequence[Cell], indexes: Iterable[int]) -> tuple[Parameter, ...]:
    """The parameters that cells set, in order; the last setting of a name counts."""
    found: dict[str, Parameter] = {}
    for index in indexes:
        source = cells[index].source
        tree = parse(source)
        if tree is None:
            continue
        comments = _comments(source)
        for name, value, annotation in _assignments(tree):
            line = next((n.end_lineno or 0 for n in tree.body if name in _names(n)), 0)
            found.pop(name, None)
            found[name] = _parameter(name, value, annotation, index, comments.get(line, ""))
    return tuple(found.values())


def _parameter(name: str, value: Any, annotation: str, cell: int, description: str) -> Parameter:
    declared = _ANNOTATIONS.get(annotation.partition("[")[0].rpartition(".")[2].lower())
    if value is _MISSING or value is None:
        # Any value may be given; none is set where none is.
        return Parameter(name, declared or ParameterType.STRING, cell, None, False, description)
    kind = _type_of(value)
    if declared is ParameterType.NUMBER_DOUBLE and kind is ParameterType.NUMBER_INTEGER:
        kind = declared
    return Parameter(name, kind, cell, cast(JsonValue, value), True, description)


def _type_of(value: Any) -> ParameterType:
    match value:
        case bool():
            return ParameterType.BOOLEAN
        case int():
            return ParameterType.NUMBER_INTEGER
        case float():
            return ParameterType.NUMBER_DOUBLE
        case str():
            return ParameterType.STRING
        case list():
            return ParameterType.LIST
        case _:
            return ParameterType.STRUCT


def _assignments(tree: ast.Module) -> list[tuple[str, Any, str]]:
    """(name, value, annotation) of every plain assignment; the value is _MISSING where it is not a plain one."""
    found: list[tuple[str, Any, str]] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, _literal(node.value), ""))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found.append((node.target.id, _literal(node.value), ast.unparse(node.annotation)))
    return found


def _names(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _literal(node: ast.expr) -> Any:
    """The JSON value that a literal is; numbers may be calculated (``10**3``, ``60 * 60``)."""
    match node:
        case ast.Constant(value=bool() | int() | str() | None as value):
            return value if not isinstance(value, int) or abs(value) < 2**53 else _MISSING
        case ast.Constant(value=float() as value):
            return value if math.isfinite(value) else _MISSING
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand)
            return -value if _is_number(value) else _MISSING
        case ast.BinOp(left=left, op=operator, right=right):
            return _calculated(_literal(left), operator, _literal(right))
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            values = [_literal(part) for part in parts]
            return _MISSING if any(value is _MISSING for value in values) else values
        case ast.Dict(keys=keys, values=entries):
            names = [_literal(key) if key is not None else _MISSING for key in keys]
            values = [_literal(entry) for entry in entries]
            if any(not isinstance(name, str) for name in names) or any(value is _MISSING for value in values):
                return _MISSING
            return dict(zip(names, values, strict=True))
        case _:
            return _MISSING


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _calculated(left: Any, operator: ast.operator, right: Any) -> Any:
    if not (_is_number(left) and _is_number(right)):
        return _MISSING
    try:
        match operator:
            case ast.Add():
                value = left + right
            case ast.Sub():
                value = left - right
            case ast.Mult():
                value = left * right
            case ast.Div():
                value = left / right
            case ast.Pow() if abs(right) <= 64 and abs(left) <= 1e6:
                value = left**right
            case _:
                return _MISSING
    except (ArithmeticError, ValueError):
        return _MISSING
    fits = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 2**53
    return value if fits else _MISSING


def _comments(source: str) -> dict[int, str]:
    """Line -> the comment at its end: what a parameter is for."""
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
                found[token.start[0]] = token.string.lstrip("#").strip()
    except (tokenize.TokenError, SyntaxError):
        pass
    return found
