"""What of a task's text its result depends on."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.launcher.notebook.flow import is_history
from mlplatform.planning.notebook_component import CellSource, NotebookTask

#: Words by which a notebook can look at its own text: then comments and docstrings count.
_LOOKS_AT_TEXT = re.compile(
    r"__doc__|\bhelp\s*\(|\binspect\b|getsource|co_firstlineno|\?\s*$|%pinfo|%psource", re.MULTILINE
)
_WORD = re.compile(r"[^\W\d]\w*")
#: Raised when what was kept before must not be used any more (2: snapshots hold who shares memory in pandas).
_FORMAT = 2


def normalised(source: str, *, exact: bool = False) -> str:
    """A cell without comments, formatting and the docstrings of its functions and classes.

    A cell that is no plain Python (magics) is normalised where its magics are lines; a cell magic stays as it is.
    ``exact``: the text itself.
    """
    if exact or source.lstrip().startswith("%%"):
        return source
    try:
        tree = ast.parse(as_python(source))
    except (SyntaxError, ValueError, RecursionError):
        return source
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            _drop_docstring(node)
    quiet = _ends_quietly(source)
    return ast.dump(tree, include_attributes=False) + (";" if quiet else "")


def as_python(source: str) -> str:
    """A cell with its line magics and shell lines as calls."""
    return "\n".join(_magic_as_python(line) for line in source.splitlines())


def _magic_as_python(line: str) -> str:
    """A line magic or shell line as a statement, so that the rest of the cell can be parsed."""
    text = line.lstrip()
    if text.startswith(("%", "!", "?")) or text.rstrip().endswith("?"):
        return line[: len(line) - len(text)] + "__magic__(" + repr(text.rstrip()) + ")"
    return line


def _drop_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]


def _ends_quietly(source: str) -> bool:
    """Whether the last statement ends with a semicolon, which hides its value."""
    for line in reversed(source.splitlines()):
        text = line.split("#")[0].rstrip()
        if text:
            return text.endswith(";")
    return False


def cell_digest(cell: CellSource, *, exact: bool) -> str:
    text = json.dumps([normalised(cell.source, exact=exact), cell.may_fail])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def looks_at_text(tasks: Sequence[NotebookTask]) -> bool:
    """Whether comments and docstrings can matter anywhere in the notebook."""
    return any(_LOOKS_AT_TEXT.search(cell.source) for task in tasks for cell in task.cells)


def uses_history(tasks: Sequence[NotebookTask]) -> bool:
    """Whether a cell may look at earlier outputs or inputs (``_``, ``Out[3]``, ``_i2``)."""
    for task in tasks:
        for cell in task.cells:
            code = re.sub(r"#.*", "", cell.source)
            if any(is_history(word) for word in _WORD.findall(code)) and _mentions_history(code):
                return True
    return False


def _mentions_history(code: str) -> bool:
    try:
        tree = ast.parse(as_python(code))
    except (SyntaxError, ValueError, RecursionError):
        return True
    loads = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    stores = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    return any(is_history(name) for name in loads - stores)


def task_key(
    task: NotebookTask, values: Mapping[str, Any], *, exact: bool, history: bool, surroundings: Mapping[str, str]
) -> str:
    """The key under which a task's records are kept. ``surroundings``: Python, packages, folder."""
    told = {
        "format": _FORMAT,
        "cells": [cell_digest(cell, exact=exact) for cell in task.cells if cell.source.strip()],
        "values": dict(values),
        "history": history,
        "surroundings": dict(surroundings),
    }
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
