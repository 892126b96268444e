"""Checks of one DAG: every name its tasks and outputs use, and the types on both sides of every edge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from mlplatform.core.values import ParameterType, preview
from mlplatform.ir import graph, paths, placeholders
from mlplatform.ir.check_outputs import check_outputs
from mlplatform.ir.compatible import artifact_mismatch, parameter_mismatch, value_mismatch
from mlplatform.ir.model import (
    ArtifactSource,
    Component,
    InputArtifactSpec,
    OutputArtifactSpec,
    ParameterSource,
    PipelineTask,
)
from mlplatform.ir.scope import DagScope, is_loop, output_type

_PARAMETER_NAME: Final = re.compile(r"""inputs\.parameter_values\[(?:'([^'\\]*)'|"([^"\\]*)")\]""")
_STATUS: Final = ParameterType.TASK_FINAL_STATUS


def check_dag(scope: DagScope) -> None:
    """Check every task and every output of a DAG."""
    if not scope.dag.tasks:
        scope.found.add(scope.path, "there is no task in it", "missing", "put a task into it or remove it")
    for name, task in scope.dag.tasks.items():
        _check_task(scope, name, task)
    names = graph.dependencies(scope.dag, scope.pipeline)
    for cycle in graph.cycles(names):
        message = f"tasks wait for each other: {graph.describe_cycle(cycle)}"
        scope.found.add(f"{scope.path}.tasks", message, "cycle", "remove one of these dependencies")
    check_outputs(scope)


def _check_task(scope: DagScope, name: str, task: PipelineTask) -> None:
    path = scope.task_path(name)
    found = scope.found
    component = scope.pipeline.components.get(task.component)
    if not name:
        found.add(path, "a task needs a name", "missing")
    if not task.component:
        found.add(f"{path}.componentRef.name", "the task does not say which component it runs", "missing")
    elif component is None:
        found.unknown(f"{path}.componentRef.name", "component", task.component, scope.pipeline.components)
    for index, other in enumerate(task.dependent_tasks):
        if other not in scope.dag.tasks:
            found.unknown(f"{path}.dependentTasks[{index}]", "task", other, scope.dag.tasks, " in this DAG")
    _check_parameters(scope, path, task, component)
    _check_artifacts(scope, path, task, component)
    if component is not None:
        _check_required(scope, path, task, component)
    _check_iterators(scope, path, task, component)
    _check_condition(scope, path, task)
    _check_numbers(scope, path, task)


def _check_parameters(scope: DagScope, path: str, task: PipelineTask, component: Component | None) -> None:
    for name, source in task.parameters.items():
        at = paths.child(f"{path}.inputs.parameters", name)
        given = check_source(scope, at, source)
        if source.has_constant:
            _check_constant(scope, at, task, source)
        if source.expression:
            _check_cel(scope, f"{at}.parameterExpressionSelector", source.expression)
        if component is None:
            continue
        spec = component.inputs.parameters.get(name)
        if spec is None:
            if component.dag is not None and name not in placeholder_names(task):
                known = component.inputs.parameters
                scope.found.unknown(at, "input parameter", name, known, f" in component {task.component!r}")
        elif source.has_constant:
            _check_constant_type(scope, at, source, spec.type, optional=spec.is_optional)
        elif given is not None and not source.expression and parameter_mismatch(given, spec.type):
            hint = "change one of the two types, or put a task in between that converts the value"
            message = f"expected {spec.type.value}, but its source gives {given.value}"
            scope.found.add(at, message, "wrong-type", hint)


def placeholder_names(task: PipelineTask) -> frozenset[str]:
    """Inputs a task has only so that constants of its other inputs may refer to them."""
    return frozenset(
        reference.name
        for source in task.parameters.values()
        if isinstance(source.constant, str)
        for reference in placeholders.references(source.constant)
        if reference.kind is placeholders.RefKind.INPUT_PARAMETER
    )


def check_source(scope: DagScope, at: str, source: ParameterSource) -> ParameterType | None:
    """Check where a parameter comes from. Returns the type it is known to have, None if unknown or not to be judged."""
    found = scope.found
    if source.producer_task or source.output_parameter:
        return _check_producer(scope, f"{at}.taskOutputParameter", source)
    if source.final_status_of:
        if source.final_status_of not in scope.dag.tasks:
            where = f"{at}.taskFinalStatus.producerTask"
            found.unknown(where, "task", source.final_status_of, scope.dag.tasks, " in this DAG")
        return _STATUS
    runtime = source.runtime_parameter
    name = source.component_input or runtime
    if name:
        field = f"{at}.runtimeValue.runtimeParameter" if runtime else f"{at}.componentInputParameter"
        owner = scope.pipeline.root if runtime else scope.component
        spec = owner.inputs.parameters.get(name)
        if spec is None:
            found.unknown(field, "input parameter", name, owner.inputs.parameters, " in the enclosing component")
            return None
        # KFP declares the items of loops over unknown lists as STRING.
        return None if scope.in_loop and spec.type is ParameterType.STRING else spec.type
    if not source.has_constant:
        found.add(at, "says nothing about where the value comes from", "missing")
    return None


def _check_producer(scope: DagScope, at: str, source: ParameterSource) -> ParameterType | None:
    producer = scope.dag.tasks.get(source.producer_task)
    if producer is None:
        scope.found.unknown(f"{at}.producerTask", "task", source.producer_task, scope.dag.tasks, " in this DAG")
        return None
    component = scope.pipeline.components.get(producer.component)
    if component is None:
        return None
    if source.output_parameter not in component.outputs.parameters:
        where = f" of task {source.producer_task!r}"
        known = component.outputs.parameters
        scope.found.unknown(f"{at}.outputParameterKey", "output parameter", source.output_parameter, known, where)
        return None
    return output_type(scope, source.producer_task, source.output_parameter)


def _check_constant(scope: DagScope, at: str, task: PipelineTask, source: ParameterSource) -> None:
    """Check the placeholders of a constant: they refer to the task's own inputs."""
    for text in _texts(source.constant):
        for reference in placeholders.references(text):
            where = f"{at}.runtimeValue.constant"
            if reference.kind is placeholders.RefKind.INPUT_PARAMETER:
                if reference.name not in task.parameters:
                    scope.found.unknown(where, "input parameter", reference.name, task.parameters, " of this task")
            elif reference.kind is placeholders.RefKind.INPUT_ARTIFACT:
                if reference.name not in task.artifacts:
                    scope.found.unknown(where, "input artifact", reference.name, task.artifacts, " of this task")
            elif reference.kind is not placeholders.RefKind.RUN:
                hint = "only inputs and facts of the run can stand in a constant"
                scope.found.add(where, f"{reference.text} has no value before the task runs", "bad-placeholder", hint)
        _report_unknown(scope, f"{at}.runtimeValue.constant", text)


def _report_unknown(scope: DagScope, at: str, text: str) -> None:
    for piece in placeholders.unknown_placeholders(text):
        scope.found.add(at, f"{piece!r} is not a placeholder", "bad-placeholder", "see the kfp.dsl placeholders")


def _texts(value: Any) -> Iterator[str]:
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, list):
            stack.extend(cast("list[Any]", node))
        elif isinstance(node, dict):
            stack.extend(cast("dict[str, Any]", node).values())


def _check_constant_type(
    scope: DagScope, at: str, source: ParameterSource, type_: ParameterType, *, optional: bool
) -> None:
    value = source.constant
    if (value is None and optional) or source.expression:
        return
    if isinstance(value, str) and any(placeholders.references(value)):
        return  # known when the task runs
    mismatch = value_mismatch(value, type_)
    if mismatch:
        scope.found.add(f"{at}.runtimeValue.constant", mismatch, "wrong-type")


def _check_artifacts(scope: DagScope, path: str, task: PipelineTask, component: Component | None) -> None:
    for name, source in task.artifacts.items():
        at = paths.child(f"{path}.inputs.artifacts", name)
        spec = component.inputs.artifacts.get(name) if component is not None else None
        if component is not None and spec is None:
            known = component.inputs.artifacts
            scope.found.unknown(at, "input artifact", name, known, f" in component {task.component!r}")
        given = check_artifact_source(scope, at, source)
        if given is None or spec is None:
            continue
        if artifact_mismatch(given.type, spec.type):
            message = f"expected {spec.type.schema_title}, but its source gives {given.type.schema_title}"
            scope.found.add(at, message, "wrong-type", "change one of the two types, or use system.Artifact")
        producer = scope.dag.tasks.get(source.producer_task)
        collected = scope.in_loop or (producer is not None and is_loop(producer))
        over = task.artifact_iterator
        is_items = over is not None and over.items_input == name
        if given.is_list != spec.is_list and not collected and not is_items:
            one, many = "one artifact", "a list of artifacts"
            message = f"expected {many if spec.is_list else one}, but its source gives {many if given.is_list else one}"
            scope.found.add(at, message, "wrong-type")


def check_artifact_source(
    scope: DagScope, at: str, source: ArtifactSource
) -> InputArtifactSpec | OutputArtifactSpec | None:
    """Check where an artifact comes from. Returns its declaration there, None if there is none."""
    if source.component_input:
        known = scope.component.inputs.artifacts
        if source.component_input not in known:
            where = f"{at}.componentInputArtifact"
            scope.found.unknown(where, "input artifact", source.component_input, known, " in the enclosing component")
        return known.get(source.component_input)
    where = f"{at}.taskOutputArtifact"
    producer = scope.dag.tasks.get(source.producer_task)
    if producer is None:
        scope.found.unknown(f"{where}.producerTask", "task", source.producer_task, scope.dag.tasks, " in this DAG")
        return None
    maker = scope.pipeline.components.get(producer.component)
    if maker is None:
        return None
    outputs = maker.outputs.artifacts
    if source.output_artifact not in outputs:
        owner = f" of task {source.producer_task!r}"
        scope.found.unknown(f"{where}.outputArtifactKey", "output artifact", source.output_artifact, outputs, owner)
    return outputs.get(source.output_artifact)


def _check_required(scope: DagScope, path: str, task: PipelineTask, component: Component) -> None:
    items = {
        iterator.item_input for iterator in (task.parameter_iterator, task.artifact_iterator) if iterator is not None
    }
    for name, spec in component.inputs.parameters.items():
        needed = not (spec.is_optional or spec.has_default or spec.type is ParameterType.TASK_CONFIG)
        if needed and name not in task.parameters and name not in items:
            message = f"the required input parameter {name!r} is missing"
            scope.found.add(f"{path}.inputs.parameters", message, "missing", "give it a value, or make it optional")
    for name, spec in component.inputs.artifacts.items():
        if not spec.is_optional and name not in task.artifacts and name not in items:
            message = f"the required input artifact {name!r} is missing"
            scope.found.add(f"{path}.inputs.artifacts", message, "missing", "connect it, or make it optional")


def _check_iterators(scope: DagScope, path: str, task: PipelineTask, component: Component | None) -> None:
    loop = task.parameter_iterator
    if loop is not None:
        at = f"{path}.parameterIterator"
        if loop.items_input:
            if loop.items_input not in task.parameters:
                where = f"{at}.items.inputParameter"
                scope.found.unknown(where, "input parameter", loop.items_input, task.parameters, " of this task")
        else:
            _check_raw_items(scope, f"{at}.items.raw", loop.items_raw)
        _check_item(scope, at, loop.item_input, component.inputs.parameters if component else None, "parameter")
    over = task.artifact_iterator
    if over is not None:
        at = f"{path}.artifactIterator"
        if over.items_input not in task.artifacts:
            where = f"{at}.items.inputArtifact"
            scope.found.unknown(where, "input artifact", over.items_input, task.artifacts, " of this task")
        _check_item(scope, at, over.item_input, component.inputs.artifacts if component else None, "artifact")
    if component is not None and component.dag is None and (loop or over) is not None:
        hint = "wrap the component into a sub-pipeline"
        scope.found.add(path, "only a DAG component can be looped over", "unsupported", hint)


def _check_item(scope: DagScope, at: str, item: str, known: Mapping[str, Any] | None, kind: str) -> None:
    if not item:
        scope.found.add(f"{at}.itemInput", "the loop does not say which input takes the item", "missing")
    elif known is not None and item not in known:
        scope.found.unknown(f"{at}.itemInput", f"input {kind}", item, known, " in the component of the loop")


def _check_raw_items(scope: DagScope, at: str, raw: str) -> None:
    if not raw:
        scope.found.add(at, "the loop has neither raw items nor an inputParameter", "missing")
        return
    try:
        items: Any = json.loads(raw)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        scope.found.add(at, f"expected a JSON list, got {preview(raw)}", "wrong-type")


def _check_condition(scope: DagScope, path: str, task: PipelineTask) -> None:
    if not task.condition:
        return
    at = f"{path}.triggerPolicy.condition"
    for single, double in _PARAMETER_NAME.findall(task.condition):
        if (single or double) not in task.parameters:
            scope.found.unknown(at, "input parameter", single or double, task.parameters, " of this task")
    _check_cel(scope, at, task.condition)


def _check_cel(scope: DagScope, at: str, expression: str) -> None:
    problem = scope.check_expression(expression) if scope.check_expression is not None else None
    if problem:
        message = f"the expression {preview(expression)} cannot be parsed: {problem}"
        scope.found.add(at, message, "bad-expression", "check its quotes, brackets and operators")


def _check_numbers(scope: DagScope, path: str, task: PipelineTask) -> None:
    if task.parallelism_limit < 0:
        scope.found.add(f"{path}.iteratorPolicy.parallelismLimit", "must not be negative", "invalid-value")
    if task.retry is not None:
        values = {
            "maxRetryCount": task.retry.max_retry_count,
            "backoffDuration": task.retry.backoff_duration,
            "backoffFactor": task.retry.backoff_factor,
            "backoffMaxDuration": task.retry.backoff_max_duration,
        }
        for name, value in values.items():
            if value is not None and value < 0:
                scope.found.add(f"{path}.retryPolicy.{name}", "must not be negative", "invalid-value")
