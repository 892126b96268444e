"""A user's function as a task: inputs become its arguments, what it returns becomes outputs.

``bind`` gives what kfp's runtime calls (it has the signature that kfp looks for) and what runs by itself where kfp is
not there (:meth:`Task.execute`). How arguments and outputs hang together is in the task's ``spec``, written by
``sdk.define.embed``.
"""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from .classes import AdapterError
from .formats import load, save

_TYPES = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_MISSING: Any = object()


class Task:
    """One component's function with its spec."""

    def __init__(self, function: Callable[..., Any], spec: dict[str, Any]) -> None:
        self.function = function
        self.spec = spec
        self.__name__ = self.__qualname__ = getattr(function, "__name__", "task")
        self.__module__ = getattr(function, "__module__", __name__)
        self.__doc__ = getattr(function, "__doc__", None)

    # ------------------------------------------------------------------ for kfp's runtime
    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        dsl = __import__("kfp.dsl", fromlist=["Artifact"])
        found: dict[str, Any] = {}
        for template in self.spec["arguments"].values():
            for leaf in _leaves(template):
                if "parameter" in leaf:
                    found[leaf["parameter"]] = Optional[_TYPES[leaf["type"]]]
                elif "artifact" in leaf:
                    cls = list[dsl.Artifact] if leaf.get("list") else dsl.Artifact
                    found[leaf["artifact"]] = Optional[dsl.Input[cls]]
                elif "passed" in leaf:
                    found[leaf["passed"]] = self._hint(leaf["passed"])
        for name in self.spec.get("large", ()):
            found[name] = dsl.Input[dsl.Artifact]
        returned = {}
        for name, output in self.spec["outputs"].items():
            if output["kind"] == "artifact":
                found[name] = dsl.Output[dsl.Artifact]
            else:
                returned[name] = _TYPES[output["type"]]
        if list(returned) == ["Output"]:
            found["return"] = returned["Output"]
        elif returned:
            found["return"] = NamedTuple("Outputs", list(returned.items()))  # type: ignore[misc]
        return found

    def _hint(self, name: str) -> Any:
        hint = self.function.__annotations__[name]
        if not isinstance(hint, str):
            return hint
        dsl = __import__("kfp.dsl", fromlist=["Artifact"])
        return eval(hint, {**vars(dsl), "dsl": dsl, **self.function.__globals__})  # noqa: S307 - the user's own

    @property
    def __signature__(self) -> inspect.Signature:
        hints = self.__annotations__
        returned = hints.pop("return", inspect.Signature.empty)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, kind, annotation=hint) for name, hint in hints.items()]
        return inspect.Signature(parameters, return_annotation=returned)

    def __call__(self, **given: Any) -> Any:
        """What kfp calls: artifacts are its objects."""
        outputs = {name: given.pop(name) for name, out in self.spec["outputs"].items() if out["kind"] == "artifact"}
        parameters = self._run(given, {name: (item.path, item.metadata) for name, item in outputs.items()})
        if not parameters:
            return None
        if list(parameters) == ["Output"]:
            return parameters["Output"]
        return self.__annotations__["return"](**parameters)

    # ------------------------------------------------------------------ by itself
    def execute(self, executor_input: dict[str, Any]) -> None:
        """Run from KFP's ExecutorInput and write its ExecutorOutput, without kfp."""
        inputs = executor_input.get("inputs") or {}
        given: dict[str, Any] = dict(inputs.get("parameterValues") or {})
        for name, entry in (inputs.get("artifacts") or {}).items():
            found = [
                _Stored(item.get("uri") or "", item.get("metadata") or {}) for item in entry.get("artifacts") or ()
            ]
            given[name] = found if self._is_list(name) else (found[0] if found else None)
        declared = executor_input.get("outputs") or {}
        places: dict[str, Any] = {}
        for name, entry in (declared.get("artifacts") or {}).items():
            item = entry["artifacts"][0]
            places[name] = (item["uri"], dict(item.get("metadata") or {}))
            os.makedirs(os.path.dirname(item["uri"]), exist_ok=True)
        parameters = self._run(given, places)
        written: dict[str, Any] = {}
        if parameters:
            written["parameterValues"] = parameters
        if places:
            written["artifacts"] = {
                name: {"artifacts": [{"name": name, "uri": uri, "metadata": metadata}]}
                for name, (uri, metadata) in places.items()
            }
        file = declared.get("outputFile")
        if file:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8") as out:
                json.dump(written, out)

    def _is_list(self, name: str) -> bool:
        for template in self.spec["arguments"].values():
            for leaf in _leaves(template):
                if leaf.get("artifact") == name:
                    return bool(leaf.get("list"))
        return False

    # ------------------------------------------------------------------ both
    def _run(self, given: dict[str, Any], places: dict[str, Any]) -> dict[str, Any]:
        """Call the function and store what it returns; returns the output parameters."""
        arguments = {}
        for name, template in self.spec["arguments"].items():
            value = self._value(name, template, given)
            if value is not _MISSING:
                arguments[name] = value
        positional = [arguments.pop(name) for name in self.spec.get("positional_only", ()) if name in arguments]
        result = self.function(*positional, **arguments)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        parameters = {}
        for name, output in self.spec["outputs"].items():
            value = result if output.get("part") is None else self._part(result, output["part"])
            if output["kind"] == "parameter":
                parameters[name] = _conform(value, output["type"], "%s returned" % self.__name__)
            else:
                path, metadata = places[name]
                metadata.update(save(value, path)[1])
        return parameters

    def _value(self, name: str, template: dict[str, Any], given: dict[str, Any]) -> Any:
        if "constant" in template:
            return template["constant"]
        if "parameter" in template:
            value = given.get(template["parameter"])
            return _MISSING if value is None else _conform(value, template["type"], "argument %s is" % name)
        if "artifact" in template:
            found = given.get(template["artifact"])
            if found is None:
                return _MISSING
            if template.get("list"):
                return [self._load(name, item) for item in found]
            return self._load(name, found)
        if "passed" in template:
            return given.get(template["passed"], _MISSING)
        if "secret" in template:
            value = os.environ.get(template["secret"])
            if value is None:
                raise AdapterError("the secret %s is not there" % template["name"])
            return value
        if "dict" in template:
            return {key: self._value(name, item, given) for key, item in template["dict"].items()}
        items = [self._value(name, item, given) for item in template["items"]]
        return tuple(items) if template.get("tuple") else items

    def _load(self, name: str, artifact: Any) -> Any:
        hint = getattr(self.function, "__annotations__", {}).get(name)
        scope = getattr(self.function, "__globals__", {})
        return load(artifact.path, dict(artifact.metadata or {}), "", scope, hint)

    def _part(self, result: Any, part: Any) -> Any:
        how = self.spec["returns"]
        try:
            if how == "keys":
                return result[part]
            if how == "items":
                expected = self.spec["parts"]
                if len(result) != expected:
                    raise AdapterError(
                        "%s returned %d values, its annotation says %d" % (self.__name__, len(result), expected)
                    )
                return result[part]
            if isinstance(result, tuple) and not hasattr(result, part) and part in self.spec.get("fields", ()):
                return result[self.spec["fields"].index(part)]
            return result[part] if isinstance(result, dict) else getattr(result, part)
        except (KeyError, AttributeError, TypeError, IndexError):
            kind = type(result).__name__
            raise AdapterError(
                "%s returned a %s without %r, which its annotation promises" % (self.__name__, kind, part)
            ) from None


class _Stored:
    """An input artifact where kfp is not there."""

    def __init__(self, uri: str, metadata: dict[str, Any]) -> None:
        self.path = uri
        self.metadata = metadata


def _leaves(template: dict[str, Any]) -> list[dict[str, Any]]:
    if "items" in template:
        return [leaf for item in template["items"] for leaf in _leaves(item)]
    if "dict" in template:
        return [leaf for item in template["dict"].values() for leaf in _leaves(item)]
    return [template]


def _conform(value: Any, type_: str, what: str) -> Any:
    """A value as its declared type: numbers of numpy are numbers, tuples are lists. Raises AdapterError."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        value = value.tolist()
    if type_ == "NUMBER_INTEGER" and isinstance(value, float) and value == int(value):
        return int(value)
    if type_ == "NUMBER_DOUBLE" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type_ in ("LIST", "STRUCT"):
        value = _json(value)
    expected = _TYPES[type_]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        told = repr(value) if len(repr(value)) < 60 else type(value).__name__
        raise AdapterError("%s %s, which is no %s" % (what, told, expected.__name__))
    return value


def _json(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return value


def bind(function: Callable[..., Any], spec: str) -> Task:
    """``spec`` is JSON."""
    return Task(function, json.loads(spec))


def bind_late(name: str, source: str, scope: dict[str, Any], spec: str) -> LateTask:
    """Of a function that needs large values: they are inputs, so its text runs when the task does."""
    return LateTask(name, source, scope, json.loads(spec))


class LateTask(Task):
    def __init__(self, name: str, source: str, scope: dict[str, Any], spec: dict[str, Any]) -> None:
        self._name, self._source, self._scope = name, source, scope
        super().__init__(self._later, spec)
        self.__name__ = self.__qualname__ = spec.get("name") or name

    def _later(self, *args: Any, **kwargs: Any) -> Any:
        raise AdapterError("the task has not begun")

    def _run(self, given: dict[str, Any], places: dict[str, Any]) -> dict[str, Any]:
        for name, wanted in self.spec["large"].items():
            artifact = given.pop(name)
            self._scope[wanted] = load(artifact.path, dict(artifact.metadata or {}), "", self._scope)
        file = self._scope.get("__file__") or "ephemeral_component.py"
        exec(compile(self._source, file, "exec", dont_inherit=True), self._scope)
        self.function = self._scope[self._name]
        return super()._run(given, places)
