"""The arguments of one call of a Python component, as inputs of one task.

Inputs are made to fit what is given: an argument that may be any object is a parameter where a number is given and an
artifact where a table is; a list with placeholders in it becomes one input for each of them.
"""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import JsonValue, ParameterType
from mlplatform.ir.compatible import artifact_mismatch, parameter_mismatch
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.channels import Channel, LoopField, LoopItem, Placeholder, as_channel
from mlplatform.sdk.define.interface import Signature
from mlplatform.sdk.define.secrets import Secret, refuse_secret
from mlplatform.sdk.define.tasks import InputSpec
from mlplatform.sdk.define.types import ANY_ARTIFACT, ValueType, type_of_value
from mlplatform.sdk.define.where import user_line


class Arguments:
    """The arguments of one call, as inputs of one task."""

    def __init__(self, name: str, signature: Signature, recording: scope.Recording, *, objects: bool) -> None:
        self._name = name
        self._signature = signature
        self._objects = objects
        self._recording = recording
        self._declared = signature.interface.inputs
        self._specs: dict[str, InputSpec] = {}
        self.arguments: dict[str, Any] = {}
        self.templates: dict[str, Any] = {}
        self.secrets: list[Secret] = []

    def inputs(self) -> dict[str, InputSpec]:
        """Inputs of the task: declared ones that were not given too, for their defaults."""
        found: dict[str, InputSpec] = {}
        for name, spec in self._declared.items():
            if name in self._specs or name in self.templates or self._is_object(name):
                continue
            found[name] = spec
            self.templates[name] = self._leaf(name, spec.type)
        for name in self._signature.interface.outputs:
            if self._signature.uses_kfp and name in self._signature.names:
                self.templates[name] = {"passed": name}
        return {**found, **self._specs}

    def _is_object(self, name: str) -> bool:
        return name in self._signature.values

    def take(self, name: str, value: Any) -> None:
        spec = self._declared.get(name)
        if value is None and spec is not None and spec.optional and not self._is_object(name):
            return
        self.templates[name] = self._template(name, name, value, spec)

    def _template(self, argument: str, name: str, value: Any, spec: InputSpec | None) -> dict[str, Any]:
        if isinstance(value, Secret):
            self.secrets.append(value)
            return {"secret": value.variable, "name": value.name}
        channel = as_channel(value)
        if channel is not None:
            return self._of_channel(argument, name, channel, spec)
        if not self._objects and _holds_placeholder(value):
            assert spec is not None
            self._specs[name] = spec
            self.arguments[name] = value  # kfp's way: a constant with placeholders in it
            return self._leaf(name, spec.type)
        if isinstance(value, (list, tuple)) and _holds_placeholder(value):
            items = cast("list[Any]", value)
            made = [self._template(argument, self._free(f"{name}_{i}"), item, None) for i, item in enumerate(items)]
            return {"items": made, "tuple": isinstance(cast(Any, value), tuple)}
        if isinstance(value, dict) and _holds_placeholder(value):
            entries = cast("dict[str, Any]", value)
            return {
                "dict": {
                    key: self._template(argument, self._free(f"{name}_{key}"), item, None)
                    for key, item in entries.items()
                }
            }
        return self._of_constant(argument, name, value, spec)

    def _free(self, name: str) -> str:
        while name in self._specs or name in self._declared:
            name += "_"
        return name

    def _of_channel(self, argument: str, name: str, channel: Channel, spec: InputSpec | None) -> dict[str, Any]:
        type_ = channel._type
        declared = spec.type if spec is not None and not self._is_object(argument) else None
        if declared is None:
            self._specs[name] = InputSpec(type_, optional=spec.optional if spec else False)
        elif declared.parameter is not None and type_.parameter is None and self._objects:
            # An object that the author of the producer did not annotate as a number, given to one who wants a number.
            self._specs[name] = InputSpec(type_, optional=spec.optional if spec else False)
            declared = type_
        else:
            problem = mismatch(channel, declared)
            if problem:
                raise InvalidPipeline(
                    f"{self._name}({argument}=...): {problem} ({user_line()}).",
                    hint="Change the annotation of one of them, or convert the value in a component.",
                )
            assert spec is not None
            self._specs[name] = spec
        self.arguments[name] = channel
        return self._leaf(name, self._specs[name].type)

    def _of_constant(self, argument: str, name: str, value: Any, spec: InputSpec | None) -> dict[str, Any]:
        declared = spec.type if spec is not None and not self._is_object(argument) else None
        given = _json_type(value)
        refuse_secret(argument, value)
        if declared is not None and declared.parameter is not None:
            fits = given is not None and not parameter_mismatch(
                given.parameter or ParameterType.STRUCT, declared.parameter
            )
            if not fits:
                raise InvalidPipeline(
                    f"{self._name}({argument}={_brief(value)}): it takes {declared.words} ({user_line()}).",
                )
            assert spec is not None
            self._specs[name] = spec
            self.arguments[name] = (
                float(value)
                if declared.parameter is ParameterType.NUMBER_DOUBLE and not isinstance(value, str)
                else value
            )
            return self._leaf(name, declared)
        if not self._objects or (declared is not None and not self._is_object(argument)):
            raise InvalidPipeline(
                f"{self._name}({argument}={_brief(value)}): it takes an artifact ({user_line()}).",
                hint="Pass the output of a task, or dsl.importer(...) for something that exists.",
            )
        if value is None or isinstance(value, (bool, int, str)):
            return {"constant": value}
        if given is not None and _exact(value):
            self._specs[name] = InputSpec(given)
            self.arguments[name] = value
            return self._leaf(name, given)
        key = self._recording_value(f"{argument}", value)
        self._specs[name] = InputSpec(ANY_ARTIFACT)
        self.arguments[name] = Channel(key, ANY_ARTIFACT, None)
        return self._leaf(name, ANY_ARTIFACT)

    def _recording_value(self, name: str, value: Any) -> str:
        for key, known in self._recording.values.items():
            if known is value:
                return key
        key, number = f"value-{name}", 2
        while key in self._recording.values:
            key, number = f"value-{name}-{number}", number + 1
        self._recording.values[key] = value
        return key

    def _leaf(self, name: str, type_: ValueType) -> dict[str, Any]:
        if self._signature.uses_kfp and name in self._declared and not self._is_object(name):
            return {"passed": name}
        if type_.parameter is not None:
            return {"parameter": name, "type": type_.parameter.value}
        return {"artifact": name, "list": type_.is_list}


def mismatch(channel: Channel, wanted: ValueType) -> str:
    """Why a channel does not fit an input; empty if it does."""
    given = channel._type
    if (given.parameter is None) != (wanted.parameter is None):
        return f"{channel._what()} is {given.words}, it takes {wanted.words}"
    if given.parameter is not None and wanted.parameter is not None:
        loose = isinstance(channel, (LoopItem, LoopField)) and given.parameter is ParameterType.STRING
        if parameter_mismatch(given.parameter, wanted.parameter) and not loose:
            return f"{channel._what()} is {given.words}, it takes {wanted.words}"
        return ""
    if given.is_list != wanted.is_list or artifact_mismatch(given.artifact, wanted.artifact):
        return f"{channel._what()} is {given.words}, it takes {wanted.words}"
    return ""


def _holds_placeholder(value: Any) -> bool:
    if isinstance(value, (Placeholder, Secret)):
        return True
    if isinstance(value, dict):
        return any(_holds_placeholder(item) for item in cast("dict[Any, Any]", value).values())
    if isinstance(value, (list, tuple)):
        return any(_holds_placeholder(item) for item in cast("list[Any]", value))
    return False


def _json_type(value: Any) -> ValueType | None:
    """The parameter type of a constant that is JSON through and through."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        if not all(isinstance(key, str) and (item is None or _json_type(item)) for key, item in entries.items()):
            return None
    if isinstance(value, (list, tuple)) and any(
        item is not None and not _json_type(item) for item in cast("list[Any]", value)
    ):
        return None
    return type_of_value(value)


def _exact(value: JsonValue | Any) -> bool:
    """Whether JSON gives exactly this value back (a tuple would become a list)."""
    if type(value) is float:
        return value - value == 0
    if type(value) in (bool, int, str) or value is None:
        return True
    if type(value) is list:
        return all(_exact(item) for item in cast("list[Any]", value))
    if type(value) is dict:
        return all(type(key) is str and _exact(item) for key, item in cast("dict[Any, Any]", value).items())
    return False


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} ..."
