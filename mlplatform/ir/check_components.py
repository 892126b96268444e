"""Checks of components by themselves: what implements them, their inputs' defaults, how they use each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mlplatform.core.values import type_name
from mlplatform.ir import graph, paths
from mlplatform.ir.compatible import value_mismatch
from mlplatform.ir.findings import Findings
from mlplatform.ir.model import Component, Pipeline

_PASSTHROUGHS: Final = (
    "NONE",
    "RESOURCES",
    "ENV",
    "KUBERNETES_AFFINITY",
    "KUBERNETES_TOLERATIONS",
    "KUBERNETES_NODE_SELECTOR",
    "KUBERNETES_VOLUMES",
)


def each_component(pipeline: Pipeline) -> Iterator[tuple[str, Component]]:
    """Every component with its path, the root first."""
    yield "root", pipeline.root
    for name, component in pipeline.components.items():
        yield paths.child("components", name), component


def check_components(pipeline: Pipeline, found: Findings) -> None:
    """Check every component of the pipeline, used or not."""
    for path, component in each_component(pipeline):
        _check_implementation(pipeline, path, component, found)
        _check_inputs(path, component, found)
        if component.single_platform_specs:
            hint = "put it into the platforms document"
            found.add(f"{path}.singlePlatformSpecs", "this cannot be carried out here", "unsupported", hint)
        _check_passthroughs(path, component, found)
    for cycle in graph.cycles(graph.component_graph(pipeline)):
        names = [name or "root" for name in cycle]
        message = f"components that contain themselves: {graph.describe_cycle(names)}"
        found.add("components", message, "recursive", "use a loop or a condition instead")


def loop_components(pipeline: Pipeline) -> frozenset[str]:
    """The names of components that some loop runs, directly or at any depth below."""
    inside = [
        task.component
        for _, component in each_component(pipeline)
        for task in (component.dag.tasks.values() if component.dag is not None else ())
        if task.parameter_iterator is not None or task.artifact_iterator is not None
    ]
    uses = graph.component_graph(pipeline)
    seen = set(inside)
    for name in inside:  # grows while it is read
        for other in uses.get(name, ()):
            if other not in seen:
                seen.add(other)
                inside.append(other)
    return frozenset(seen)


def _check_implementation(pipeline: Pipeline, path: str, component: Component, found: Findings) -> None:
    if path == "root":
        if component.dag is None:
            found.add("root.dag", "the pipeline has no DAG to run", "missing", "compile a @dsl.pipeline")
        return
    if component.dag is not None:
        return
    label = component.executor_label
    if not label:
        found.add(path, "has neither a dag nor an executorLabel, so there is nothing to run", "missing")
    elif label not in pipeline.executors and not _is_unsupported(pipeline, label):
        found.unknown(f"{path}.executorLabel", "executor", label, pipeline.executors, " in deploymentSpec.executors")


def _check_passthroughs(path: str, component: Component, found: Findings) -> None:
    for index, item in enumerate(component.task_config_passthroughs):
        at = f"{path}.taskConfigPassthroughs[{index}]"
        apply = item.get("applyToTask", item.get("apply_to_task"))
        if item.get("field", "NONE") not in _PASSTHROUGHS:
            found.unknown(f"{at}.field", "field of a task configuration", str(item.get("field")), _PASSTHROUGHS)
        if apply is not None and not isinstance(apply, bool):
            found.add(f"{at}.applyToTask", "expected true or false", "wrong-type")
        for name in item.keys() - {"field", "applyToTask", "apply_to_task"}:
            found.add(paths.child(at, name), "this field is not known", "unknown-field")


def _is_unsupported(pipeline: Pipeline, label: str) -> bool:
    """Whether the document has this executor, as something that cannot be run here (reported elsewhere)."""
    start = paths.child("deploymentSpec.executors", label)
    return any(path == start or path.startswith(f"{start}.") for path in pipeline.extras)


def _check_inputs(path: str, component: Component, found: Findings) -> None:
    for name, spec in component.inputs.parameters.items():
        at = paths.child(f"{path}.inputDefinitions.parameters", name)
        if spec.has_default and not (spec.default is None and spec.is_optional):
            mismatch = value_mismatch(spec.default, spec.type)
            if mismatch:
                hint = f"write a {spec.type.value}, or change the type to that of the {type_name(spec.default)}"
                found.add(f"{at}.defaultValue", mismatch, "wrong-type", hint)
            elif spec.literals and spec.default not in spec.literals:
                found.add(f"{at}.defaultValue", "is none of the literals", "invalid-value")
        for index, literal in enumerate(spec.literals):
            mismatch = value_mismatch(literal, spec.type)
            if mismatch:
                found.add(f"{at}.literals[{index}]", mismatch, "wrong-type")
