"""Actions about nodes."""

from __future__ import annotations

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import TaskError
from mlplatform.core.states import TaskState
from mlplatform.planning.model import RecordTask, StartTask
from mlplatform.planning.nodes import Leaf, Node


def start(leaf: Leaf, *, importer: bool) -> StartTask:
    """Start the leaf's current attempt. What an importer brings in is looked at each time, never reused."""
    caching = leaf.plan.task.caching if leaf.plan else None
    return StartTask(
        key=leaf.key,
        attempt=leaf.attempt,
        component=leaf.component_name,
        executor=leaf.component.executor_label,
        inputs=leaf.inputs,
        cache_enabled=bool(caching and caching.enable_cache and not importer),
        cache_key=caching.cache_key if caching else "",
    )


def begun(group: Node) -> RecordTask:
    """A group began."""
    return RecordTask(group.key, TaskState.RUNNING, group.component_name, is_group=True, inputs=group.inputs)


def ended(node: Node) -> RecordTask:
    """A node has its final state."""
    return RecordTask(
        key=node.key,
        state=node.state,
        component=node.component_name,
        is_group=not isinstance(node, Leaf),
        inputs=node.inputs,
        outputs=node.outputs,
        error=node.error,
        note=node.note,
    )


def retrying(leaf: Leaf, at: float) -> RecordTask:
    """A failed leaf waits for its next attempt."""
    return RecordTask(
        leaf.key, TaskState.RETRYING, leaf.component_name, inputs=leaf.inputs, error=leaf.last_error, retry_at=at
    )


def unresolvable(error: PlanningError | RecursionError) -> TaskError:
    """Why something could not be resolved, as a task's error."""
    if isinstance(error, RecursionError):
        return TaskError(PlanningError.code, "a value is nested too deeply to be passed on")
    return TaskError(error.code, error.message, hint=error.hint)
