"""A task's inputs, once everything before it has ended."""

from __future__ import annotations

from typing import Any, Final, cast

from mlplatform.core.errors import PlanningError
from mlplatform.core.large import is_large
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import JsonValue, ParameterType, conform, parse_text, preview, to_text
from mlplatform.ir.model import ArtifactSource, Component, InputArtifactSpec, InputParameterSpec, ParameterSource
from mlplatform.ir.placeholders import Reference, RefKind
from mlplatform.planning.cel import select
from mlplatform.planning.graph import TaskPlan
from mlplatform.planning.nodes import Node, Scope
from mlplatform.planning.templates import RunContext, input_value, render_constant

#: Codes of ``google.rpc.Code``, which KFP's final status uses: CANCELLED, FAILED_PRECONDITION.
_RPC_CANCELLED: Final = 1
_RPC_FAILED: Final = 9

#: Types whose values the platform makes itself; a task may declare them without being given any.
_OWN_TYPES: Final = frozenset({ParameterType.TASK_CONFIG, ParameterType.TASK_FINAL_STATUS})


def gather(plan: TaskPlan, scope: Scope, root: Values, context: RunContext) -> Values:
    """What the task's sources give; inputs whose source has no value are absent.

    Producers that did not succeed (seen only by tasks that run whatever happened) give nothing.

    Raises:
        PlanningError: a selector, template or source cannot be resolved.
    """
    parameters: dict[str, JsonValue] = {}
    for name, source in plan.sources:
        value = _parameter(source, scope, root, context)
        if value is not None and source.expression:
            value = select(source.expression, value)
        if value is not None:
            parameters[name] = value
    artifacts: dict[str, ArtifactValue] = {}
    for name, source in plan.artifacts:
        found = _artifact(source, scope)
        if found is not None:
            artifacts[name] = found
    inputs = Values(parameters, artifacts)
    if plan.constants:
        constants = _constants(plan, inputs, context)
        inputs = Values({**parameters, **constants}, artifacts)
    return inputs


def _parameter(source: ParameterSource, scope: Scope, root: Values, context: RunContext) -> JsonValue:
    """The source's value; None where there is none (a null is no value)."""
    if source.component_input:
        return scope.inputs.parameters.get(source.component_input)
    if source.producer_task:
        return scope.child(source.producer_task).outputs.parameters.get(source.output_parameter)
    if source.final_status_of:
        return final_status(scope.child(source.final_status_of), context.job_name)
    return root.parameters.get(source.runtime_parameter)


def _artifact(source: ArtifactSource, scope: Scope) -> ArtifactValue | None:
    if source.component_input:
        return scope.inputs.artifacts.get(source.component_input)
    return scope.child(source.producer_task).outputs.artifacts.get(source.output_artifact)


def _constants(plan: TaskPlan, inputs: Values, context: RunContext) -> dict[str, JsonValue]:
    """Constants are templates over the other inputs of the same task."""

    def resolve(reference: Reference) -> JsonValue:
        if reference.kind is RefKind.RUN:
            return context.field(reference.name)
        if reference.kind in (RefKind.INPUT_PARAMETER, RefKind.INPUT_ARTIFACT):
            return input_value(reference, inputs)
        raise PlanningError(f"{reference.text} has no meaning in the value of an input")

    found: dict[str, JsonValue] = {}
    specs = plan.component.inputs.parameters
    for name, constant in plan.constants:
        value = render_constant(constant, resolve)
        spec = specs.get(name)
        if isinstance(value, str) and isinstance(constant, str) and spec and spec.type is not ParameterType.STRING:
            value = _parsed(value, constant, spec.type)
        if value is not None:
            found[name] = value
    return found


def _parsed(value: str, constant: str, type_: ParameterType) -> JsonValue:
    """A text constant for an input that is no text: its JSON, if it comes from the document and not from data."""
    if "{{$" in constant and type_ in (ParameterType.LIST, ParameterType.STRUCT):
        return value
    try:
        return parse_text(value, type_)
    except ValueError:
        return value


# ---------------------------------------------------------------------- declared types
def complete(component: Component, given: Values, *, strict: bool) -> Values:
    """``given`` with defaults filled in and in the declared types.

    Args:
        strict: it is what a task's code will see: everything required must be there and fit. Otherwise (groups, which
            only pass values on) what does not fit stays as it is, and the task that consumes it decides.

    Raises:
        PlanningError: lists everything that is missing or does not fit.
    """
    problems: list[str] = []
    parameters = dict(given.parameters)
    for name, spec in component.inputs.parameters.items():
        if name in parameters:
            try:
                parameters[name] = _fit(parameters[name], spec, strict)
            except ValueError as error:
                problems.append(f"input {name!r}: {error}")
        elif spec.has_default and spec.default is not None:
            parameters[name] = _fit(spec.default, spec, False)
        elif strict and not spec.is_optional and not spec.has_default and spec.type not in _OWN_TYPES:
            problems.append(f"input {name!r} has no value")
    artifacts = dict(given.artifacts)
    for name, spec in component.inputs.artifacts.items():
        if name in artifacts:
            try:
                artifacts[name] = _fit_artifact(artifacts[name], spec, strict)
            except ValueError as error:
                problems.append(f"input artifact {name!r}: {error}")
        elif strict and not spec.is_optional:
            problems.append(f"input artifact {name!r} has no value")
    if problems:
        raise PlanningError("; ".join(problems))
    return Values(parameters, artifacts)


def _fit(value: JsonValue, spec: InputParameterSpec, strict: bool) -> JsonValue:
    """Raises ValueError if the value does not fit (only if ``strict``)."""
    try:
        fitted = conform(value, spec.type)
    except ValueError:
        if not strict or is_large(value):
            return value
        if spec.type is not ParameterType.STRING:
            raise
        fitted = to_text(value)  # as in KFP: every value can be consumed as text
    if strict and spec.literals and fitted not in spec.literals:
        allowed = ", ".join(preview(literal) for literal in spec.literals)
        raise ValueError(f"{preview(fitted)} is not one of {allowed}")
    return fitted


def _fit_artifact(value: ArtifactValue, spec: InputArtifactSpec, strict: bool) -> ArtifactValue:
    if not strict:
        return value
    if spec.is_list:
        return (value,) if isinstance(value, Artifact) else value
    if isinstance(value, Artifact):
        return value
    if len(value) != 1:
        raise ValueError(f"expected one artifact, got a list of {len(value)}")
    return value[0]


# ---------------------------------------------------------------------- final status
def final_status(node: Node, job_name: str) -> dict[str, Any]:
    """KFP's PipelineTaskFinalStatus of a task or group that has ended.

    A group that never began because something before it failed counts as FAILED: it did not do its work.
    """
    error: dict[str, JsonValue] = {}
    match node.state:
        case TaskState.SUCCEEDED | TaskState.CACHED:
            state = "SUCCEEDED"
        case TaskState.FAILED:
            state = "FAILED"
        case TaskState.CANCELLED:
            state = "CANCELLED"
        case _:
            state = "FAILED" if node.tainted else "SKIPPED"
    if state == "CANCELLED":
        error = {"code": _RPC_CANCELLED, "message": node.error.message if node.error else "it was cancelled"}
    elif state == "FAILED":
        error = {"code": _RPC_FAILED, "message": node.error.message if node.error else node.note}
    return {
        "state": state,
        "pipelineJobResourceName": job_name,
        "pipelineTaskName": node.name,
        "error": cast("dict[str, Any]", error),
    }
