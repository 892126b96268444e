"""What can be said of a group by looking at it: its items, its end, whether it is clean-up work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from mlplatform.core.errors import PlanningError
from mlplatform.core.large import is_large, shown
from mlplatform.core.model import Artifact, TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import JsonValue, preview, whole_numbers
from mlplatform.ir.placeholders import Reference, RefKind
from mlplatform.planning.model import RunView
from mlplatform.planning.nodes import MAX_CULPRITS, Loop, Node, Scope
from mlplatform.planning.templates import RunContext, input_value, render_constant


def walk(root: Node) -> Iterator[Node]:
    """Every node that exists, parents first, in document order."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, (Scope, Loop)):
            stack.extend(reversed(node.children))


def given_to_root(view: RunView) -> Values:
    """The run's inputs; a null is an input that was not given."""
    parameters = {name: value for name, value in view.parameters.items() if value is not None}
    return Values(parameters, dict(view.artifacts))


def mark_started(leaf: Node) -> None:
    """An attempt of the leaf exists: it and everything it is in has begun."""
    for node in leaf.ancestors():
        if node.started:
            return
        node.started = True


def is_cleanup(leaf: Node) -> bool:
    """Whether it is, or is inside, the exit task of a group that had begun: it runs even in a cancelled run."""
    for node in leaf.ancestors():
        plan, scope = node.plan, node.parent
        if plan is None or not plan.is_exit or not isinstance(scope, Scope):
            continue
        if any(scope.children[before].started for before in plan.upstream):
            return True
    return False


# ---------------------------------------------------------------------- loops
def set_items(loop: Loop, context: RunContext) -> None:
    """Find what the loop goes over.

    Raises:
        PlanningError: there is no list.
    """
    task = loop.plan.task if loop.plan else None
    if task is None:
        raise AssertionError("a loop is a task")
    if task.artifact_iterator is not None:
        loop.item_input = task.artifact_iterator.item_input
        value = loop.inputs.artifacts.get(task.artifact_iterator.items_input)
        if value is None or isinstance(value, Artifact):
            found = "nothing" if value is None else "a single artifact"
            raise PlanningError(f"the loop goes over input {task.artifact_iterator.items_input!r}, which is {found}")
        loop.items = value
        return
    iterator = task.parameter_iterator
    if iterator is None:
        raise AssertionError("a loop has an iterator")
    loop.item_input = iterator.item_input
    if iterator.items_input:
        items = loop.inputs.parameters.get(iterator.items_input)
        loop.items = _list(items, f"input {iterator.items_input!r}")
    else:
        loop.items = _raw_items(iterator.items_raw, loop.inputs, context)


def _raw_items(raw: str, inputs: Values, context: RunContext) -> list[JsonValue]:
    """Items written in the document: JSON first, templates in its texts after, so that data cannot become syntax."""

    def resolve(reference: Reference) -> JsonValue:
        if reference.kind is RefKind.RUN:
            return context.field(reference.name)
        return input_value(reference, inputs)

    items = _list(raw, "its items")
    return [render_constant(item, resolve) for item in items] if "{{$" in raw else items


def _list(value: JsonValue, what: str) -> list[JsonValue]:
    if isinstance(value, str) and is_large(value):
        raise PlanningError(f"the loop goes over {what}, which is too large to be looked at: {shown(value)}")
    if isinstance(value, str):
        try:
            value = whole_numbers(cast(JsonValue, json.loads(value)))
        except (ValueError, RecursionError):
            raise PlanningError(f"the loop goes over {what}, which is no list: {preview(value)}") from None
    if not isinstance(value, list):
        found = "has no value" if value is None else f"is no list: {preview(value)}"
        raise PlanningError(f"the loop goes over {what}, which {found}")
    return cast("list[JsonValue]", value)


def iteration_inputs(loop: Loop, index: int) -> Values:
    """The loop's inputs and one item."""
    item: Any = loop.items[index]
    if isinstance(item, Artifact):
        return Values(loop.inputs.parameters, {**loop.inputs.artifacts, loop.item_input: item})
    if item is None:
        return loop.inputs
    return Values({**loop.inputs.parameters, loop.item_input: item}, loop.inputs.artifacts)


# ---------------------------------------------------------------------- ends
def conclude(group: Scope | Loop) -> tuple[TaskState, TaskError | None]:
    """The state of a group from those of everything in it, and why it is not SUCCEEDED.

    One failure is a failure, whether or not something later made up for it. Sets the group's culprits."""
    culprits: list[tuple[TaskKey, TaskError]] = []
    cancelled = False
    for child in group.children:
        cancelled = cancelled or child.state is TaskState.CANCELLED
        group.failed_count += child.failed_count
        if child.failed_count and len(culprits) < MAX_CULPRITS:
            culprits += child.culprits
    group.culprits = tuple(culprits[:MAX_CULPRITS])
    if cancelled:
        return TaskState.CANCELLED, TaskError("CANCELLED", "it was cancelled")
    if group.failed_count:
        return TaskState.FAILED, _summary(group)
    return TaskState.SUCCEEDED, None


def _summary(group: Node) -> TaskError:
    key, first = group.culprits[0]
    message = f"task {key} failed: {first.message}"
    if group.failed_count > 1:
        others = ", ".join(str(other) for other, _ in group.culprits[1:])
        left = group.failed_count - len(group.culprits)
        message = f"{group.failed_count} tasks failed ({key}, {others}{f' and {left} more' if left else ''}); {message}"
    return replace(first, message=message, traceback="")
