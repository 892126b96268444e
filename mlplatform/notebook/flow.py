"""What one cell does to the notebook's variables, read from its text.

Reading only proposes: it adds what may be, and running decides. Names are those of the notebook's namespace; what is
local to a function, a comprehension or a class body is none of them.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mlplatform.notebook.names import exported_names
from mlplatform.notebook.scopes import bound_names, declared_globals, parameters_of
from mlplatform.notebook.syntax import STAND_IN, read_cell, words

BUILTINS: Final = frozenset(dir(builtins)) | {"get_ipython", "display", "__file__", "__name__", "__doc__", STAND_IN}
#: Names that reach every variable, and what is said of it.
_WHOLE: Final = {
    "exec": "it runs text as code (exec)",
    "eval": "it runs text as code (eval)",
    "globals": "it takes all variables (globals)",
    "locals": "it takes all variables (locals)",
    "__builtins__": "it reaches into the builtins",
    "In": "it reads the history of cells (In)",
    "Out": "it reads the history of results (Out)",
}
_WHOLE_ATTRIBUTES: Final = words(
    """user_ns user_global_ns run_cell run_cell_async run_code run_line_magic run_cell_magic safe_execfile _getframe
    currentframe f_globals f_locals f_back __globals__"""
)
#: Methods of the shell that reach variables, and that other objects have as well.
_SHELL_METHODS: Final = frozenset({"push", "ev", "ex", "reset", "magic", "drop_by_id", "del_var"})
_SHELLS: Final = frozenset({"ip", "shell", "ipython", "get_ipython"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_WORD: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class CellFlow:
    """What one cell does.

    Attributes:
        loads: names it reads where they stand, each with how many of ``kills`` came before: those are its own.
        kills: names it binds whatever happens, in order.
        binds: every name it may bind; ``deletes``: may delete.
        changes: names whose values it may change in place: written through, called methods of, passed on.
        deferred: name -> what functions and lambdas held by it mention, and so read when they are called.
        holds: name -> the names its value was made of.
        whole: why it may touch any name; "" if it does not.
        star: it binds names that cannot be told without importing.
        strings: words of texts that may name variables (formulas, queries).
        definitions: it only imports and defines functions and classes.
        heavy: it looks like work that takes time.
        foreign: not Python: a file's text or another language.
        empty: no statement in it, comments at most.
        files: texts in it that look like names of files.
    """

    loads: tuple[tuple[str, int], ...] = ()
    kills: tuple[str, ...] = ()
    binds: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    deferred: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    holds: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    whole: str = ""
    star: bool = False
    strings: frozenset[str] = frozenset()
    definitions: bool = False
    heavy: bool = False
    foreign: bool = False
    empty: bool = False

    @property
    def reads(self) -> frozenset[str]:
        """Names it may take from before it, by itself."""
        return frozenset(name for name, count in self.loads if name not in self.kills[:count])


def read_flow(source: str) -> CellFlow:
    """Read one code cell. Never raises: what cannot be read may touch everything."""
    from mlplatform.notebook import kinds

    text = read_cell(source)
    visitor = _Module()
    visitor.whole = text.whole
    if text.tree is not None:
        visitor.body(text.tree.body)
    for name in text.binds:
        visitor.bind(name, ())
    tree = text.tree
    return CellFlow(
        loads=tuple(dict.fromkeys(visitor.loads)),
        kills=tuple(visitor.kills),
        binds=frozenset(visitor.binds),
        deletes=frozenset(visitor.deletes),
        changes=frozenset(visitor.changes - BUILTINS.difference(visitor.binds)),
        deferred={name: frozenset(names) for name, names in visitor.deferred.items() if names},
        holds={name: frozenset(names) for name, names in visitor.holds.items() if names},
        whole=visitor.whole,
        star=visitor.star,
        strings=frozenset(visitor.strings),
        definitions=tree is not None and not text.magics and not text.foreign and kinds.only_defines(tree),
        heavy=text.foreign or (tree is not None and kinds.looks_heavy(tree)),
        foreign=text.foreign,
        empty=tree is not None and not tree.body and not text.magics,
    )


class _Module(ast.NodeVisitor):
    """Reads the statements of a cell in order. ``sure`` is false inside what may not run."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, int]] = []
        self.kills: list[str] = []
        self.binds: set[str] = set()
        self.deletes: set[str] = set()
        self.changes: set[str] = set()
        self.deferred: dict[str, set[str]] = {}
        self.holds: dict[str, set[str]] = {}
        self.strings: set[str] = set()
        self.whole = ""
        self.star = False
        self.sure = True

    # ------------------------------------------------------------------ what is told
    def load(self, name: str) -> None:
        self.loads.append((name, len(self.kills)))
        if name in _WHOLE and name not in self.binds:
            self.whole = self.whole or _WHOLE[name]

    def bind(self, name: str, made_of: Iterable[str]) -> None:
        self.binds.add(name)
        self.holds.setdefault(name, set()).update(made_of)
        if self.sure and name not in self.kills:
            self.kills.append(name)

    def body(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def unsure(self, *parts: Iterable[ast.stmt]) -> None:
        """Statements of which it is not known that they run."""
        before, self.sure = self.sure, False
        for part in parts:
            self.body(part)
        self.sure = before

    # ------------------------------------------------------------------ statements
    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self._targets(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._targets([node.target], node.value)
        elif not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.load(node.target.id)
            self.changes.add(node.target.id)
        self._targets([node.target], node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        before, self.sure = self.sure, False  # it may stand in a part of an expression that is not reached
        self._targets([node.target], node.value)
        self.sure = before

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.load(target.id)
                self.deletes.add(target.id)
            else:
                self.visit(target)
                self._written_through(target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.changes |= _names(node.iter)
        before, self.sure = self.sure, False
        self._targets([node.target], node.iter)
        self.sure = before
        self.unsure(node.body, node.orelse)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.unsure(node.body, node.orelse)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.unsure(node.body, node.orelse)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            self.changes |= _names(item.context_expr)
            if item.optional_vars is not None:
                self._targets([item.optional_vars], item.context_expr)
        # A context manager may swallow an exception and so end the block early.
        self.unsure(node.body)

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try) -> None:
        self.unsure(node.body, node.orelse)
        for handler in node.handlers:
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self.binds.add(handler.name)
                self.deletes.add(handler.name)
            self.unsure(handler.body)
        self.body(node.finalbody)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(ast.Try(node.body, node.handlers, node.orelse, node.finalbody))

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        made_of = _names(node.subject)
        before, self.sure = self.sure, False
        for case in node.cases:
            for part in ast.walk(case.pattern):
                if isinstance(part, (ast.MatchAs, ast.MatchStar)) and part.name:
                    self.bind(part.name, made_of)
                elif isinstance(part, ast.MatchMapping) and part.rest:
                    self.bind(part.rest, made_of)
                elif isinstance(part, ast.expr):
                    self.visit(part)
            if case.guard is not None:
                self.visit(case.guard)
            self.body(case.body)
        self.sure = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "__main__":
                self.whole = self.whole or "it imports __main__"
            self.bind(alias.asname or alias.name.partition(".")[0], ())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "__main__":
            self.whole = self.whole or "it imports from __main__"
        for alias in node.names:
            if alias.name != "*":
                self.bind(alias.asname or alias.name, ())
                continue
            names = exported_names(node.module or "", node.level)
            if names is None:
                self.star = True
            for name in names or ():
                self.bind(name, ())

    def visit_Global(self, node: ast.Global) -> None:
        """At the top of a cell it says nothing."""

    # ------------------------------------------------------------------ functions and classes
    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *_signature(node.args)):
            self.visit(part)
        if node.returns is not None:
            self.visit(node.returns)
        self.bind(node.name, set[str]().union(*(_names(part) for part in node.decorator_list)))
        self._defer(node.name, node)
        self.binds |= _global_writes(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        inner = _Module()
        inner.kills = list(self.kills)
        inner.body(node.body)
        # A name that the class body binds may still be the notebook's where it is read first (n = n + 1).
        self.loads += [(name, min(count, len(self.kills))) for name, count in inner.loads]
        self.binds |= _global_writes(node)
        self.changes |= inner.changes - inner.binds
        self.strings |= inner.strings
        self.whole = self.whole or inner.whole
        held = set[str]().union(*(_names(part) for part in (*node.decorator_list, *node.bases)))
        self.bind(node.name, held)
        for names in inner.deferred.values():
            self.deferred.setdefault(node.name, set()).update(names)
        for names in inner.holds.values():
            self.holds.setdefault(node.name, set()).update(names - inner.binds)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in _signature(node.args):
            self.visit(part)
        for name in self._free(node):
            self.load(name)

    def _defer(self, name: str, node: ast.AST) -> None:
        """What the function ``name`` mentions is read, and perhaps changed, when it is called."""
        self.deferred.setdefault(name, set()).update(self._free(node))

    def _free(self, node: ast.AST) -> set[str]:
        """Names of the notebook that a function mentions, in all its depth."""
        inner = _Inside(frozenset())
        inner.enter(node)
        self.strings |= inner.strings
        self.whole = self.whole or inner.whole
        return inner.free

    # ------------------------------------------------------------------ expressions
    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.load(node.id)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Name) and function.id in ("vars", "dir") and not node.args:
            self.whole = self.whole or f"it takes all variables ({function.id})"
        if isinstance(function, ast.Attribute):
            self._written_through(function)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.changes |= _names(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _reaches_variables(node):
            self.whole = self.whole or f"it reaches variables by .{node.attr}"
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        value = node.value
        if isinstance(value, ast.Attribute) and value.attr == "modules" and _root(value) == "sys":
            self.whole = self.whole or "it reaches modules by sys.modules"
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings |= words_of(node.value)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        for name in self._free(node):
            self.load(name)
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                before, self.sure = self.sure, False
                self.bind(part.target.id, _names(part.value))
                self.sure = before
            elif isinstance(part, ast.Call):
                self.changes |= _names(part) - bound_names(node)
            elif isinstance(part, ast.comprehension):
                self.changes |= _names(part.iter) - bound_names(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    # ------------------------------------------------------------------ targets
    def _targets(self, targets: Iterable[ast.expr], value: ast.expr) -> None:
        made_of = _names(value)
        functions = [part for part in ast.walk(value) if isinstance(part, ast.Lambda)]
        for target in targets:
            for part in _flat(target):
                if isinstance(part, ast.Name):
                    self.bind(part.id, made_of)
                    for function in functions:
                        self._defer(part.id, function)
                else:
                    self.visit(part)
                    self._written_through(part)
                    root = _root(part)
                    if root:
                        self.holds.setdefault(root, set()).update(made_of)
                        for function in functions:
                            self._defer(root, function)

    def _written_through(self, target: ast.AST) -> None:
        """``a.b[c] = ...`` and ``a.b.c()`` may change what ``a`` names."""
        root = _root(target)
        if root:
            self.changes.add(root)


class _Inside(ast.NodeVisitor):
    """Inside a function: what it mentions of the notebook's namespace."""

    def __init__(self, outer: frozenset[str]) -> None:
        self.outer = outer
        self.local: frozenset[str] = frozenset()
        self.free: set[str] = set()
        self.strings: set[str] = set()
        self.whole = ""

    def enter(self, node: ast.AST) -> None:
        """Read a function, lambda or comprehension whose enclosing functions bind ``outer``."""
        global_names = declared_globals(node)
        self.free |= global_names
        self.local = (self.outer | bound_names(node) | parameters_of(node)) - global_names
        if isinstance(node, ast.Lambda):
            self.visit(node.body)
        elif isinstance(node, _FUNCTIONS):
            for statement in node.body:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def _nested(self, node: ast.AST) -> None:
        inner = _Inside(self.local)
        inner.enter(node)
        self.free |= inner.free
        self.strings |= inner.strings
        self.whole = self.whole or inner.whole

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *_signature(node.args)):
            self.visit(part)
        self._nested(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in _signature(node.args):
            self.visit(part)
        self._nested(node)

    def _scope(self, node: ast.AST) -> None:
        self._nested(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scope

    def visit_Name(self, node: ast.Name) -> None:
        if node.id not in self.local:
            self.free.add(node.id)
            if node.id in ("exec", "eval", "globals", "In", "Out"):
                self.whole = self.whole or _WHOLE[node.id]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _reaches_variables(node):
            self.whole = self.whole or f"it reaches variables by .{node.attr}"
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings |= words_of(node.value)


def words_of(text: str) -> frozenset[str]:
    """Words of a text that may be names of variables: of a formula, a query, a template. A text of one word is a key
    or a label, and a long one is prose."""
    if len(text) > 400 or text.isidentifier() or not re.search(r"[~@+*/=<>$({\[:-]", text):
        return frozenset()
    return frozenset(_WORD.findall(text))


def _reaches_variables(node: ast.Attribute) -> bool:
    if node.attr in _WHOLE_ATTRIBUTES:
        return True
    root = _root(node)
    return (node.attr in _SHELL_METHODS and root in _SHELLS) or (node.attr == "stack" and root == "inspect")


def _names(node: ast.AST) -> set[str]:
    """Names loaded anywhere in an expression, but not the called functions' own and not a nested scope's variables."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    for part in ast.walk(node):
        if isinstance(part, _SCOPES):
            found -= bound_names(part) | parameters_of(part)
    return found


def _root(node: ast.AST) -> str:
    """The name that an attribute, subscript or call chain begins with; "" if it begins with none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _flat(target: ast.expr) -> Iterable[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _flat(part)
    elif isinstance(target, ast.Starred):
        yield from _flat(target.value)
    else:
        yield target


def _signature(arguments: ast.arguments) -> list[ast.expr]:
    """What of a signature is evaluated when the function is defined: defaults and annotations."""
    annotated = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    notes = [argument.annotation for argument in annotated if argument is not None and argument.annotation is not None]
    return [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None), *notes]


def _global_writes(node: ast.AST) -> set[str]:
    """Names that functions in it declare global: they may be bound when one is called."""
    return {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
