"""The running pipeline as a tree: scopes (DAG instances), loops and leaves. Data only; ``planner`` moves it."""

from __future__ import annotations

from collections.abc import Iterator

from mlplatform.core.model import NO_VALUES, TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import JsonValue
from mlplatform.ir.model import Component, RetryPolicy
from mlplatform.planning.graph import DagPlan, TaskPlan

#: Where a node stands in the document, outermost first: task indices and iteration indices. Sorting by it makes
#: every choice and every message independent of the order in which tasks happened to end.
Order = tuple[int, ...]

#: How many root causes a group names; a thousand failed iterations need no thousand lines.
MAX_CULPRITS = 3


class Node:
    """Anything with a state.

    Attributes:
        waiting: upstream tasks that have not ended.
        tainted: it was skipped because something before it failed (not by a false condition).
        started: an attempt of it, or of a leaf inside it, was started.
        culprits: the first failed leaves (or groups that failed on their own) below, in document order.
        failed_count: how many there are.
    """

    __slots__ = (
        "component",
        "culprits",
        "error",
        "failed_count",
        "inputs",
        "key",
        "note",
        "order",
        "outputs",
        "parent",
        "plan",
        "started",
        "state",
        "tainted",
        "waiting",
    )

    def __init__(
        self, key: TaskKey, order: Order, plan: TaskPlan | None, component: Component, parent: Scope | Loop | None
    ) -> None:
        self.key = key
        self.order = order
        self.plan = plan
        self.component = component
        self.parent = parent
        self.waiting = 0
        self.state = TaskState.PENDING
        self.inputs: Values = NO_VALUES
        self.outputs: Values = NO_VALUES
        self.error: TaskError | None = None
        self.note = ""
        self.tainted = False
        self.started = False
        self.culprits: tuple[tuple[TaskKey, TaskError], ...] = ()
        self.failed_count = 0

    @property
    def name(self) -> str:
        return self.key.path[-1] if self.key.path else "the run"

    @property
    def component_name(self) -> str:
        return self.plan.task.component if self.plan else ""

    def ancestors(self) -> Iterator[Node]:
        """The node itself, then what it is in, innermost first."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Leaf(Node):
    """A task that an executor runs.

    ``attempt`` is the highest attempt issued. ``queued``: ready, its next attempt may start. ``due``: when the next
    attempt may start (a failed one waits). ``last_error`` is that of the last failed attempt.
    """

    __slots__ = ("attempt", "due", "failures", "last_error", "queued", "retry")

    def __init__(
        self,
        key: TaskKey,
        order: Order,
        plan: TaskPlan,
        component: Component,
        parent: Scope | Loop,
        retry: RetryPolicy | None,
    ) -> None:
        super().__init__(key, order, plan, component, parent)
        self.retry = retry
        self.attempt = 0
        self.failures = 0
        self.queued = False
        self.due: float | None = None
        self.last_error: TaskError | None = None


class Scope(Node):
    """A DAG instance: the root, a sub-pipeline, a condition, an exit handler's group, or one iteration of a loop.

    ``retry`` is the policy its leaves inherit where they have none of their own.
    """

    __slots__ = ("children", "dag", "remaining", "retry")

    def __init__(
        self,
        key: TaskKey,
        order: Order,
        plan: TaskPlan | None,
        component: Component,
        parent: Scope | Loop | None,
        dag: DagPlan,
        retry: RetryPolicy | None,
    ) -> None:
        super().__init__(key, order, plan, component, parent)
        self.dag = dag
        self.retry = retry
        self.children: list[Node] = []
        self.remaining = 0

    def child(self, name: str) -> Node:
        return self.children[self.dag.index[name]]


class Loop(Node):
    """A loop. Iterations exist once they have begun: at most ``limit`` (0: all) are unfinished at any time."""

    __slots__ = ("active", "children", "item_input", "items", "limit", "remaining", "retry")

    def __init__(
        self,
        key: TaskKey,
        order: Order,
        plan: TaskPlan,
        component: Component,
        parent: Scope | Loop,
        retry: RetryPolicy | None,
    ) -> None:
        super().__init__(key, order, plan, component, parent)
        self.retry = retry
        self.items: list[JsonValue] | tuple[object, ...] = ()
        self.item_input = ""
        self.limit = plan.task.parallelism_limit
        self.children: list[Node] = []
        self.active = 0
        self.remaining = 0
