"""Checks of what a DAG gives out: every selector, and the declared types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.core.values import ParameterType
from mlplatform.ir import paths
from mlplatform.ir.compatible import artifact_mismatch, parameter_mismatch
from mlplatform.ir.scope import DagScope, output_type


def check_outputs(scope: DagScope) -> None:
    """Check a DAG's outputs against what its component declares and its tasks produce."""
    _check_parameters(scope)
    _check_artifacts(scope)
    base = f"{scope.path}.outputs"
    declared, dag = scope.component.outputs, scope.dag.outputs
    for kind, names, mapped in (
        ("parameter", declared.parameters, dag.parameters),
        ("artifact", declared.artifacts, dag.artifacts),
    ):
        for name in names:
            if name not in mapped:
                message = f"nothing in the DAG gives the declared output {kind} {name!r}"
                scope.found.add(f"{base}.{kind}s", message, "missing", "map it to a task's output, or remove it")


def _check_parameters(scope: DagScope) -> None:
    declared = scope.component.outputs.parameters
    for name, output in scope.dag.outputs.parameters.items():
        at = paths.child(f"{scope.path}.outputs.parameters", name)
        wanted = declared.get(name)
        if wanted is None:
            scope.found.unknown(at, "declared output parameter", name, declared)
        if not output.selectors:
            scope.found.add(at, "the list of tasks it may come from is empty", "missing")
        for index, selector in enumerate(output.selectors):
            one_of = f"{at}.valueFromOneof.parameterSelectors[{index}]"
            where = one_of if output.is_one_of else f"{at}.valueFromParameter"
            spec = _selected(scope, where, selector.producer, selector.key, "Parameter")
            if spec is None or wanted is None or wanted.type is ParameterType.LIST:
                continue  # KFP declares as LIST whatever goes through the outputs of a group beside a loop
            given = output_type(scope, selector.producer, selector.key)
            if given is not None and parameter_mismatch(given, wanted.type):
                message = f"declared as {wanted.type.value}, but its source gives {given.value}"
                scope.found.add(where, message, "wrong-type")


def _check_artifacts(scope: DagScope) -> None:
    declared = scope.component.outputs.artifacts
    for name, output in scope.dag.outputs.artifacts.items():
        at = paths.child(f"{scope.path}.outputs.artifacts", name)
        wanted = declared.get(name)
        if wanted is None:
            scope.found.unknown(at, "declared output artifact", name, declared)
        if not output.selectors:
            scope.found.add(at, "the list of tasks it may come from is empty", "missing")
        for index, selector in enumerate(output.selectors):
            where = f"{at}.artifactSelectors[{index}]"
            spec = _selected(scope, where, selector.producer, selector.key, "Artifact")
            if spec is not None and wanted is not None and artifact_mismatch(spec.type, wanted.type):
                message = f"declared as {wanted.type.schema_title}, but its source gives {spec.type.schema_title}"
                scope.found.add(where, message, "wrong-type")


def _selected(scope: DagScope, at: str, producer: str, key: str, kind: str) -> Any:
    """The declared output that a selector means, or None with a finding."""
    if producer not in scope.dag.tasks:
        scope.found.unknown(f"{at}.producerSubtask", "task", producer, scope.dag.tasks, " in this DAG")
        return None
    component = scope.component_of(producer)
    if component is None:
        return None
    known: Mapping[str, Any] = component.outputs.parameters if kind == "Parameter" else component.outputs.artifacts
    if key not in known:
        where = f" of task {producer!r}"
        scope.found.unknown(f"{at}.output{kind}Key", f"output {kind.lower()}", key, known, where)
    return known.get(key)
