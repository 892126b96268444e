"""The pipeline that is being recorded: a tree of groups with tasks in it."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mlplatform.core.errors import InvalidPipeline
from mlplatform.sdk.define.naming import kebab, unique
from mlplatform.sdk.define.where import user_line


class Node:
    """A task or a group of tasks; ``name`` is unique in the pipeline."""

    def __init__(self, name: str = "", display_name: str = "") -> None:
        self._name = name
        self._display_name = display_name
        self._parent: Group | None = None

    def _path(self) -> list[Node]:
        """From the root to this."""
        return [*(self._parent._path() if self._parent else ()), self]


class Group(Node):
    """Tasks and groups in the order they were written. The root group is the pipeline itself."""

    def __init__(self, name: str = "", display_name: str = "") -> None:
        super().__init__(name, display_name)
        self._nodes: list[Node] = []

    def _add(self, node: Node) -> None:
        node._parent = self
        self._nodes.append(node)


class Recording:
    """One pipeline function being run to see what it does.

    Attributes:
        root: the pipeline.
        formatting: whether text made of placeholders is allowed (kfp's pipelines compile it; a user of ours who
            formats a value that is not there yet has made a mistake).
        values: constants of the pipeline function that are Python objects and no JSON: name of the root artifact
            input -> object.
    """

    def __init__(self, name: str, *, formatting: bool) -> None:
        self.root = Group(name)
        self.formatting = formatting
        self.stack: list[Group] = [self.root]
        self.tasks: dict[str, Node] = {}
        self.channels: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.exit_tasks: list[tuple[Group, Any]] = []
        self._groups = 0

    @property
    def group(self) -> Group:
        return self.stack[-1]

    def add_task(self, task: Node, wanted: str) -> None:
        task._name = unique(kebab(wanted), self.tasks) or unique("task", self.tasks)
        self.tasks[task._name] = task
        self.group._add(task)

    def next_number(self) -> int:
        self._groups += 1
        return self._groups

    def push(self, group: Group) -> None:
        self.group._add(group)
        self.stack.append(group)

    def pop(self) -> None:
        self.stack.pop()


_current: ContextVar[Recording | None] = ContextVar("mlplatform_recording", default=None)


def current() -> Recording | None:
    """What is being recorded here, or None outside of a pipeline function."""
    return _current.get()


def recording(what: str) -> Recording:
    """Raises InvalidPipeline outside of a pipeline function."""
    found = _current.get()
    if found is None:
        raise InvalidPipeline(
            f"{what} belongs into a pipeline function ({user_line()}).",
            hint="Put it into a function decorated with @ml.pipeline (or @dsl.pipeline).",
        )
    return found


@contextmanager
def record(name: str, *, formatting: bool) -> Generator[Recording]:
    """Record what happens inside."""
    found = Recording(name, formatting=formatting)
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


@contextmanager
def nothing_recorded() -> Generator[None]:
    """Code inside runs as plain Python, whatever is around it."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
