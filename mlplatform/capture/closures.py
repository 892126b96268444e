"""Functions made inside others, and lambdas: a factory gives them what they closed over."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

from .functions import attributes, neutral, of, root_flags, standing, with_defaults
from .names import names_of
from .nodes import Node
from .sheets import Found

if TYPE_CHECKING:
    from .reach import Reach


@dataclass
class _Closure:
    node: Node
    function: FunctionType
    factory: str
    text: str
    words: dict[str, str]
    circular: set[str]


class Closures:
    """Functions that were made inside others. Which of them share a cell is known only at the end."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._made: list[_Closure] = []
        self._open: set[int] = set()
        self.binds = False

    def add(self, node: Node, function: FunctionType, found: Found) -> None:
        reach = self._reach
        self._open.add(id(function))
        free = function.__code__.co_freevars
        is_lambda = isinstance(found.node, ast.Lambda)
        original = found.sheet.segment(found.node) if is_lambda else found.sheet.block(found.node, decorated=False)
        counts = f"({original})" if is_lambda else neutral(function, found, original)
        label = reach.code_part(reach.kind_of(node), found, function, counts)
        root_flags(reach, node, found)
        factory = f"_make_{node.name.lstrip('_')}"
        with reach.user(function.__name__, found.place):
            reach.check_text(f"({original})" if is_lambda else standing(original))
            text = self._factory(node, function, found, original, label, factory)
            reach.need(names_of(text), function.__globals__, node)
            closure = _Closure(node, function, factory, text, {}, set())
            for name, cell in zip(free, function.__closure__ or (), strict=True):
                self._cell(closure, name, cell, label)
            node.file = found.sheet.filename
            node.line = found.node.lineno - 1 if not is_lambda else 0
            if is_lambda:
                node.file = ""
            attributes(reach, node, function, label)
        self._made.append(closure)
        self._open.discard(id(function))

    def _factory(
        self, node: Node, function: FunctionType, found: Found, original: str, label: str, factory: str
    ) -> str:
        head = f"def {factory}({', '.join(function.__code__.co_freevars)}):\n"
        if isinstance(found.node, ast.Lambda):
            text = self._lambda(node, function, found, label)
            return f"{head}    return ({text})\n"
        text = with_defaults(self._reach, node, function, found, original, label)
        indent = text[: len(text) - len(text.lstrip(" \t"))] or "    "
        if not text.startswith(indent):
            text = "".join(indent + line for line in text.splitlines(keepends=True))
        return f"{head}{text}{indent}return {getattr(found.node, 'name', '')}\n"

    def _lambda(self, node: Node, function: FunctionType, found: Found, label: str) -> str:
        line = found.node.lineno
        block = "".join(found.sheet.lines[line - 1 : found.node.end_lineno])
        start, end = found.node.col_offset, found.node.end_col_offset or 0
        text = with_defaults(self._reach, node, function, found, block, label, line)
        lines = text.splitlines(keepends=True)
        before = block.splitlines(keepends=True)[-1]
        tail = len(before.encode()) - end
        lines[-1] = lines[-1].encode()[: len(lines[-1].encode()) - tail].decode()
        lines[0] = lines[0].encode()[start:].decode()
        return "".join(lines)

    def _cell(self, closure: _Closure, name: str, cell: CellType, label: str) -> None:
        try:
            value: Any = cell.cell_contents
        except ValueError:
            closure.circular.add(name)  # empty: it stays so
            closure.words[name] = ""
            return
        if id(value) in self._open:
            closure.circular.add(name)
            closure.words[name] = self._reach.name_for(value)
            return
        needs = closure.node.needs
        closure.words[name] = self._reach.expression_of(value, f"closure value {name} of {of(label)}", needs)

    def finish(self) -> None:
        """Write the texts, now that it is known which cells are shared."""
        count: dict[int, int] = {}
        for closure in self._made:
            for cell in closure.function.__closure__ or ():
                count[id(cell)] = count.get(id(cell), 0) + 1
        shared: dict[int, str] = {}
        for closure in self._made:
            free = dict(zip(closure.function.__code__.co_freevars, closure.function.__closure__ or (), strict=True))
            cells = {n: c for n, c in free.items() if count[id(c)] > 1 or n in closure.circular}
            node = closure.node
            if not cells:
                node.text = (
                    f"{closure.text}{node.name} = {closure.factory}({', '.join(closure.words[n] for n in free)})\n"
                )
                continue
            self.binds = True
            for name, cell in cells.items():
                if id(cell) not in shared:
                    shared[id(cell)] = self._cell_node(closure, name)
                node.needs.add(shared[id(cell)])
            given = ", ".join("None" if name in cells else closure.words[name] for name in free)
            pairs = ", ".join(f"{name!r}: {shared[id(cell)]}" for name, cell in cells.items())
            node.text = f"{closure.text}{node.name} = _with_cells({closure.factory}({given}), {{{pairs}}})\n"

    def _cell_node(self, closure: _Closure, name: str) -> str:
        made = self._reach.fresh()
        node = self._reach.nodes[made] = Node(made, f"{made} = _Cell()\n", rank=1)
        words = closure.words[name]
        if words:
            node.late = f"{made}.cell_contents = {words}\n"
        return made
