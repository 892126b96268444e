"""What the checks of one DAG work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlplatform.core.values import ParameterType
from mlplatform.ir import paths
from mlplatform.ir.findings import Findings
from mlplatform.ir.model import Component, Dag, Pipeline, PipelineTask

#: Says what is wrong with a CEL expression, or None.
CheckExpression = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class DagScope:
    """A DAG being checked. ``in_loop``: it stands inside a loop, at any depth, where declared types are looser."""

    pipeline: Pipeline
    component: Component
    dag: Dag
    path: str
    in_loop: bool
    found: Findings
    check_expression: CheckExpression | None

    def component_of(self, task: str) -> Component | None:
        spec = self.dag.tasks.get(task)
        return self.pipeline.components.get(spec.component) if spec is not None else None

    def task_path(self, name: str) -> str:
        return paths.child(f"{self.path}.tasks", name)


def is_loop(task: PipelineTask) -> bool:
    return task.parameter_iterator is not None or task.artifact_iterator is not None


def output_type(scope: DagScope, producer: str, key: str) -> ParameterType | None:
    """The type of a task's output parameter as the tasks beside it see it; None if it is not to be relied on.

    A loop gives a list of what its component gives. KFP also declares outputs of conditions beside a loop as LIST
    when they are none, so LIST says nothing about what another DAG gives.
    """
    task = scope.dag.tasks.get(producer)
    component = scope.component_of(producer)
    if task is None or component is None or key not in component.outputs.parameters:
        return None
    if is_loop(task):
        return ParameterType.LIST
    declared = component.outputs.parameters[key].type
    return None if component.dag is not None and declared is ParameterType.LIST else declared
