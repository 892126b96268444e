"""A pipeline's DAGs, prepared once: who waits for whom, in document order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mlplatform.core.errors import PlanningError
from mlplatform.core.values import JsonValue
from mlplatform.ir.model import ArtifactSource, Component, DagOutputs, ParameterSource, Pipeline, PipelineTask
from mlplatform.ir.model import TriggerStrategy as Strategy

#: The SDK names the group of a ``dsl.ExitHandler`` so; its exit task is the one that waits for it however it ends.
_EXIT_GROUP: Final = re.compile(r"exit-handler-\d+")


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a DAG.

    ``upstream`` and ``downstream`` are indices of tasks of the same DAG. ``always``: it runs however its upstream tasks
    ended. ``is_exit``: it is the exit task of a group, so it runs even in a cancelled run once that group had begun.
    ``constants`` are templates over the values of ``sources``.
    """

    index: int
    name: str
    task: PipelineTask
    component: Component
    upstream: tuple[int, ...]
    downstream: tuple[int, ...]
    always: bool
    is_exit: bool
    sources: tuple[tuple[str, ParameterSource], ...]
    constants: tuple[tuple[str, JsonValue], ...]
    artifacts: tuple[tuple[str, ArtifactSource], ...]

    @property
    def is_loop(self) -> bool:
        return self.task.parameter_iterator is not None or self.task.artifact_iterator is not None


@dataclass(frozen=True, slots=True)
class DagPlan:
    tasks: tuple[TaskPlan, ...]
    index: Mapping[str, int]
    outputs: DagOutputs


class Graph:
    """All DAGs that a pipeline can reach.

    Raises:
        PlanningError: a component, executor or producer is missing, or tasks or components form a cycle.
            (``ir.validate`` finds these too, with their places; this is the net below it.)
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._dags: dict[int, DagPlan] = {}
        if pipeline.root.dag is None:
            raise PlanningError(f"pipeline {pipeline.name!r} has no root DAG")
        self._prepare_all(pipeline.root)

    def dag(self, component: Component) -> DagPlan:
        """The plan of a component that is a DAG."""
        return self._dags[id(component)]

    def _prepare_all(self, root: Component) -> None:
        """Depth first without recursion; a component that contains itself would never end."""
        open_: dict[int, Component] = {}
        stack: list[tuple[Component, bool]] = [(root, False)]
        while stack:
            component, leaving = stack.pop()
            if leaving:
                del open_[id(component)]
                continue
            if id(component) in open_:
                raise PlanningError("a component contains itself, directly or through others")
            if id(component) in self._dags:
                continue
            plan = self._prepare(component)
            self._dags[id(component)] = plan
            open_[id(component)] = component
            stack.append((component, True))
            for task in plan.tasks:
                if task.component.dag is not None:
                    if id(task.component) in open_:
                        raise PlanningError(f"component {task.task.component!r} contains itself")
                    stack.append((task.component, False))

    def _prepare(self, component: Component) -> DagPlan:
        dag = component.dag
        if dag is None:
            raise AssertionError("only DAGs are prepared")
        index = {name: at for at, name in enumerate(dag.tasks)}
        upstream = [self._upstream(name, task, index) for name, task in dag.tasks.items()]
        downstream: list[list[int]] = [[] for _ in upstream]
        for at, before in enumerate(upstream):
            for producer in before:
                downstream[producer].append(at)
        _check_order(list(index), upstream, downstream)
        tasks = tuple(
            self._task(at, name, task, upstream[at], downstream[at])
            for at, (name, task) in enumerate(dag.tasks.items())
        )
        for selector in _selectors(dag.outputs):
            if selector not in index:
                raise PlanningError(f"an output comes from task {selector!r}, which does not exist")
        return DagPlan(tasks, index, dag.outputs)

    def _upstream(self, name: str, task: PipelineTask, index: Mapping[str, int]) -> tuple[int, ...]:
        names = list(task.dependent_tasks)
        names += [source.producer_task or source.final_status_of for source in task.parameters.values()]
        names += [source.producer_task for source in task.artifacts.values()]
        found: set[int] = set()
        for producer in filter(None, names):
            if producer not in index:
                raise PlanningError(f"task {name!r} depends on {producer!r}, which does not exist")
            found.add(index[producer])
        return tuple(sorted(found))

    def _task(
        self, at: int, name: str, task: PipelineTask, upstream: tuple[int, ...], downstream: list[int]
    ) -> TaskPlan:
        component = self._pipeline.components.get(task.component)
        if component is None:
            raise PlanningError(f"task {name!r} uses component {task.component!r}, which does not exist")
        if component.dag is None and component.executor_label not in self._pipeline.executors:
            raise PlanningError(f"component {task.component!r} has no executor {component.executor_label!r}")
        always = task.strategy is Strategy.ALL_UPSTREAM_TASKS_COMPLETED
        watches = any(source.final_status_of for source in task.parameters.values())
        after_group = any(_EXIT_GROUP.fullmatch(before) for before in task.dependent_tasks)
        return TaskPlan(
            index=at,
            name=name,
            task=task,
            component=component,
            upstream=upstream,
            downstream=tuple(downstream),
            always=always,
            is_exit=always and (watches or after_group),
            sources=tuple((key, source) for key, source in task.parameters.items() if not source.has_constant),
            constants=tuple((key, source.constant) for key, source in task.parameters.items() if source.has_constant),
            artifacts=tuple(task.artifacts.items()),
        )


def _selectors(outputs: DagOutputs) -> list[str]:
    producers = [selector.producer for output in outputs.parameters.values() for selector in output.selectors]
    producers += [selector.producer for output in outputs.artifacts.values() for selector in output.selectors]
    return producers


def _check_order(names: list[str], upstream: list[tuple[int, ...]], downstream: list[list[int]]) -> None:
    waiting = [len(before) for before in upstream]
    ready = [at for at, count in enumerate(waiting) if count == 0]
    done = 0
    while ready:
        done += 1
        for after in downstream[ready.pop()]:
            waiting[after] -= 1
            if waiting[after] == 0:
                ready.append(after)
    if done < len(names):
        stuck = ", ".join(name for name, count in zip(names, waiting, strict=True) if count)
        raise PlanningError(f"tasks wait for each other in a circle: {stuck}")
