"""Classes: the text of the class statement, and what was changed on the class since."""

from __future__ import annotations

import abc
import ast
from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from .functions import contents, defaults, replaced
from .names import names_of
from .nodes import Node
from .sheets import Found, find_code, sheet

if TYPE_CHECKING:
    from .reach import Reach

#: Attributes of a class that its statement makes by itself.
_MADE = frozenset(("__firstlineno__", "__static_attributes__", "_abc_impl"))


def define(reach: Reach, node: Node, cls: type[Any]) -> None:
    """A class that is captured by its text; one that was made without a statement travels as a pickle."""
    found = find_class(reach, cls)
    if found is None:
        _without_text(reach, node, cls)
        return
    text = found.sheet.block(found.node, decorated=True)
    if found.inside:
        _local(reach, node, cls, found, text)
        return
    _statement(reach, node, cls, found, text)


def _statement(reach: Reach, node: Node, cls: type[Any], found: Found, text: str) -> None:
    standing = "if True:\n" + text if text[:1] in (" ", "\t") else text
    reach.code_part("class", found, cls, standing)
    with reach.user(cls.__name__, found.place):
        reach.check_text(standing)
        edited = _with_defaults(reach, node, cls, found, text)
        node.text = "if True:\n" + edited if text[:1] in (" ", "\t") else edited
        node.file, node.line = found.sheet.filename, found.first_line - (1 if node.text != edited else 0)
        reach.need(names_of(node.text), reach.namespace, node)
        if node.name != cls.__name__:
            node.text += f"{node.name} = {cls.__name__}\n"
        for attribute, value in _changed(cls, found):
            label = f"class attribute {cls.__qualname__}.{attribute}"
            node.late += f"{node.name}.{attribute} = {reach.expression_of(value, label, node.uses)}\n"


def _local(reach: Reach, node: Node, cls: type[Any], found: Found, text: str) -> None:
    """A class made inside a function: its methods know what it closed over."""
    free: dict[str, Any] = {}
    for function in _functions(cls):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                free[name] = contents(cell)
    factory = f"_make_{node.name.lstrip('_')}"
    indent = text[: len(text) - len(text.lstrip(" \t"))] or "    "
    made = f"def {factory}({', '.join(free)}):\n{text}{indent}return {cls.__name__}\n"
    names = names_of(made)
    if any(name not in reach.namespace and not reach.is_builtin(name) for name in names.all if name not in names.hints):
        _without_text(reach, node, cls)
        return
    label = reach.code_part("class", found, cls, "if True:\n" + text)
    with reach.user(cls.__name__, found.place):
        reach.check_text("if True:\n" + text)
        reach.need(names, reach.namespace, node)
        told = label.partition(" ")[2]
        words = [
            reach.expression_of(value, f"closure value {name} of {told}", node.needs) for name, value in free.items()
        ]
        node.needs |= node.uses & set(names.later)
        node.text = f"{made}{node.name} = {factory}({', '.join(words)})\n"
        node.file, node.line = found.sheet.filename, found.first_line - 1


def _without_text(reach: Reach, node: Node, cls: type[Any]) -> None:
    label = f"class {cls.__qualname__}".replace("<locals>.", "")
    reach.set_label(cls, label)
    reach.keeper.bytecode(node, cls, label)


# ------------------------------------------------------------------ where it was written
def find_class(reach: Reach, cls: type[Any]) -> Found | None:
    """By its methods, else by its name in the cells or the file it is of."""
    for function in _functions(cls):
        found = find_code(function.__code__)
        if found is None:
            continue
        owner = found.inside[-1] if found.inside else None
        if isinstance(owner, ast.ClassDef) and owner.name == cls.__name__:
            return Found(found.sheet, owner, found.inside[:-1])
    own = sheet(str(reach.namespace.get("__file__") or "")) if cls.__module__ == reach.own_module else None
    for where in [own] if own is not None else reach.cells:
        if f"class {cls.__name__}" not in where.text:
            continue
        for found in reversed(where.definitions):
            if isinstance(found.node, ast.ClassDef) and found.node.name == cls.__name__ and _fits(found.node, cls):
                return found
    return None


def _functions(cls: type[Any]) -> Iterator[FunctionType]:
    """Its methods, properties' functions included."""
    for value in list(vars(cls).values()):
        inner: Any = value
        for name in ("__func__", "fget", "func", "__wrapped__"):
            inner = getattr(inner, name, None) or inner
        if isinstance(inner, FunctionType) and inner.__module__ == cls.__module__:
            yield inner


def _fits(node: ast.ClassDef, cls: type[Any]) -> bool:
    """A class without methods: what its body binds is there, and literals have their values."""
    local = "<locals>" in cls.__qualname__
    if local:
        return False
    known = {*vars(cls), *getattr(cls, "__annotations__", {}), *getattr(cls, "__members__", {})}
    fields = getattr(cls, "model_fields", None) or getattr(cls, "_fields", None) or ()
    known |= {str(name) for name in fields}
    return all(name in known for name in _bound(node))


def _bound(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case _:
                pass


# ------------------------------------------------------------------ what it is now
def _with_defaults(reach: Reach, node: Node, cls: type[Any], found: Found, text: str) -> str:
    """Methods' defaults that are no literals, as they are now."""
    edits: list[tuple[ast.expr, str]] = []
    for function in _functions(cls):
        inner = find_code(function.__code__)
        if inner is None or not inner.inside or inner.inside[-1] is not found.node:
            continue
        for argument, written, value in defaults(inner.node, function):
            try:
                ast.literal_eval(written)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                label = f"default argument {argument} of {function.__qualname__}"
                edits.append((written, reach.expression_of(value, label, node.needs)))
    return replaced(found, text, edits, found.first_line)


def _changed(cls: type[Any], found: Found) -> Iterator[tuple[str, Any]]:
    """Attributes that the statement would not give: set later, replaced, or computed from names that may differ now."""
    if type(cls) not in (type, abc.ABCMeta):
        return
    node = cast("ast.ClassDef", found.node)
    written = {**dict.fromkeys(_bound(node)), **dict(_assigned(node))}
    for name, value in list(vars(cls).items()):
        if (name.startswith("__") and name.endswith("__")) or name in _MADE or not name.isidentifier():
            continue
        inner: Any = getattr(value, "__func__", value)
        if isinstance(inner, FunctionType):
            place = find_code(inner.__code__)
            if name not in written or (place is not None and _elsewhere(place, found, inner, cls)):
                yield name, value
        elif isinstance(value, (int, float, str, bytes, bool, list, dict, set, tuple, frozenset, type(None))):
            told = written.get(name)
            if name not in written or (told is not None and not _literally(told, value)):
                yield name, value


def _elsewhere(place: Found, found: Found, function: FunctionType, cls: type[Any]) -> bool:
    """A function put into the class from outside its statement."""
    in_class = any(inner is found.node for inner in place.inside)
    return not in_class and function.__module__ == cls.__module__


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass


def _literally(written: ast.expr, value: Any) -> bool:
    try:
        told = ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return type(told) is type(value) and repr(told) == repr(value)
