"""Source that was put together from several files and cells, executed so that tracebacks name these.

A line ``# line 12 "/srv/me/train.py"`` says where the statements after it were written; ``# line 0`` that nobody wrote
them.
"""

from __future__ import annotations
import __future__

import ast
import json
import linecache
import re
from types import CodeType

_MARK = re.compile(r'^# line (\d+)(?: (".*"))?$', re.MULTILINE)
#: File names that code of this process got from such lines.
NAMED: set[str] = set()


def compiled(source: str, path: str) -> list[CodeType]:
    """The code of a module, to be executed one after the other. ``path``: the file that ``source`` is in.

    Raises:
        SyntaxError: as compile() does.
    """
    marks = list(_marks(source))
    if not marks:
        return [compile(source, path, "exec", dont_inherit=True)]
    tree = ast.parse(source, path)
    flags = _future(tree)
    lines = source.splitlines()
    codes: list[CodeType] = []
    for place, statements in _groups(tree, marks):
        file, shift = path, 0
        if place is not None and place[2]:
            file, shift = place[2], place[1] - place[0] - 1
            _remember(file, statements, lines, shift)
            for statement in statements:
                ast.increment_lineno(statement, shift)
        module = ast.Module(body=statements, type_ignores=[])
        codes.append(compile(module, file, "exec", flags=flags, dont_inherit=True))
    return codes


def _marks(source: str) -> list[tuple[int, int, str]]:
    """(line of the mark, line it names, file it names)."""
    found: list[tuple[int, int, str]] = []
    for match in _MARK.finditer(source):
        try:
            file = json.loads(match[2]) if match[2] else ""
        except ValueError:
            continue
        found.append((source.count("\n", 0, match.start()) + 1, int(match[1]), file))
    return found


def _groups(
    tree: ast.Module, marks: list[tuple[int, int, str]]
) -> list[tuple[tuple[int, int, str] | None, list[ast.stmt]]]:
    found: list[tuple[tuple[int, int, str] | None, list[ast.stmt]]] = []
    at = -1
    for statement in tree.body:
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        while at + 1 < len(marks) and marks[at + 1][0] < first:
            at += 1
        place = marks[at] if at >= 0 else None
        if not found or found[-1][0] is not place:
            found.append((place, []))
        found[-1][1].append(statement)
    return found


def _future(tree: ast.Module) -> int:
    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags


def _remember(file: str, statements: list[ast.stmt], lines: list[str], shift: int) -> None:
    """Have tracebacks show the text that runs, whatever became of the file since."""
    NAMED.add(file)
    entry = linecache.cache.get(file)
    known = list(entry[2]) if entry is not None and len(entry) > 2 and entry[1] is None else []
    for statement in statements:
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        last = statement.end_lineno or first
        known += ["\n"] * (last + shift - len(known))
        for number in range(first, last + 1):
            if number + shift >= 1:
                known[number + shift - 1] = lines[number - 1] + "\n"
    linecache.cache[file] = (sum(map(len, known)), None, known, file)
