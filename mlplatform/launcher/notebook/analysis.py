# pyright: basic
"""What the text of a task may read of the namespace that it finds, and what it surely sets itself.

Reading text only proposes, and errs on the side of reading: a name counts as read unless it is certain that the task
has set it before. Code that can reach any name (``exec``, ``globals()``, unknown magics) reads the whole namespace.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Optional

from .codenames import EVALUATING, REACHES_ALL_INSIDE, identifiers, names_of_node
from .flow import Flow, is_history
from .guard import tried
from .magics import MagicReader

#: Names whose mention at a cell's top level means any name may be read or set.
_REACHES_ALL = frozenset(("globals", "locals", "vars", "dir", "exec", "eval", "get_ipython", "__main__", "breakpoint"))
#: Attributes that lead from a frame or a shell to any name.
_REACHING_ATTRIBUTES = frozenset(
    ("f_globals", "f_locals", "f_back", "_getframe", "currentframe", "user_ns", "__globals__")
)
#: Context managers that let every exception pass: what is set inside them is set.
_PASSING = frozenset(
    (
        "open", "context", "rc_context", "errstate", "catch_warnings", "option_context", "localcontext", "no_grad",
        "enable_grad", "inference_mode", "axes_style", "plotting_context", "color_palette", "printoptions",
        "config_context", "xkcd", "StringIO", "ThreadPoolExecutor", "ProcessPoolExecutor", "Pool", "TemporaryDirectory",
        "NamedTemporaryFile", "ZipFile", "Lock", "Parallel", "parallel_backend", "threadpool_limits", "redirect_stdout",
        "redirect_stderr", "BytesIO", "closing",
    )
)  # fmt: skip


def read_task(cells: Iterable[tuple[str, bool]], transform: Callable[[str], str]) -> Flow:
    """The flow of a task. ``cells``: (source, it may fail); ``transform``: the shell's, from magics to Python."""
    flow = Flow()
    for source, may_fail in cells:
        before = set(flow.surely)
        tree, problem = tried(lambda source=source: ast.parse(transform(source)))
        if problem is not None:
            flow.whole = True
            continue
        _Reader(flow, transform).body(tree.body)
        if may_fail:
            flow.surely = before
    flow.history = flow.history or any(is_history(name) for name in flow.reads)
    return flow


class _Reader(MagicReader, ast.NodeVisitor):
    """Walks statements in the order in which they run."""

    def __init__(self, flow: Flow, transform: Callable[[str], str]) -> None:
        self._flow = flow
        self._transform = transform

    def body(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def _branch(self, statements: Sequence[ast.stmt], start: set[str]) -> set[str]:
        """What is surely set after ``statements``, beginning with ``start``."""
        self._flow.surely = set(start)
        self.body(statements)
        return self._flow.surely

    # ------------------------------------------------------------------ names
    def _read(self, name: str) -> None:
        if name not in self._flow.surely:
            self._flow.reads.add(name)

    def _set(self, name: str) -> None:
        self._flow.sets.add(name)
        self._flow.surely.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        self._flow.words.add(node.id)
        if isinstance(node.ctx, ast.Load):
            if node.id in _REACHES_ALL and node.id not in self._flow.surely:
                self._flow.whole = True
            self._read(node.id)
        elif isinstance(node.ctx, ast.Del):
            self._read(node.id)
            self._set(node.id)
        else:
            self._set(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._flow.words.add(node.attr)
        if node.attr in _REACHING_ATTRIBUTES:
            self._flow.whole = True
        if not isinstance(node.ctx, ast.Load):
            place = _dotted(node)
            if place:
                self._flow.patches.add(place)
        self.visit(node.value)

    # ------------------------------------------------------------------ statements
    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        self._read("__annotations__")
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)
        elif not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        start = set(self._flow.surely)
        first = self._branch(node.body, start)
        self._flow.surely = first & self._branch(node.orelse, start)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        start = set(self._flow.surely)
        for part in (node.body, node.orelse):
            self._flow.surely = set(start)
            self.visit(part)
        self._flow.surely = start

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        start = set(self._flow.surely)
        for value in node.values[1:]:
            self.visit(value)
        self._flow.surely = start

    def _loop(self, node: Any) -> None:
        start = set(self._flow.surely)
        self._flow.surely = set(start)
        if not isinstance(node, ast.While):
            self.visit(node.target)
        self.body(node.body)
        self._flow.surely = set(start)
        self.body(node.orelse)
        self._flow.surely = start

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        if _surely_runs(node.iter):
            self.visit(node.target)
        self._loop(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._loop(node)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._loop(node)

    def visit_Try(self, node: Any) -> None:
        start = set(self._flow.surely)
        self._flow.surely = set(start)
        self.body(node.body)
        ends = [self._branch(node.orelse, self._flow.surely)]
        for handler in node.handlers:
            self._flow.surely = set(start)
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self._read(handler.name)  # it is deleted at the handler's end, if there was an exception
                self._set(handler.name)
            self.body(handler.body)
            ends.append(set(self._flow.surely))
        self._flow.surely = set.intersection(*ends) if node.handlers else ends[0]
        self.body(node.finalbody)

    visit_TryStar = visit_Try

    def visit_With(self, node: Any) -> None:
        passing = True
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.visit(item.optional_vars)
            passing = passing and _called(item.context_expr) in _PASSING
        start = set(self._flow.surely)
        self.body(node.body)
        if not passing:
            self._flow.surely = start

    visit_AsyncWith = visit_With

    def visit_Match(self, node: Any) -> None:
        self.visit(node.subject)
        start = set(self._flow.surely)
        for case in node.cases:
            self._flow.surely = set(start)
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.expr):
                    self.visit(part)
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if isinstance(name, str):
                    self._flow.sets.add(name)
            if case.guard is not None:
                self.visit(case.guard)
            self.body(case.body)
        self._flow.surely = start

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "__main__":
                self._flow.whole = True
            self._flow.words.add(alias.name)
            self._set(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._flow.words.add(alias.name)
            if alias.name == "*":
                self._flow.stars.add("." * node.level + (node.module or ""))
            else:
                self._set(alias.asname or alias.name)
        if node.module == "__main__":
            self._flow.whole = True

    # ------------------------------------------------------------------ scopes of their own
    def _scope(self, node: ast.AST, loose: Optional[ast.expr] = None) -> None:
        """A function, class or comprehension: whatever it may look up by name."""
        for word in _words_of(node):
            self._flow.words.add(word)
            if word in _REACHING_ATTRIBUTES:
                self._flow.whole = True
        found = names_of_node(node)
        if found is None:
            self._flow.whole = True
            return
        inside = _REACHES_ALL if loose is not None else REACHES_ALL_INSIDE
        for name in found.loads:
            if name in inside and name not in self._flow.surely:
                self._flow.whole = True
            self._read(name)
        for name in found.stores:
            self._flow.sets.add(name)
            self._read(name)
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
                self._flow.patches.add(_dotted(part) or "")
            if isinstance(part, ast.Call):
                self._texts(part)
        self._flow.patches.discard("")

    def visit_FunctionDef(self, node: Any) -> None:
        self._scope(node)
        self._set(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._scope(node)

    def _comprehension(self, node: Any) -> None:
        self._scope(node, node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    # ------------------------------------------------------------------ calls
    def visit_Call(self, node: ast.Call) -> None:
        if self.magic(node):
            return
        if isinstance(node.func, ast.Name) and node.func.id in ("vars", "dir") and node.args:
            for part in (*node.args, *node.keywords):
                self.visit(part)
            return
        if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr") and len(node.args) > 1:
            base, name = node.args[0], node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                place = _dotted(base)
                self._flow.patches.add("%s.%s" % (place, name.value) if place else "")
            elif _dotted(base):
                self._flow.patches.add("%s.*" % _dotted(base))
        self._texts(node)
        self.generic_visit(node)

    def _texts(self, node: ast.Call) -> None:
        """Names in texts that the call evaluates."""
        evaluating = _called(node) in EVALUATING
        for part in (*node.args, *(word.value for word in node.keywords)):
            for inner in ast.walk(part):
                text = inner.value if isinstance(inner, ast.Constant) else None
                if isinstance(text, str) and (evaluating or "~" in text):
                    for name in identifiers(text):
                        self._read(name)


# ------------------------------------------------------------------ helpers
def _words_of(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.Name):
            yield part.id


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` as a text; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join(reversed([*parts, node.id]))


def _called(node: ast.AST) -> str:
    """The last word of what is called."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _surely_runs(iterated: ast.expr) -> bool:
    """Whether a loop over this runs at least once."""
    if isinstance(iterated, (ast.List, ast.Tuple, ast.Set)):
        return any(not isinstance(item, ast.Starred) for item in iterated.elts)
    if isinstance(iterated, ast.Constant):
        return isinstance(iterated.value, (str, bytes)) and bool(iterated.value)
    if isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) and iterated.func.id == "range":
        bounds = [part.value for part in iterated.args if isinstance(part, ast.Constant)]
        return len(bounds) == len(iterated.args) == 1 and isinstance(bounds[0], int) and bounds[0] > 0
    return False
