"""A pipeline as nodes and edges for drawing. Pure: the document alone decides.

Groups (sub-pipelines, conditions, loops) are nodes with children. Edges stand between nodes of one group, as the
document has them: what a group's inside needs from outside is an edge to the group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mlplatform.core.values import preview
from mlplatform.ir.graph import dependencies
from mlplatform.ir.model import Component, Dag, ImporterExecutor, Pipeline, PipelineTask

_EXIT_GROUP: Final = re.compile(r"exit-handler-\d+")
#: More nodes than this are no picture any more; the table shows them.
NODE_LIMIT: Final = 20_000


@dataclass(frozen=True, slots=True)
class GraphNode:
    """``node_id``: the path of task keys; ``kind``: task, importer, notebook, dag, condition, loop or exit."""

    node_id: str
    name: str
    kind: str
    parent: str
    component: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GraphEdge:
    source: str
    target: str
    labels: tuple[str, ...] = ()


def pipeline_graph(pipeline: Pipeline) -> tuple[list[GraphNode], list[GraphEdge]]:
    """All nodes, parents before their children, and all edges."""
    nodes: list[GraphNode] = []
    edges: list[GraphEdge] = []
    stack: list[tuple[str, Component]] = [("", pipeline.root)]
    while stack and len(nodes) < NODE_LIMIT:
        parent, component = stack.pop()
        if component.dag is None:
            continue
        inside: list[tuple[str, Component]] = []
        for key, task in component.dag.tasks.items():
            path = f"{parent}/{key}" if parent else key
            used = pipeline.components.get(task.component)
            if used is None:
                continue
            nodes.append(_node(pipeline, path, parent, key, task, used))
            if used.dag is not None:
                inside.append((path, used))
        edges += _edges(pipeline, parent, component.dag)
        stack += reversed(inside)
    known = {node.node_id for node in nodes}
    return nodes, [edge for edge in edges if edge.source in known and edge.target in known]


def _node(pipeline: Pipeline, path: str, parent: str, key: str, task: PipelineTask, used: Component) -> GraphNode:
    kind, detail = _kind(pipeline, key, task, used)
    return GraphNode(path, task.name or key, kind, parent, task.component, detail)


def _kind(pipeline: Pipeline, key: str, task: PipelineTask, used: Component) -> tuple[str, str]:
    if task.parameter_iterator is not None:
        items = task.parameter_iterator.items_raw or task.parameter_iterator.items_input
        return "loop", f"for each of {preview(items, 120)}" if items else ""
    if task.artifact_iterator is not None:
        return "loop", f"for each of {task.artifact_iterator.items_input}"
    if used.dag is not None:
        if task.condition:
            return "condition", task.condition
        return ("exit" if _EXIT_GROUP.fullmatch(key) else "dag"), ""
    executor = pipeline.executors.get(used.executor_label)
    if isinstance(executor, ImporterExecutor):
        return "importer", executor.uri
    return "task", task.condition


def _edges(pipeline: Pipeline, parent: str, dag: Dag) -> list[GraphEdge]:
    prefix = f"{parent}/" if parent else ""
    return [
        GraphEdge(prefix + source, prefix + target, tuple(_labels(dag.tasks[target], source)))
        for target, upstream in dependencies(dag, pipeline).items()
        for source in upstream
    ]


def _labels(task: PipelineTask, producer: str) -> list[str]:
    names = [source.output_parameter for source in task.parameters.values() if source.producer_task == producer]
    names += [source.output_artifact for source in task.artifacts.values() if source.producer_task == producer]
    return list(dict.fromkeys(name for name in names if name))
