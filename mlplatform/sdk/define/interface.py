"""From a function's signature to inputs and outputs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast, get_args, get_origin

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.sdk.define.tasks import InputSpec, Interface, OutputSpec
from mlplatform.sdk.define.types import (
    ANY_ARTIFACT,
    ValueType,
    artifact_type,
    marks,
    named_type,
    parameter_type,
    path_mark,
    type_of_value,
)

_EMPTY = inspect.Parameter.empty
#: What evaluating an annotation raises that names something which is not there, or says something senseless.
_UNREADABLE = (NameError, AttributeError, TypeError, ValueError, SyntaxError, KeyError, IndexError, ImportError)
_GIVEN = frozenset({ParameterType.TASK_FINAL_STATUS, ParameterType.TASK_CONFIG})


@dataclass(frozen=True, slots=True)
class Signature:
    """What a component's function takes and gives.

    Attributes:
        values: inputs that the function wants as Python objects, by name (their artifacts are loaded for it).
        returns: how its result becomes outputs: "nothing", "one", "fields" (attributes), "items" (by position),
            "keys" (of a mapping).
        fields: names of the parts of its result, in order; output names are the same.
        result: outputs that come from what it returns as Python objects (kind artifact), by name.
        uses_kfp: it has kfp's markers: it runs in kfp's runtime.
        positional: arguments that may be given by position; names: all arguments.
        annotations: as objects.
    """

    interface: Interface
    values: tuple[str, ...] = ()
    returns: str = "nothing"
    fields: tuple[str, ...] = ()
    result: tuple[str, ...] = ()
    uses_kfp: bool = False
    positional: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    annotations: dict[str, Any] = field(default_factory=dict[str, Any])


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as objects. Texts that cannot be evaluated (names defined later or for type checkers only) mean
    "any object"."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except _UNREADABLE:
        raw = dict(getattr(function, "__annotations__", {}))
        module = sys.modules.get(getattr(function, "__module__", ""))
        scope = getattr(function, "__globals__", None) or dict(vars(module) if module else {})
        return {name: _evaluated(text, scope) for name, text in raw.items()}


def _evaluated(annotation: Any, scope: dict[str, Any]) -> Any:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # noqa: S307 - the author's own annotation
    except _UNREADABLE:
        return Any


def read_signature(function: Callable[..., Any], *, objects: bool) -> Signature:
    """Inputs and outputs of a component's function.

    Args:
        function: annotated.
        objects: Python objects may be passed and returned (``ml.component``); otherwise parameters and artifacts only
            (``dsl.component``).

    Raises:
        InvalidPipeline: with every finding.
    """
    name = getattr(function, "__name__", "component")
    found = inspect.signature(function)
    hints = annotations_of(function)
    inputs: dict[str, InputSpec] = {}
    outputs: dict[str, OutputSpec] = {}
    findings: list[Finding] = []
    values: list[str] = []
    state = {"kfp": False}
    docs = _descriptions(function)
    for parameter in found.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            star = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            findings.append(
                Finding(
                    f"{name}({star}{parameter.name})",
                    "a component cannot take any number of arguments",
                    "variadic",
                    "name them, or take a list",
                )
            )
            continue
        problem = _argument(
            parameter, hints.get(parameter.name, parameter.annotation), objects, inputs, outputs, values, state, docs
        )
        if problem:
            findings.append(Finding(f"{name}({parameter.name})", *problem))
    returned = hints.get("return", found.return_annotation)
    returns, fields, result = _returned(function, returned, objects, outputs, findings, name)
    if findings:
        raise InvalidPipeline(f"{name} cannot be a component.", findings=findings)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = tuple(p.name for p in found.parameters.values() if p.kind in kinds)
    return Signature(
        Interface(inputs, outputs),
        tuple(values),
        returns,
        fields,
        result,
        state["kfp"],
        positional=positional,
        names=tuple(found.parameters),
        annotations=hints,
    )


def _argument(
    parameter: inspect.Parameter,
    annotation: Any,
    objects: bool,
    inputs: dict[str, InputSpec],
    outputs: dict[str, OutputSpec],
    values: list[str],
    state: dict[str, bool],
    docs: dict[str, str],
) -> tuple[str, str, str] | None:
    """Put one argument of a function where it belongs; returns (message, code, hint) of what is wrong."""
    name, default = parameter.name, parameter.default
    described = docs.get(name, "")
    if name == "Output":
        return "is no name for an argument: it means the output", "bad-name", "call it something else"
    mark, marked = marks(annotation)
    path, path_type = path_mark(annotation)
    if mark == "output" or path == "output":
        state["kfp"] = True
        type_ = named_type(path_type) if path else artifact_type(marked) or ANY_ARTIFACT
        outputs[name] = OutputSpec(type_, described)
        return None
    optional = default is not _EMPTY
    if path == "input" or mark == "input":
        state["kfp"] = True
        type_ = named_type(path_type) if path else artifact_type(marked) or ANY_ARTIFACT
        return _take(inputs, name, type_, default, optional, described)
    if (type_ := parameter_type(annotation)) is not None:
        if type_.parameter in _GIVEN:
            state["kfp"] = True
            inputs[name] = InputSpec(type_, optional=True, description=described)
            return None
        return _take(inputs, name, type_, default, optional, described)
    if (type_ := artifact_type(annotation)) is not None:
        state["kfp"] = True
        return _take(inputs, name, type_, default, optional, described)
    if not objects:
        if annotation is _EMPTY:
            return (
                "has no annotation",
                "no-annotation",
                "annotate it: int, float, str, bool, list, dict, Input[...] or Output[...]",
            )
        return (
            f"is annotated {_text(annotation)}, which is no parameter and no artifact",
            "bad-annotation",
            "use Input[Dataset] and the like, or @ml.component, which passes Python objects",
        )
    if annotation is _EMPTY and optional and default is not None and (type_ := type_of_value(default)) is not None:
        return _take(inputs, name, type_, default, optional, described)
    values.append(name)
    inputs[name] = InputSpec(ANY_ARTIFACT, optional=optional, description=described)
    return None


def _take(
    inputs: dict[str, InputSpec], name: str, type_: ValueType, default: Any, optional: bool, described: str
) -> tuple[str, str, str] | None:
    if type_.parameter is None:
        if optional and default is not None:
            return "is an artifact: its default can only be None", "bad-default", "make the default None"
        inputs[name] = InputSpec(type_, optional=optional, description=described)
        return None
    if optional and default is not None:
        given = type_of_value(default)
        pair = (given.parameter if given else None, type_.parameter)
        if pair[0] is not pair[1] and pair != (ParameterType.NUMBER_INTEGER, ParameterType.NUMBER_DOUBLE):
            return (
                f"has the default {default!r}, which is no {type_.words}",
                "bad-default",
                "change the default or the annotation",
            )
    has = optional and default is not None
    inputs[name] = InputSpec(type_, default if has else None, has, optional, described)
    return None


def _returned(
    function: Callable[..., Any],
    annotation: Any,
    objects: bool,
    outputs: dict[str, OutputSpec],
    findings: list[Finding],
    name: str,
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(returns, fields, result) of :class:`Signature`; adds outputs."""
    if annotation is None or annotation is type(None):
        return "nothing", (), ()
    if annotation is _EMPTY:
        if not objects or not _gives_something(function):
            return "nothing", (), ()
        annotation = Any
    parts = parts_of(annotation) if objects or _is_named_tuple(annotation) or isinstance(annotation, dict) else None
    if parts is None:
        kind, type_ = _output(annotation, objects)
        if kind == "bad":
            hint = "return int, float, str, bool, list, dict, an artifact or a NamedTuple of them; or use @ml.component"
            findings.append(
                Finding(f"{name} -> {_text(annotation)}", "is no parameter and no artifact", "bad-annotation", hint)
            )
            return "nothing", (), ()
        outputs["Output"] = OutputSpec(type_)
        return "one", ("Output",), ("Output",) if kind == "object" else ()
    how, fields = parts
    result: list[str] = []
    for field_name, inner in fields.items():
        kind, type_ = _output(inner, objects)
        if kind == "bad":
            findings.append(
                Finding(
                    f"{name} -> {field_name}",
                    f"{_text(inner)} is no parameter and no artifact",
                    "bad-annotation",
                    "use @ml.component, which returns Python objects",
                )
            )
            continue
        outputs[field_name] = OutputSpec(type_)
        if kind == "object":
            result.append(field_name)
    return how, tuple(fields), tuple(result)


def _output(annotation: Any, objects: bool) -> tuple[str, ValueType]:
    if (type_ := parameter_type(annotation)) is not None and type_.parameter not in _GIVEN:
        return "parameter", type_
    if (type_ := artifact_type(annotation)) is not None:
        return "artifact", type_
    return ("object", ANY_ARTIFACT) if objects else ("bad", ANY_ARTIFACT)


def parts_of(annotation: Any) -> tuple[str, dict[str, Any]] | None:
    """(how, name -> annotation) of a result that has parts: NamedTuple, tuple of known length, TypedDict, dataclass;
    None for everything else."""
    if _is_named_tuple(annotation):
        hints = annotations_of(annotation)
        return "fields", {name: hints.get(name, Any) for name in annotation._fields}
    if isinstance(annotation, dict):
        return "keys", dict(annotation)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)
        if inner and Ellipsis not in inner and inner != ((),):
            return "items", {f"output_{position}": item for position, item in enumerate(inner)}
        return None
    if typing.is_typeddict(annotation):
        return "keys", dict(typing.get_type_hints(annotation))
    return None


def dataclass_fields(annotation: Any) -> dict[str, Any]:
    """Field name -> annotation of a dataclass; empty for anything else. Its fields are outputs where they are used."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        hints = annotations_of(annotation)
        return {item.name: hints.get(item.name, Any) for item in dataclasses.fields(annotation)}
    return {}


def _is_named_tuple(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(cast(Any, annotation), "_fields")


def _gives_something(function: Callable[..., Any]) -> bool:
    """Whether a function without a return annotation returns a value anywhere, as far as its text tells."""
    import ast
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return True
    stack: list[ast.AST] = list(ast.iter_child_nodes(tree.body[0])) if tree.body else []
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
    return isinstance(tree.body[0], (ast.Assign, ast.Expr)) if tree.body else True


def _text(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


def _descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring's ``Args:`` section says of each argument."""
    found: dict[str, str] = {}
    lines = (inspect.getdoc(function) or "").splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if line.strip() in ("Args:", "Arguments:", "Parameters:"))
    except StopIteration:
        return found
    name, indent = "", None
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        indent = depth if indent is None else indent
        match = re.match(r"\s*(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)", line) if depth == indent else None
        if match:
            name = match[1]
            found[name] = match[2].strip()
        elif name:
            found[name] = f"{found[name]}\n{line.strip()}"
    return found
