"""What is known of a run while it is watched: a tree of tasks made from the service's events. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlplatform.core.model import TaskKey
from mlplatform.core.states import RunState, TaskState


@dataclass(slots=True)
class Node:
    """One task or group. Times are seconds since the epoch. ``note`` says why it waits, or where its result is from."""

    key: TaskKey
    state: TaskState = TaskState.PENDING
    is_group: bool = False
    attempt: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    note: str = ""
    error: Mapping[str, Any] | None = None
    children: list[Node] = field(default_factory=list["Node"])

    @property
    def waits(self) -> bool:
        """Whether it is held back by something worth saying (resources, a retry that is not due)."""
        return self.state is TaskState.RETRYING or (self.state is TaskState.QUEUED and bool(self.note))

    @property
    def shown_state(self) -> str:
        """The state's word for glyph and colour."""
        return "WAITING" if self.state is TaskState.QUEUED and self.note else str(self.state)

    def seconds(self, now: float) -> float | None:
        """How long it has run, or ran; None if it has not begun."""
        if self.started_at is None or self.state is TaskState.CACHED:
            return None
        end = self.finished_at if self.state.finished and self.finished_at is not None else now
        return max(0.0, end - self.started_at)

    def leaves(self) -> Iterator[Node]:
        """The tasks in it that are no groups (itself, if it is none)."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            if not node.is_group:
                yield node
            stack.extend(reversed(node.children))

    @property
    def iterations(self) -> list[Node]:
        """Of a loop: its iterations, in order."""
        length = len(self.key.iteration) + 1
        found = [c for c in self.children if c.key.path == self.key.path and len(c.key.iteration) == length]
        return sorted(found, key=lambda child: child.key.iteration)


class Board:
    """The tree of one run. Feed it every event of ``LocalClient.watch``, in order."""

    def __init__(self, run_id: str, name: str = "") -> None:
        self.run_id = run_id
        self.name = name
        self.state = RunState.PENDING
        self.error: Mapping[str, Any] | None = None
        self.started_at: float | None = None
        self.changed_at: float = 0.0
        self.roots: list[Node] = []
        self._nodes: dict[TaskKey, Node] = {}

    def apply(self, event: Mapping[str, Any]) -> tuple[Node, TaskState | None] | None:
        """Take in one event. Returns the task it is about and the state it had before; None for one about the run."""
        self.changed_at = float(event["at"])
        body: Mapping[str, Any] = event["body"]
        if event["kind"] == "run":
            self.state = RunState(body["state"])
            self.error = body.get("error")
            if self.started_at is None:
                self.started_at = self.changed_at
            return None
        if event["kind"] != "task":
            return None
        key = TaskKey(tuple(str(body["name"]).split("/")), tuple(body.get("iteration") or ()))
        node = self._nodes.get(key)
        before = node.state if node is not None else None
        if node is None:
            node = self._add(key)
        node.is_group = bool(body.get("is_group")) or node.is_group
        node.state = TaskState(body["state"])
        node.attempt = int(body.get("attempt") or 0)
        node.started_at, node.finished_at = body.get("started_at"), body.get("finished_at")
        node.note = str(body.get("note") or "")
        node.error = body.get("error")
        return node, before

    def _add(self, key: TaskKey) -> Node:
        node = Node(key)
        self._nodes[key] = node
        siblings = self.roots
        for parent in _parents(key):
            if parent in self._nodes:
                siblings = self._nodes[parent].children
                break
        siblings.append(node)
        return node

    def leaves(self) -> Iterator[Node]:
        """Every task that is no group."""
        for root in self.roots:
            yield from root.leaves()

    def counts(self) -> Counter[TaskState]:
        """How many tasks (groups left out) are in each state."""
        return Counter(node.state for node in self.leaves())


def _parents(key: TaskKey) -> Iterator[TaskKey]:
    """Where a record may hang, nearest first: an iteration under its loop, a task under its iteration or group."""
    if key.iteration:
        yield TaskKey(key.path, key.iteration[:-1])
    path = key.path[:-1]
    while path:
        for length in range(len(key.iteration), -1, -1):
            yield TaskKey(path, key.iteration[:length])
        path = path[:-1]
