"""Functions: top-level ones as they stand, decorated ones with their decorators, nested ones and lambdas through a
factory that gives them their closure."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from types import CellType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from .names import dotted, names_of
from .nodes import Node
from .sheets import Definition, Found, find_code, sheet

if TYPE_CHECKING:
    from .reach import Reach

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def globals_of(function: Any) -> Mapping[str, Any]:
    """The namespace that a callable was written in."""
    seen = 0
    while seen < 50:
        seen += 1
        if isinstance(function, functools.partial):
            function = cast("functools.partial[Any]", function).func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, FunctionType):
            inner: Any = getattr(function, "__wrapped__", None)
            if inner is None:
                return function.__globals__
            function = inner
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            break
    kind: type[Any] = cast("type[Any]", function if isinstance(function, type) else type(function))
    module = sys.modules.get(kind.__module__) or sys.modules["__main__"]
    return vars(module)


def root_name(reach: Reach) -> str:
    """What the captured function is called."""
    value = reach.root
    bound = [n for n, v in reach.namespace.items() if v is value and n.isidentifier()]
    name = min(bound, key=lambda n: (n != getattr(value, "__name__", ""), n.startswith("_")), default="")
    if isinstance(value, functools.partial):
        value = cast("functools.partial[Any]", value).func
    decorated = _decorated(value) if isinstance(value, FunctionType) else None
    given = getattr(decorated.node, "name", "") if decorated else getattr(value, "__name__", "")
    if not name and isinstance(given, str) and given.isidentifier():
        taken = reach.namespace.get(given)
        name = given if taken is None or _leads_to(taken, reach.root) else ""
    return name if name and not name.startswith("_captured_") else "function"


def _leads_to(value: Any, function: Any) -> bool:
    return any(inner is function for inner in _inside(value))


# ------------------------------------------------------------------ the kinds
def define(reach: Reach, node: Node, function: FunctionType) -> None:
    """A function that is captured by its text."""
    decorated = _decorated(function)
    if decorated is not None and getattr(decorated.node, "name", "") == node.name:
        _replayed(reach, node, function, decorated)
        return
    found = find_code(function.__code__)
    if found is None:
        _without_text(reach, node, function)
        return
    if not reach.fits(_global_names(function.__code__), function.__globals__):
        _without_text(reach, node, function)
    elif found.inside and isinstance(found.inside[-1], ast.ClassDef) and _member(reach, node, function, found):
        return
    elif found.top_level and not isinstance(found.node, ast.Lambda) and not function.__closure__:
        _plain(reach, node, function, found)
    else:
        reach.closures.add(node, function, found)


def _plain(reach: Reach, node: Node, function: FunctionType, found: Found) -> None:
    original = found.sheet.block(found.node, decorated=False)
    label = reach.code_part(reach.kind_of(node), found, function, neutral(function, found, original))
    root_flags(reach, node, found)
    with reach.user(function.__name__, found.place):
        reach.check_text(standing(original))
        text = with_defaults(reach, node, function, found, original, label)
        given = getattr(found.node, "name", "")
        if given != node.name:
            text = _renamed(text, given, node.name)
        node.text = standing(text)
        node.file, node.line = found.sheet.filename, found.node.lineno
        if node.text.startswith("if True:"):
            node.line -= 1
        if given != node.name:
            node.text += f"{node.name}.__name__, {node.name}.__qualname__ = {given!r}, {function.__qualname__!r}\n"
        reach.need(names_of(standing(text)), function.__globals__, node)
        attributes(reach, node, function, label)


def _replayed(reach: Reach, node: Node, value: Any, found: Found) -> None:
    """The definition with its decorators, ours left out."""
    kept = _kept_decorators(found.node, reach.namespace)
    start = kept[0].lineno if kept else found.node.lineno
    original = "".join(found.sheet.lines[start - 1 : found.node.end_lineno]).rstrip("\n") + "\n"
    raw = next((f for f in _inside(value) if isinstance(f, FunctionType) and _is_at(f, found)), None)
    label = reach.code_part(reach.kind_of(node), found, value, neutral(raw, found, original, start))
    root_flags(reach, node, found)
    with reach.user(getattr(found.node, "name", ""), found.place):
        reach.check_text(standing(original))
        text = with_defaults(reach, node, raw, found, original, label, start) if raw is not None else original
        node.text = standing(text)
        node.file, node.line = found.sheet.filename, start - (1 if node.text.startswith("if True:") else 0)
        reach.need(names_of(node.text), raw.__globals__ if raw is not None else reach.namespace, node)


def define_decorated(reach: Reach, node: Node, value: Any) -> bool:
    """What a decorator made of a function, not itself a function: a cached one, a compiled one. False if it is no such
    thing."""
    found = _decorated(value)
    if found is None and callable(value):
        found = _decorated_by_name(reach, node.name)
    if found is None or getattr(found.node, "name", "") != node.name:
        return False
    _replayed(reach, node, value, found)
    return True


def define_method(reach: Reach, node: Node, method: MethodType) -> None:
    needs: set[str] = set()
    owner: Any = method.__self__
    words = reach.name_for(owner, f"value of {method.__qualname__}'s object")
    needs.add(words)
    node.needs |= needs
    node.text = f"{node.name} = {words}.{method.__name__}\n"
    reach.part(f"{reach.kind_of(node)} {method.__qualname__}", method.__name__)


def define_partial(reach: Reach, node: Node, partial: functools.partial[Any]) -> None:
    inner = reach.name_for(partial.func)
    told = getattr(partial.func, "__name__", node.name)
    words = [reach.expression_of(v, f"partial argument {n} of {told}", node.needs) for n, v in enumerate(partial.args)]
    for name, value in partial.keywords.items():
        given = reach.expression_of(value, f"partial argument {name} of {told}", node.needs)
        words.append(f"{name}={given}" if name.isidentifier() else f"**{{{name!r}: {given}}}")
    node.needs.add(inner)
    maker = reach.name_for(functools.partial)
    node.needs.add(maker)
    node.text = f"{node.name} = {maker}({', '.join([inner, *words])})\n"
    reach.part(f"{reach.kind_of(node)} {node.name}", f"partial of {told}")


def _without_text(reach: Reach, node: Node, function: FunctionType) -> None:
    """A function made by exec, or from another namespace: it travels as bytecode."""
    told = f"{function.__qualname__!r} has no source text here, so it travels as bytecode"
    reach.warn("no-source", told, "it runs only on the same Python version; define it in a cell or file")
    label = f"{reach.kind_of(node)} {function.__qualname__}"
    reach.set_label(function, label)
    reach.keeper.bytecode(node, function, label)


def _member(reach: Reach, node: Node, function: FunctionType, found: Found) -> bool:
    """A function that lies in a class: taken from there."""
    owner: Any = None
    for word in function.__qualname__.split(".")[:-1]:
        owner = reach.namespace.get(word) if owner is None else getattr(owner, word, None)
    if not isinstance(owner, type) or vars(owner).get(function.__name__) is None:
        return False
    if getattr(owner, function.__name__, None) is not function:
        return False
    name = reach.name_for(owner)
    node.needs.add(name)
    node.text = f"{node.name} = {name}.{function.__name__}\n"
    reach.part(f"{reach.kind_of(node)} {function.__qualname__}", function.__name__, found.place)
    return True


def _global_names(code: CodeType) -> set[str]:
    """Names that may be globals: attributes are among them, which does no harm where they are compared."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _global_names(constant)
    return found


# ------------------------------------------------------------------ text
def standing(text: str) -> str:
    """Text that may begin indented, as a statement at the top."""
    return "if True:\n" + text if text[:1] in (" ", "\t") else text


def _renamed(text: str, old: str, new: str) -> str:
    at = text.index(old, text.index("def") + 3)
    return text[:at] + new + text[at + len(old) :]


def root_flags(reach: Reach, node: Node, found: Found) -> None:
    if reach.kind_of(node) == "function":
        reach.future_annotations = found.sheet.future_annotations


def with_defaults(
    reach: Reach, node: Node, function: FunctionType, found: Found, text: str, label: str, start: int = 0
) -> str:
    """Put what the defaults are now where they are not written as literals."""
    edits = [
        (written, reach.expression_of(value, f"default argument {argument} of {of(label)}", node.needs))
        for argument, written, value in _computed_defaults(found.node, function)
    ]
    return replaced(found, text, edits, start or found.node.lineno)


def neutral(function: FunctionType | None, found: Found, text: str, start: int = 0) -> str:
    """The text that counts: defaults that are no literals count by their values, not by how they are written."""
    computed = list(_computed_defaults(found.node, function)) if function is not None else []
    return standing(replaced(found, text, [(written, "...") for _, written, _ in computed], start or found.node.lineno))


def _computed_defaults(node: Definition, function: FunctionType) -> Iterator[tuple[str, ast.expr, Any]]:
    for argument, written, value in defaults(node, function):
        try:
            if _same(ast.literal_eval(written), value):
                continue
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        yield argument, written, value


def of(label: str) -> str:
    return label.partition(" ")[2]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def defaults(node: Definition, function: FunctionType) -> Iterator[tuple[str, ast.expr, Any]]:
    """(argument, its default as written, its value now)."""
    arguments = getattr(node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return
    positional = [*arguments.posonlyargs, *arguments.args]
    values = function.__defaults__ or ()
    if len(values) == len(arguments.defaults):
        names = positional[len(positional) - len(values) :]
        yield from ((a.arg, written, v) for a, written, v in zip(names, arguments.defaults, values, strict=True))
    keywords = function.__kwdefaults__ or {}
    for argument, written in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if written is not None and argument.arg in keywords:
            yield argument.arg, written, keywords[argument.arg]


def replaced(found: Found, text: str, edits: list[tuple[ast.expr, str]], start: int) -> str:
    """``text`` (whole lines from line ``start`` on) with expressions replaced; no line moves."""
    lines = text.splitlines(keepends=True)
    for written, words in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        first, last = written.lineno - start, (written.end_lineno or written.lineno) - start
        head = lines[first].encode()[: written.col_offset].decode()
        tail = lines[last].encode()[written.end_col_offset :].decode()
        lines[first : last + 1] = [head + words + "\n" * (last - first) + tail]
        lines = "".join(lines).splitlines(keepends=True)
    return "".join(lines)


def attributes(reach: Reach, node: Node, function: FunctionType, label: str) -> None:
    for name, value in vars(function).items():
        if name.isidentifier() and not name.startswith("__"):
            words = reach.expression_of(value, f"attribute {name} of {of(label)}", node.needs)
            node.late += f"{node.name}.{name} = {words}\n"


# ------------------------------------------------------------------ decorators
def _decorated(value: Any) -> Found | None:
    """The decorated top-level definition that a value was made from, if it is not that function itself."""
    for function in _inside(value):
        if function is value or not isinstance(function, FunctionType):
            continue
        found = find_code(function.__code__)
        if found is not None and found.top_level and getattr(found.node, "decorator_list", None):
            return found
    return None


def _decorated_by_name(reach: Reach, name: str) -> Found | None:
    own = sheet(str(reach.namespace.get("__file__") or ""))
    for where in [own] if own is not None else reach.cells:
        if f"def {name}" not in where.text:
            continue
        for found in reversed(where.definitions):
            if found.top_level and isinstance(found.node, _Function) and found.node.name == name:
                return found if found.node.decorator_list else None
    return None


def _inside(value: Any, depth: int = 5) -> Iterator[Any]:
    """A callable and the functions it wraps, as far as they can be seen."""
    yield value
    if depth == 0:
        return
    steps: list[Any] = [getattr(value, name, None) for name in ("__wrapped__", "py_func", "pyfunc", "func", "__func__")]
    if isinstance(value, FunctionType):
        steps += [contents(cell) for cell in value.__closure__ or ()]
    elif not isinstance(value, type):
        attributes: Any = getattr(value, "__dict__", None)
        steps += list(cast("dict[str, Any]", attributes).values())[:50] if isinstance(attributes, dict) else []
    for step in steps:
        if isinstance(step, FunctionType) or (callable(step) and hasattr(step, "__wrapped__")):
            yield from _inside(step, depth - 1)


def contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_at(function: FunctionType, found: Found) -> bool:
    code = function.__code__
    return code.co_filename == found.sheet.filename and code.co_name == getattr(found.node, "name", "")


def _kept_decorators(node: Definition, namespace: Mapping[str, Any]) -> list[ast.expr]:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    last = max((n for n, d in enumerate(decorators) if _is_ours(d, namespace)), default=-1)
    return decorators[last + 1 :]


def _is_ours(decorator: ast.expr, namespace: Mapping[str, Any]) -> bool:
    """``@ml.component`` and the like: what the platform makes of the function does not travel, the function does."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    words = dotted(called).split(".")
    value = namespace.get(words[0])
    for word in words[1:]:
        value = (
            inspect.getattr_static(value, word, None) if not hasattr(value, "__path__") else getattr(value, word, None)
        )
    names = (getattr(value, "__module__", ""), getattr(namespace.get(words[0]), "__name__", ""))
    return any(isinstance(name, str) and name.partition(".")[0] in ("mlplatform", "kfp") for name in names)
