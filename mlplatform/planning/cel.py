"""Conditions and selectors of a pipeline: the Common Expression Language over a task's resolved inputs.

Compilation and evaluation are those of the ``common-expression-language`` package (Rust). Two things are stricter than
plain CEL, because a condition that quietly means something else takes the wrong branch of a run: comparing values of
different types for equality is an error (see :mod:`mlplatform.planning.celscan`; integers and doubles may mix, anything
may be compared with ``null``), and a condition must give a boolean.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, cast

from mlplatform.core.errors import EnvironmentFailed, PlanningError
from mlplatform.core.large import is_large, shown
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.core.values import JsonValue, preview
from mlplatform.planning.celscan import EQUAL, IN, ScanError, strict_equality

_SELECTOR: Final = re.compile(
    r"""\s*parseJson\(\s*string_value\s*\)\s*((?:\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d{1,9})\s*\]\s*)*)"""
)
_SELECTOR_KEY: Final = re.compile(r"""\[\s*(?:"([^"\\]*)"|'([^'\\]*)'|(\d+))\s*\]""")

#: The library explains syntax errors of texts up to this many characters; what it does with endless ones is its secret.
_MAX_EXPLAINED: Final = 2_000

#: What the library raises, by its documentation and by trial: syntax, types, missing names, arithmetic, indices.
_LIBRARY_ERRORS: Final = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError)


#: The extension's own name, under which it is kept: it can be executed once a process, whoever asks.
_EXTENSION: Final = "cel.cel"


def _library() -> ModuleType:
    """The extension module of the CEL package, without the package's ``__init__``.

    That ``__init__`` imports a command line tool (typer, prompt_toolkit: 0.6 s), while the extension alone takes
    20 ms. It is loaded at first use, so that pipelines without conditions never pay for it. It can be initialised only
    once in a process (it panics), so it stands in ``sys.modules`` under its own name: whoever imports the package
    before or after shares it.

    Raises:
        EnvironmentFailed: the package is not installed.
    """
    kept = sys.modules.get(_EXTENSION)
    if kept is not None:
        return kept
    package = importlib.util.find_spec("cel")
    for folder in (package.submodule_search_locations or ()) if package else ():
        spec = importlib.machinery.PathFinder.find_spec(_EXTENSION, [folder])
        if spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return sys.modules.setdefault(_EXTENSION, module)
    raise EnvironmentFailed(
        "conditions need the package common-expression-language, which is not installed",
        hint="Install it: pip install common-expression-language",
    )


def _guarded(call: Callable[[], Any]) -> Any:
    """Run something of the library; whatever it raises becomes ValueError with its text."""
    try:
        return call()
    except KeyError as error:
        raise ValueError(f"there is no value {error}") from None
    except _LIBRARY_ERRORS as error:
        raise ValueError(_first_lines(str(error))) from None


def _first_lines(text: str) -> str:
    return " ".join(text.split())[:400]


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition."""

    text: str
    program: Any

    def evaluate(self, inputs: Values) -> bool:
        """The condition's value.

        Raises:
            PlanningError: a value is missing or of the wrong type, or the result is no boolean. Never False instead.
        """
        for name, value in inputs.parameters.items():
            if name in self.text and is_large(value):
                reason = f"{name} is too large to be looked at outside a task"
                raise _failure(self.text, Values(shown(inputs.parameters)), reason)
        variables = {"inputs": _variables(inputs)}
        try:
            value = _execute(self.program, variables)
        except ValueError as error:
            raise _failure(self.text, inputs, str(error)) from None
        if not isinstance(value, bool):
            raise _failure(self.text, inputs, f"it gives {preview(value)}, not true or false")
        return value


def _failure(text: str, inputs: Values, reason: str) -> PlanningError:
    used = {name: value for name, value in inputs.parameters.items() if name in text}
    values = ", ".join(f"{name} = {preview(value)}" for name, value in used.items()) or "no inputs"
    return PlanningError(f"condition {text!r} cannot be evaluated: {reason} ({values})")


@lru_cache(maxsize=4096)
def compile_condition(text: str) -> Condition:
    """Compile a condition.

    Raises:
        PlanningError: it is not a valid expression.
    """
    try:
        return Condition(text, _compile(text))
    except ValueError as error:
        raise PlanningError(f"condition {text!r} is not valid: {error}") from None


def check(text: str) -> str | None:
    """What is wrong with the syntax of a condition or selector; None if nothing is."""
    try:
        _compile(text)
    except ValueError as error:
        return str(error)
    return None


def evaluate(text: str, inputs: Values) -> bool:
    """The value of condition ``text`` over a task's inputs.

    The expression sees ``inputs.parameter_values`` (also as ``inputs.parameters`` and ``inputs.params``) and
    ``inputs.artifacts`` (name -> list of ``{name, uri, type, metadata, properties}``).

    Raises:
        PlanningError: it cannot be evaluated to a boolean; the text holds the expression and the values.
    """
    return compile_condition(text).evaluate(inputs)


def select(expression: str, value: JsonValue) -> JsonValue:
    """Apply a ``parameterExpressionSelector`` to a value.

    The form the SDK writes, ``parseJson(string_value)["a"]["b"]``, is followed in Python, which keeps the order of
    struct members and the type of every number; other expressions are evaluated as CEL.

    Raises:
        PlanningError: there is no such member, or the expression fails.
    """
    if is_large(value):
        raise PlanningError(f"selector {expression!r} cannot be applied to {shown(value)}: it is too large")
    match = _SELECTOR.fullmatch(expression)
    try:
        if match:
            return _follow(_parse_json(value), _SELECTOR_KEY.finditer(match[1]))
        functions = {"parseJson": _parse_json}
        variables = {"string_value": value if isinstance(value, str) else json.dumps(value)}
        return cast(JsonValue, _execute(_compile(expression), variables, functions))
    except (ValueError, LookupError, TypeError) as error:
        raise PlanningError(f"selector {expression!r} cannot be applied to {preview(value)}: {error}") from None


def _parse_json(value: JsonValue) -> JsonValue:
    """Structs and lists travel as they are here; KFP's own engine passes them as JSON text."""
    return cast(JsonValue, json.loads(value)) if isinstance(value, str) else value


def _follow(value: JsonValue, keys: Any) -> JsonValue:
    for key in keys:
        name = key[1] if key[1] is not None else key[2]
        if name is None:
            index = int(key[3])
            if not isinstance(value, list) or index >= len(value):
                raise LookupError(f"there is no item {index} in {preview(value)}")
            value = cast(JsonValue, value[index])
        elif not isinstance(value, dict) or name not in value:
            raise LookupError(f"there is no member {name!r} in {preview(value)}")
        else:
            value = cast(JsonValue, value[name])
    return value


@lru_cache(maxsize=4096)
def _compile(text: str) -> Any:
    """Raises ValueError with the reason.

    The scanner goes first to bound the depth; for a syntax error the library has the better words."""
    try:
        strict = strict_equality(text)
    except ScanError as error:
        if len(text) <= _MAX_EXPLAINED:
            _guarded(lambda: _library().compile(text))
        raise ValueError(str(error)) from None
    _guarded(lambda: _library().compile(text))
    return _guarded(lambda: _library().compile(strict))


def _execute(program: Any, variables: Mapping[str, Any], functions: Mapping[str, Any] | None = None) -> Any:
    """Raises ValueError with the reason.

    Comparisons note what was wrong instead of raising: an error inside ``||`` could be absorbed by the other side, and
    the library writes a log line for each error that comes out of a function."""
    wrong: list[str] = []

    def equal(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return left is None and right is None
        if _kind(left) != _kind(right):
            wrong.append(f"{preview(left)} ({_kind(left)}) is compared with {preview(right)} ({_kind(right)})")
            return False
        return bool(left == right)

    def contains(item: Any, container: Any) -> bool:
        if not isinstance(container, (list, tuple, dict)):
            wrong.append(f"'in' needs a list or a struct, not {preview(container)}")
            return False
        members = list(cast("list[Any]", container))
        if members and item is not None and _kind(item) not in {_kind(member) for member in members}:
            wrong.append(f"{preview(item)} ({_kind(item)}) is searched in {preview(members)}")
            return False
        return any(_kind(member) == _kind(item) and member == item for member in members)

    def run() -> Any:
        table = {EQUAL: equal, IN: contains, **(functions or {})}
        return program.execute(_library().Context(variables=dict(variables), functions=table))

    value = _guarded(run)
    if wrong:
        raise ValueError(wrong[0])
    return value


def _kind(value: Any) -> str:
    """Types that may be compared with each other have the same word."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (list, tuple)):
        return "list"
    if isinstance(value, dict):
        return "struct"
    return "null" if value is None else type(value).__name__


def _variables(inputs: Values) -> dict[str, Any]:
    parameters = dict(inputs.parameters)
    return {
        "parameter_values": parameters,
        "parameters": parameters,
        "params": parameters,
        "artifacts": {name: _artifacts(value) for name, value in inputs.artifacts.items()},
    }


def _artifacts(value: ArtifactValue) -> list[dict[str, Any]]:
    items = (value,) if isinstance(value, Artifact) else value
    return [
        {
            "name": item.name,
            "uri": item.uri,
            "type": {"schemaTitle": item.type},
            "metadata": dict(item.metadata),
            "properties": dict(item.metadata),
        }
        for item in items
    ]
