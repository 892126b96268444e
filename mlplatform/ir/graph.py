"""The graph of a DAG's tasks, and of components that use components. Iterative and linear throughout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.ir.model import Dag, Pipeline, PipelineTask

#: For each task (or component) those it needs, in document order.
Graph = Mapping[str, Sequence[str]]


def upstream_names(task: PipelineTask) -> Iterator[str]:
    """The tasks that ``task`` names itself: dependencies, producers of its inputs, tasks whose final status it takes.

    Names may repeat, and in an unvalidated pipeline may not exist.
    """
    yield from task.dependent_tasks
    for source in task.parameters.values():
        if source.producer_task:
            yield source.producer_task
        elif source.final_status_of:
            yield source.final_status_of
    for artifact in task.artifacts.values():
        if artifact.producer_task:
            yield artifact.producer_task


def platform_producers(pipeline: Pipeline, executor_label: str) -> tuple[tuple[str, str], ...]:
    """(task, output parameter) pairs that the platform configuration of an executor takes values from.

    They stand beside the task in the same DAG: a claim's name that another task made, for instance.
    """
    found: list[tuple[str, str]] = []
    for platform in pipeline.platforms.values():
        spec = _entry(platform, "deploymentSpec", "deployment_spec")
        stack: list[Any] = [_entry(_entry(spec, "executors", "executors"), executor_label, executor_label)]
        while stack:
            node = stack.pop()
            if isinstance(node, Mapping):
                mapping = cast("Mapping[str, Any]", node)
                output = _entry(mapping, "taskOutputParameter", "task_output_parameter")
                task = _entry(output, "producerTask", "producer_task")
                key = _entry(output, "outputParameterKey", "output_parameter_key")
                if isinstance(task, str) and task:
                    found.append((task, key if isinstance(key, str) else ""))
                stack.extend(mapping.values())
            elif isinstance(node, list):
                stack.extend(cast("list[Any]", node))
    return tuple(dict.fromkeys(found))


def _entry(mapping: Any, name: str, other: str) -> Any:
    if not isinstance(mapping, Mapping):
        return None
    entries = cast("Mapping[str, Any]", mapping)
    return entries.get(name, entries.get(other))


def dependencies(dag: Dag, pipeline: Pipeline | None = None) -> dict[str, tuple[str, ...]]:
    """For each task of ``dag`` the tasks of the same DAG it waits for, without repetition.

    With ``pipeline`` also those its executor's platform configuration takes values from. Names that are not tasks of
    the DAG are left out (the validator reports them).
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, task in dag.tasks.items():
        names = list(upstream_names(task))
        if pipeline is not None and pipeline.platforms:
            component = pipeline.components.get(task.component)
            if component is not None and component.executor_label:
                names += [producer for producer, _ in platform_producers(pipeline, component.executor_label)]
        found[name] = tuple(name for name in dict.fromkeys(names) if name in dag.tasks)
    return found


def dependents(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The graph with its edges turned around: for each task those that wait for it."""
    found: dict[str, list[str]] = {name: [] for name in graph}
    for name, upstream in graph.items():
        for other in upstream:
            found[other].append(name)
    return {name: tuple(names) for name, names in found.items()}


def topological_order(graph: Graph) -> tuple[str, ...]:
    """Every task after those it waits for; among equals in document order.

    Raises:
        InvalidPipeline: the graph has a cycle; one finding for each.
    """
    waiting = {name: len(set(upstream)) for name, upstream in graph.items()}
    followers = dependents({name: tuple(dict.fromkeys(upstream)) for name, upstream in graph.items()})
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows while it is read
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if len(ready) < len(graph):
        found = [Finding("", f"a cycle: {describe_cycle(cycle)}", "cycle") for cycle in cycles(graph)]
        raise InvalidPipeline("Tasks wait for each other.", findings=found)
    return tuple(ready)


def cycles(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """One cycle for each group of tasks that wait for each other, starting with the group's first in the document."""
    position = {name: index for index, name in enumerate(graph)}
    found = [_one_cycle(graph, group, position) for group in _components(graph)]
    return tuple(sorted(found, key=lambda cycle: position[cycle[0]]))


def describe_cycle(cycle: Sequence[str], limit: int = 12) -> str:
    """``a -> b -> a``: a waits for b, and b for a."""
    shown = [*cycle, cycle[0]]
    if len(shown) > limit:
        shown = [*shown[: limit - 2], "...", shown[-1]]
    return " -> ".join(shown)


def _components(graph: Graph) -> list[list[str]]:
    """Strongly connected components with a cycle in them (Tarjan's algorithm with its own stack)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    found: list[list[str]] = []
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work: list[tuple[str, Iterator[str]]] = [(root, iter(graph[root]))]
        while work:
            name, upstream = work[-1]
            following = next(upstream, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = _last_index(stack, name)
                    group = stack[at:]
                    del stack[at:]
                    on_stack.difference_update(group)
                    if len(group) > 1 or name in graph[name]:
                        found.append(group)
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(graph[following])))
            elif following in on_stack:
                low[name] = min(low[name], index[following])
    return found


def _last_index(stack: list[str], name: str) -> int:
    at = len(stack) - 1
    while stack[at] != name:
        at -= 1
    return at


def _one_cycle(graph: Graph, group: list[str], position: Mapping[str, int]) -> tuple[str, ...]:
    """A shortest cycle through the first task of a strongly connected group."""
    members = set(group)
    start = min(group, key=lambda name: position[name])
    came_from: dict[str, str] = {}
    queue = [start]
    for name in queue:  # grows while it is read
        for following in graph[name]:
            if following == start:
                path = [name]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return tuple(reversed(path))
            if following in members and following not in came_from:
                came_from[following] = name
                queue.append(following)
    return tuple(group)


def component_graph(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """For each component the components its tasks run; the root pipeline is ``""``. Missing ones are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, component in (("", pipeline.root), *pipeline.components.items()):
        tasks = component.dag.tasks.values() if component.dag is not None else ()
        used = dict.fromkeys(task.component for task in tasks)
        found[name] = tuple(other for other in used if other in pipeline.components)
    return found
