"""Calls of components that are no Python functions of ours: containers, pipelines, loaded YAML, kfp's own."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.ir.compatible import parameter_mismatch
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.arguments import mismatch
from mlplatform.sdk.define.channels import Channel, as_channel
from mlplatform.sdk.define.secrets import Secret, refuse_secret
from mlplatform.sdk.define.tasks import Component, InputSpec, Task
from mlplatform.sdk.define.types import type_of_value
from mlplatform.sdk.define.where import user_line

_GIVEN = (ParameterType.TASK_FINAL_STATUS, ParameterType.TASK_CONFIG)


def plain_task(component: Component, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = "") -> Task:
    """A task with checked arguments. Raises InvalidPipeline."""
    recording = scope.recording(component.name)
    if args:
        raise InvalidPipeline(
            f"{component.name}() takes its arguments by name ({user_line()}).", hint="Write name=value for each."
        )
    inputs = {key: spec for key, spec in component.interface.inputs.items() if spec.type.parameter not in _GIVEN}
    given: dict[str, Any] = {}
    for key, value in kwargs.items():
        spec = inputs.get(key)
        if spec is None:
            known = ", ".join(inputs) or "none"
            raise InvalidPipeline(
                f"{component.name}() has no input {key!r} ({user_line()}).", hint=f"Its inputs: {known}."
            )
        if value is None and spec.optional:
            continue
        given[key] = checked(component.name, key, value, spec)
    missing = [key for key, spec in inputs.items() if key not in given and not spec.optional and not spec.has_default]
    if missing:
        raise InvalidPipeline(f"{component.name}() lacks {', '.join(missing)} ({user_line()}).")
    task = Task(component, given)
    recording.add_task(task, name or component.name)
    return task


def checked(component: str, key: str, value: Any, spec: InputSpec) -> Any:
    """An argument as it is recorded. Raises InvalidPipeline."""
    if isinstance(value, Secret):
        raise InvalidPipeline(
            f"{component}({key}=...): only @ml.component functions can be given ml.secret ({user_line()}).",
            hint="Use mlplatform.dsl.kubernetes.use_secret_as_env on the task.",
        )
    channel = as_channel(value)
    if channel is not None:
        problem = mismatch(channel, spec.type)
        if problem:
            raise InvalidPipeline(f"{component}({key}=...): {problem} ({user_line()}).")
        return channel
    refuse_secret(key, value)
    wanted = spec.type.parameter
    if wanted is None:
        raise InvalidPipeline(
            f"{component}({key}=...): it takes an artifact, not {type(value).__name__} ({user_line()}).",
            hint="Pass the output of a task, or dsl.importer(...) for something that exists.",
        )
    found = type_of_value(value)
    if found is None or parameter_mismatch(found.parameter or wanted, wanted):
        raise InvalidPipeline(f"{component}({key}={value!r}): it takes {spec.type.words} ({user_line()}).")
    return float(value) if wanted is ParameterType.NUMBER_DOUBLE else value


__all__ = ["Channel", "checked", "plain_task"]
