"""What a group hands on once everything inside it has ended."""

from __future__ import annotations

from collections.abc import Sequence

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.core.values import JsonValue, conform
from mlplatform.ir.model import Component, OutputSelector
from mlplatform.planning.nodes import Node, Scope


def scope_outputs(scope: Scope) -> Values:
    """Outputs of a DAG. One whose producer did not run is absent; of a OneOf the first that ran counts."""
    parameters: dict[str, JsonValue] = {}
    specs = scope.component.outputs.parameters
    for name, output in scope.dag.outputs.parameters.items():
        for selector in output.selectors:
            found = scope.child(selector.producer).outputs.parameters
            if selector.key in found:
                value = found[selector.key]
                spec = specs.get(name)
                try:
                    parameters[name] = conform(value, spec.type) if spec else value
                except ValueError:
                    # The SDK declares what passes through a condition inside a loop as LIST, whatever it is.
                    parameters[name] = value
                break
    artifacts: dict[str, ArtifactValue] = {}
    for name, output in scope.dag.outputs.artifacts.items():
        for selector in output.selectors:
            stored = scope.child(selector.producer).outputs.artifacts
            if selector.key in stored:
                artifacts[name] = stored[selector.key]
                break
    return Values(parameters, artifacts)


def collected(component: Component, iterations: Sequence[Node]) -> Values:
    """Outputs of a loop, in iteration order: nested lists of parameters, one flat list of artifacts.

    Iterations whose producer was skipped are left out; an empty loop collects empty lists."""
    dag_outputs = component.dag.outputs if component.dag else None
    names = dict.fromkeys([*component.outputs.parameters, *(dag_outputs.parameters if dag_outputs else ())])
    parameters: dict[str, JsonValue] = {
        name: [node.outputs.parameters[name] for node in iterations if name in node.outputs.parameters]
        for name in names
    }
    artifacts: dict[str, ArtifactValue] = {}
    for name in dict.fromkeys([*component.outputs.artifacts, *(dag_outputs.artifacts if dag_outputs else ())]):
        items: list[Artifact] = []
        for node in iterations:
            value = node.outputs.artifacts.get(name, ())
            items.extend((value,) if isinstance(value, Artifact) else value)
        artifacts[name] = tuple(items)
    return Values(parameters, artifacts)


def check_run_outputs(scope: Scope) -> None:
    """A run that declares an output must have it, unless the task that makes it was skipped.

    Raises:
        PlanningError: lists the outputs without a value.
    """
    missing: list[str] = []
    for name, output in scope.dag.outputs.parameters.items():
        if name not in scope.outputs.parameters and _expected(scope, output.selectors, output.is_one_of):
            missing.append(name)
    for name, output in scope.dag.outputs.artifacts.items():
        if name not in scope.outputs.artifacts and _expected(scope, output.selectors, len(output.selectors) > 1):
            missing.append(name)
    if missing:
        names = ", ".join(repr(name) for name in missing)
        raise PlanningError(f"output {names} of the pipeline has no value: no task that makes it ran")


def _expected(scope: Scope, selectors: Sequence[OutputSelector], is_one_of: bool) -> bool:
    return is_one_of or any(scope.child(selector.producer).state.succeeded for selector in selectors)
