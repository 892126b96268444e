"""Python control flow on values that do not exist yet, in functions under ``@dsl.pipeline``. Looks at source only.

A pipeline function runs once, when it is compiled; task outputs and pipeline parameters are then placeholders. kfp
compiles ``if task.output > 3:`` without a word into "always", and drops the first half of
``dsl.If(a.output > 1 and b.output < 2)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPONENT = "let a component decide it"
_OUTPUTS = frozenset({"output", "outputs"})


@dataclass(frozen=True, slots=True)
class Trap:
    """``line`` counts from 1; ``code`` is the user's own text."""

    line: int
    code: str
    message: str


def find_traps(source: str) -> list[Trap]:
    """Every place of a Python file where a pipeline function decides by a value that only a run will have.

    A file that does not parse has none: whoever runs it gets Python's own message.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found: dict[tuple[int, str], Trap] = {}
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and any(_is_pipeline(decorator) for decorator in node.decorator_list):
            for trap in _Function(node, source).traps():
                found.setdefault((trap.line, trap.message), trap)
    return sorted(found.values(), key=lambda trap: trap.line)


def _is_pipeline(decorator: ast.expr) -> bool:
    """``@dsl.pipeline``, ``@kfp.dsl.pipeline``, ``@pipeline``, called or not."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Attribute):
        return target.attr == "pipeline"
    return isinstance(target, ast.Name) and target.id == "pipeline"


class _Function:
    """One pipeline function: which names hold placeholders, and where they are treated as values."""

    def __init__(self, node: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> None:
        self._node = node
        self._source = source
        arguments = node.args
        self._late = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        for inner in self._walk():
            self._learn(inner)

    def _walk(self) -> Iterator[ast.AST]:
        """Everything in the function's body, in order, without functions and classes inside it."""
        stack: list[ast.AST] = list(reversed(self._node.body))
        while stack:
            node = stack.pop()
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
                continue
            yield node
            stack.extend(reversed(list(ast.iter_child_nodes(node))))

    def _learn(self, node: ast.AST) -> None:
        """Names that get a placeholder: by assignment, or as the item of a ``dsl.ParallelFor``."""
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign) and self._is_late_value(node.value):
            targets = node.targets
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value and self._is_late_value(node.value):
            targets = [node.target]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None and _is_call(node.context_expr):
            targets = [node.optional_vars]
        for target in targets:
            self._late.update(name.id for name in ast.walk(target) if isinstance(name, ast.Name))

    def _is_late_value(self, node: ast.expr) -> bool:
        """A placeholder itself, or an element of one; not what a call makes of it (that is a task)."""
        match node:
            case ast.Attribute(attr=attr):
                return attr in _OUTPUTS or self._is_late_value(node.value)
            case ast.Subscript():
                return self._is_late_value(node.value)
            case ast.Name():
                return node.id in self._late
            case _:
                return False

    def _is_late(self, node: ast.expr) -> bool:
        """Whether the truth of an expression hangs on a placeholder."""
        match node:
            case ast.Compare():
                return any(map(self._is_late, (node.left, *node.comparators)))
            case ast.BoolOp():
                return any(map(self._is_late, node.values))
            case ast.UnaryOp():
                return self._is_late(node.operand)
            case ast.BinOp():
                return self._is_late(node.left) or self._is_late(node.right)
            case ast.NamedExpr():
                return self._is_late(node.value)
            case ast.Call(func=ast.Name(id="bool" | "len" | "any" | "all" | "int" | "float" | "str")):
                return any(map(self._is_late, node.args))
            case _:
                return self._is_late_value(node)

    def traps(self) -> Iterator[Trap]:
        told: set[int] = set()
        for node in self._walk():
            if id(node) in told:
                continue
            found = self._trap(node)
            if found is not None:
                place, message = found
                told.update(id(inner) for inner in ast.walk(place))
                code = " ".join((ast.get_source_segment(self._source, place) or "").split())
                yield Trap(place.lineno, code if len(code) <= 80 else code[:77] + "...", message)

    def _trap(self, node: ast.AST) -> tuple[ast.expr, str] | None:
        """The expression that misleads, and how."""
        match node:
            case ast.While() if self._is_late(node.test):
                return node.test, "is decided when the pipeline is compiled, not by what a task gives: " + _COMPONENT
            case ast.If() | ast.IfExp() | ast.Assert() if self._is_late(node.test):
                use = "use `with dsl.If(...):`"
                return node.test, "is decided when the pipeline is compiled, not by what a task gives: " + use
            case ast.BoolOp() if self._is_late(node):
                word = "and" if isinstance(node.op, ast.And) else "or"
                return node, f"keeps one side of `{word}` and drops the other: nest dsl.If instead"
            case ast.UnaryOp(op=ast.Not()) if self._is_late(node):
                return node, "is always False: compare with `!=`, or use dsl.Else"
            case ast.Compare(ops=[_, _, *_]) if self._is_late(node):
                return node, "keeps only the last of its comparisons: nest dsl.If instead"
            case ast.Compare(ops=[ast.In() | ast.NotIn() | ast.Is() | ast.IsNot()]) if self._is_late(node):
                return node, "is decided when the pipeline is compiled, not by what a task gives: " + _COMPONENT
            case _:
                return None


def _is_call(node: ast.expr) -> bool:
    """A call of ``ParallelFor``, whose item is a placeholder."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "ParallelFor"
