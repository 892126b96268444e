"""Files and cells that definitions are written in, read and parsed once each."""

from __future__ import annotations

import ast
import linecache
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any, Final, TypeAlias

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_CELL: Final = re.compile(r"^<ipython-input-(\d+)-|[/\\]ipykernel_\d+[/\\]\d+\.py$|^<(?:cell|stdin|python-input)\b")


@dataclass(frozen=True)
class Found:
    """A definition in a sheet. ``inside``: the functions and classes around it, outermost first."""

    sheet: Sheet
    node: Definition
    inside: tuple[Definition, ...]

    @property
    def first_line(self) -> int:
        """1-based; that of the first decorator, as code objects have it."""
        return first_line(self.node)

    @property
    def top_level(self) -> bool:
        return not self.inside

    @property
    def place(self) -> str:
        return self.sheet.label if self.sheet.is_cell else f"{self.sheet.label}:{self.first_line}"


class Sheet:
    """The text of one file or cell."""

    def __init__(self, filename: str, text: str) -> None:
        self.filename = filename
        self.text = text
        self.is_cell = bool(_CELL.search(filename))

    @property
    def label(self) -> str:
        if not self.is_cell:
            return os.path.basename(self.filename)
        number = cell_numbers().get(self.filename)
        if number is None:
            match = _CELL.search(self.filename)
            number = match[1] if match and match[1] else None
        return f"cell {number}" if number is not None else "a cell"

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines(keepends=True)

    @cached_property
    def tree(self) -> ast.Module:
        """Empty where the text does not parse (another Python's syntax, magics)."""
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError):
            return ast.Module([], [])

    @cached_property
    def definitions(self) -> tuple[Found, ...]:
        return tuple(self._definitions(self.tree, ()))

    def _definitions(self, node: ast.AST, inside: tuple[Definition, ...]) -> Iterator[Found]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                yield Found(self, child, inside)
                yield from self._definitions(child, (*inside, child))
            else:
                yield from self._definitions(child, inside)

    @cached_property
    def by_line(self) -> Mapping[int, tuple[Found, ...]]:
        lines: dict[int, tuple[Found, ...]] = {}
        for found in self.definitions:
            lines[found.first_line] = (*lines.get(found.first_line, ()), found)
        return lines

    @cached_property
    def imports(self) -> Mapping[str, tuple[str, str]]:
        """Names that top-level ``from MODULE import NAME`` statements bind: (module, name)."""
        found: dict[str, tuple[str, str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = (node.module, alias.name)
        return found

    @cached_property
    def future_annotations(self) -> bool:
        return any(
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and any(alias.name == "annotations" for alias in node.names)
            for node in self.tree.body
        )

    def block(self, node: Definition, *, decorated: bool) -> str:
        """Whole lines of a ``def`` or ``class``, with or without its decorators."""
        start = first_line(node) if decorated else node.lineno
        return "".join(self.lines[start - 1 : node.end_lineno]).rstrip("\n") + "\n"

    def segment(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.text, node) or ""


def first_line(node: Definition) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return decorators[0].lineno if decorators else node.lineno


# ------------------------------------------------------------------ all there is
_sheets: dict[str, tuple[object, Sheet]] = {}


def sheet(filename: str) -> Sheet | None:
    """The sheet of a code object's file name, None if nobody has its text. Files are read as they are now."""
    if _CELL.search(filename):
        return _from_linecache(filename)
    try:
        status = os.stat(filename)
        stamp: object = (status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        return _from_linecache(filename)
    known = _sheets.get(filename)
    if known and known[0] == stamp:
        return known[1]
    try:
        with tokenize.open(filename) as file:
            text = file.read()
    except (OSError, SyntaxError, UnicodeError):
        return None
    found = Sheet(filename, text)
    _sheets[filename] = (stamp, found)
    return found


def _from_linecache(filename: str) -> Sheet | None:
    entry: Any = linecache.cache.get(filename)
    lines = entry[2] if entry is not None and len(entry) > 2 else linecache.getlines(filename)
    if not lines:
        return None
    known = _sheets.get(filename)
    if known and known[0] is lines:
        return known[1]
    found = Sheet(filename, "".join(lines))
    _sheets[filename] = (lines, found)
    return found


def cells() -> list[Sheet]:
    """The cells that ran in this kernel, last first."""
    numbers = cell_numbers()
    names = [name for name in list(linecache.cache) if _CELL.search(name)]
    names.sort(key=lambda name: numbers.get(name, 0))
    found = (sheet(name) for name in reversed(names))
    return [cell for cell in found if cell is not None]


def cell_numbers() -> Mapping[str, int]:
    """File name of a compiled cell -> its execution count, as this kernel's shell knows them."""
    shell_class: Any = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    if shell_class is None or not shell_class.initialized():
        return {}
    numbers = getattr(shell_class.instance().compile, "_filename_map", None)
    return numbers if isinstance(numbers, dict) else {}  # pyright: ignore[reportUnknownVariableType]


# ------------------------------------------------------------------ from objects to definitions
def find_code(code: CodeType) -> Found | None:
    """Where a code object was written. A definition that has moved in its file since is found by its name."""
    where = sheet(code.co_filename)
    if where is None:
        return None
    if code.co_name == "<lambda>":
        return _find_lambda(where, code)
    here = [f for f in where.by_line.get(code.co_firstlineno, ()) if getattr(f.node, "name", "") == code.co_name]
    if where.is_cell or (here and _is_code_of(here[0], code)):
        return here[0] if here else None
    path = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
    moved = [found for found in where.definitions if qualified_name(found) == path]
    return moved[-1] if moved else None


def qualified_name(found: Found) -> str:
    words: list[str] = []
    for node in (*found.inside, found.node):
        words.append(getattr(node, "name", "<lambda>"))
        if not isinstance(node, ast.ClassDef):
            words.append("<locals>")
    return ".".join(words[:-1] if words[-1] == "<locals>" else words)


def _is_code_of(found: Found, code: CodeType) -> bool:
    """Cheap and good enough: the names of arguments and locals, in order, and the last line."""
    lines = [line for _start, _end, line in code.co_lines() if line]
    arguments = getattr(found.node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return False
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    end = found.node.end_lineno or 0
    count = code.co_argcount + code.co_kwonlyargcount
    return list(code.co_varnames[:count]) == names and max(lines, default=0) <= end


def _find_lambda(where: Sheet, code: CodeType) -> Found | None:
    candidates = [f for f in where.definitions if isinstance(f.node, ast.Lambda) and _spans(f.node, code)]
    if len(candidates) > 1:
        exact = [f for f in candidates if isinstance(f.node, ast.Lambda) and _covers_exactly(f.node, code)]
        candidates = exact or candidates
    return candidates[0] if candidates else None


def _spans(node: ast.Lambda, code: CodeType) -> bool:
    if not node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno):
        return False
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) == names


def _covers_exactly(node: ast.Lambda, code: CodeType) -> bool:
    starts = [
        (p[0], p[2]) for p in code.co_positions() if p[0] and p[2] is not None and p[1] is not None and p[2] != p[3]
    ]
    ends = [(p[1], p[3]) for p in code.co_positions() if p[1] and p[3] is not None and p[2] != p[3]]
    if not starts or not ends:
        return True
    body = node.body
    inside = (body.lineno, body.col_offset) <= min(starts)  # pyright: ignore[reportOperatorIssue]
    return inside and (body.end_lineno, body.end_col_offset) == max(ends)  # pyright: ignore[reportArgumentType]
