"""Control flow of pipelines: conditions, loops, exit handlers."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.channels import Comparison, LoopField, LoopItem, as_channel, list_item
from mlplatform.sdk.define.scope import Group
from mlplatform.sdk.define.tasks import Task
from mlplatform.sdk.define.types import type_of_value
from mlplatform.sdk.define.where import user_line


class TaskGroup(Group):
    """Used with ``with``; ``kind`` is what its name begins with."""

    kind = ""

    def __init__(self, name: str | None = None) -> None:
        super().__init__("", name or "")
        self._recording = scope.recording(f"dsl.{type(self).__name__}")

    def __enter__(self) -> Any:
        self._name = f"{self.kind}-{self._recording.next_number()}"
        self._recording.push(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._recording.pop()


class Branches(Group):
    """What If, Elif and Else of one decision are in."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._one_ofs = 0
        self._has_else = False


class _Condition(TaskGroup):
    kind = "condition"

    def __init__(self, conditions: list[Comparison], name: str | None) -> None:
        super().__init__(name)
        self._conditions = conditions
        self._otherwise: list[Comparison] = []


class If(_Condition):
    """``with dsl.If(acc.output > 0.9):`` tasks inside run if it holds. ``name`` is for display."""

    def __init__(self, condition: Any, name: str | None = None) -> None:
        checked = _checked(condition)
        super().__init__([checked], name)
        self._otherwise = [checked.negate()]


class Condition(If):
    """The older name of :class:`If`."""


class Elif(_Condition):
    """``with dsl.Elif(...):`` after an If or Elif."""

    def __init__(self, condition: Any, name: str | None = None) -> None:
        before = _before("Elif")
        checked = _checked(condition)
        super().__init__([*before._otherwise, checked], name)
        self._otherwise = [*before._otherwise, checked.negate()]
        self._before = before

    def __enter__(self) -> Any:
        _branch(self._recording, self._before)
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
        self._recording.pop()


class Else(_Condition):
    """``with dsl.Else():`` after an If or Elif."""

    def __init__(self, name: str | None = None) -> None:
        before = _before("Else")
        super().__init__(list(before._otherwise), name)
        self._before = before

    def __enter__(self) -> Any:
        _branch(self._recording, self._before)
        branches = self._recording.group
        assert isinstance(branches, Branches)
        branches._has_else = True
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
        self._recording.pop()


def _checked(condition: Any) -> Comparison:
    if isinstance(condition, Comparison):
        return condition
    if as_channel(condition) is not None:
        raise InvalidPipeline(
            f"dsl.If takes a comparison, not a bare output ({user_line()}).",
            hint="Write dsl.If(task.output == True), or compare with the value it must have.",
        )
    raise InvalidPipeline(
        f"dsl.If was given {condition!r}, which is already decided while the pipeline is compiled ({user_line()}).",
        hint="Compare an output or a pipeline parameter: dsl.If(task.output == 'yes').",
    )


def _before(word: str) -> _Condition:
    """The If or Elif that an Elif or Else continues."""
    nodes = scope.recording(f"dsl.{word}").group._nodes
    last = nodes[-1] if nodes else None
    if isinstance(last, Branches) and not last._has_else:
        last = last._nodes[-1]
    if isinstance(last, (If, Elif)):
        return last
    raise InvalidPipeline(
        f"dsl.{word} must come right after a dsl.If or dsl.Elif ({user_line()}).",
        hint="Put it directly after that `with` block, with no task between.",
    )


def _branch(recording: scope.Recording, before: _Condition) -> None:
    """Go into the group of the decision; made around the If when its first Elif or Else comes."""
    parent = before._parent
    if isinstance(parent, Branches):
        recording.stack.append(parent)
        return
    assert parent is not None
    number = before._name.rpartition("-")[2]
    branches = Branches(f"condition-branches-{number}")
    before._name = f"condition-{recording.next_number()}"
    parent._nodes[-1] = branches
    branches._parent = parent
    branches._add(before)
    recording.stack.append(branches)


class ParallelFor(TaskGroup):
    """``with dsl.ParallelFor(items) as item:`` tasks inside run once for each item.

    Args:
        items: a list, or an output or parameter that is one.
        name: for display.
        parallelism: how many at a time; 0 or None: no limit.
    """

    kind = "for-loop"

    def __init__(self, items: Any, name: str | None = None, parallelism: int | None = None) -> None:
        super().__init__(name)
        if (parallelism or 0) < 0:
            raise InvalidPipeline(
                f"dsl.ParallelFor: parallelism is {parallelism}, it must not be negative ({user_line()})."
            )
        self._parallelism = parallelism or 0
        self._items = as_channel(items)
        self._raw = ""
        if self._items is not None:
            type_ = self._items._type
            if type_.parameter is None and not type_.is_list:
                raise _no_list(f"one artifact ({self._items._what()})")
            if (
                type_.parameter is not None
                and type_.parameter.value != "LIST"
                and not isinstance(self._items, (LoopItem, LoopField))
            ):
                raise _no_list(f"{self._items._what()}, which is {type_.words}")
            key = f"{self._items._key}-loop-item"
            self._item = LoopItem(key, list_item(type_), self, self._items._producer)
            return
        found = list(cast("list[Any]", items)) if isinstance(items, (list, tuple)) else None
        if found is None:
            raise _no_list(f"{type(cast(Any, items)).__name__} {items!r}")
        if not found:
            raise InvalidPipeline(f"dsl.ParallelFor was given an empty list ({user_line()}).")
        for value in found:
            if type_of_value(value) is None:
                raise _no_list(f"a list with {type(value).__name__} in it")
        self._raw = json.dumps(found, sort_keys=True)
        first = type_of_value(found[0])
        assert first is not None
        self._item = LoopItem(f"loop-item-param-{self._recording.next_number()}", first, self, None)

    def __enter__(self) -> Any:
        super().__enter__()
        return self._item


def _no_list(given: str) -> InvalidPipeline:
    return InvalidPipeline(
        f"dsl.ParallelFor loops over a list, not over {given} ({user_line()}).",
        hint="Give a list of numbers, texts or dicts, or an output or parameter annotated as list.",
    )


class ExitHandler(TaskGroup):
    """``with dsl.ExitHandler(cleanup()):`` the exit task runs when the tasks inside ended, however they ended."""

    kind = "exit-handler"

    def __init__(self, exit_task: Any, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(exit_task, Task):
            raise InvalidPipeline(
                f"dsl.ExitHandler takes the exit task ({user_line()}).", hint="Write dsl.ExitHandler(cleanup())."
            )
        late = [
            value
            for value in exit_task._arguments.values()
            if (found := as_channel(value)) is not None and found._producer
        ]
        if late or exit_task._after:
            raise InvalidPipeline(
                f"The exit task {exit_task.name!r} cannot depend on other tasks ({user_line()}).",
                hint="Give it constants and pipeline parameters only; how the tasks ended it gets by an argument "
                "annotated PipelineTaskFinalStatus.",
            )
        if self._recording.group is not self._recording.root:
            raise InvalidPipeline(f"dsl.ExitHandler belongs to the outermost level of a pipeline ({user_line()}).")
        self._exit_task = exit_task
        parent = exit_task._parent
        if parent is not None:
            parent._nodes.remove(next(node for node in parent._nodes if node is exit_task))
        self._recording.exit_tasks.append((self, exit_task))
