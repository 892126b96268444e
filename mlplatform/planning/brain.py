"""A planner as others look at it: what should run by now, and a record of every task and group.

The controller of a cluster keeps one for each run, as a cache; whoever reads a run's status from the cluster builds one
to see the groups, skips and inputs that the status does not hold. Built at once from all facts or fed one by one, it
says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlplatform.core.model import TaskKey, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.core.values import JsonValue
from mlplatform.ir.model import ImporterExecutor, Pipeline
from mlplatform.planning import actions, groups
from mlplatform.planning.model import Decision, FinishRun, Limits, RunView, StartTask, TaskFact
from mlplatform.planning.nodes import Leaf, Node
from mlplatform.planning.planner import Planner


@dataclass(frozen=True, slots=True)
class Given:
    """What a run was started with."""

    run_id: str
    parameters: Mapping[str, JsonValue]


class Brain:
    """One run. Everything it says is of the moment of the last :meth:`take`.

    Attributes:
        finish: how the run ended, None while it lives.
        wake_at: when a retry becomes due.
        facts: the last fact of each task.
    """

    def __init__(self, pipeline: Pipeline, view: RunView, limits: Limits, now: float) -> None:
        """Raises PlanningError: the pipeline is not one that ``ir.validate`` accepts."""
        self.pipeline = pipeline
        self.run = Given(view.run_id, view.parameters)
        self.finish: FinishRun | None = None
        self.wake_at: float | None = None
        self.facts: dict[TaskKey, TaskFact] = dict(view.tasks)
        self._cancelled = view.cancel_requested
        self._planner = Planner(pipeline, view, limits)
        self._nodes: dict[TaskKey, Node] = {}
        self._follow(self._planner.advance((), now))

    @property
    def ledger(self) -> Brain:
        """Where records are found (``planning.sources``)."""
        return self

    def take(self, facts: Mapping[TaskKey, TaskFact], now: float, *, cancel: bool = False) -> None:
        """Take in what is known by now: all of it, or only what is new."""
        new = {key: fact for key, fact in facts.items() if self.facts.get(key) != fact}
        self.facts |= new
        self._follow(self._planner.advance(new.values(), now))
        if cancel and not self._cancelled:
            self._cancelled = True
            self._follow(self._planner.cancel(now))

    def _follow(self, decision: Decision) -> None:
        for action in decision.actions:
            if isinstance(action, FinishRun):
                self.finish = action
        self.wake_at = decision.wake_at
        root = self._planner.root
        self._nodes = {node.key: node for node in groups.walk(root) if node.key.path} if root else {}

    # ------------------------------------------------------------------ what should run
    def running(self) -> Iterator[StartTask]:
        """Attempts that should be running by now, in document order."""
        for leaf in self._leaves():
            if leaf.state is TaskState.RUNNING:
                executor = self.pipeline.executors[leaf.component.executor_label]
                yield actions.start(leaf, importer=isinstance(executor, ImporterExecutor))

    def to_stop(self, key: TaskKey) -> bool:
        """Whether a running attempt of this task is to be stopped: the run is cancelled, and it is no clean-up."""
        node = self._nodes.get(key)
        return self._cancelled and node is not None and not groups.is_cleanup(node)

    def _leaves(self) -> Iterator[Leaf]:
        return (node for node in self._nodes.values() if isinstance(node, Leaf))

    # ------------------------------------------------------------------ records
    def states(self) -> dict[TaskKey, TaskState]:
        """The state of every task that exists by now, groups left out."""
        return {leaf.key: _state(leaf) for leaf in self._leaves()}

    def get(self, key: TaskKey) -> TaskRecord | None:
        """What is known of a task or group."""
        node = self._nodes.get(key)
        return None if node is None else self._record(node)

    def records(self) -> list[TaskRecord]:
        """Every task, group and iteration that exists by now, parents first, in document order."""
        return [self._record(node) for node in self._nodes.values()]

    def _record(self, node: Node) -> TaskRecord:
        fact = self.facts.get(node.key)
        attempt, failures, error, due = 0, 0, node.error, None
        if isinstance(node, Leaf):
            attempt, failures, due = node.attempt, node.failures, node.due
            error = node.error or node.last_error
        ended = node.state.finished
        return TaskRecord(
            key=node.key,
            state=_state(node),
            component=node.component_name,
            is_group=not isinstance(node, Leaf),
            attempt=attempt,
            failures=failures,
            inputs=node.inputs,
            outputs=node.outputs,
            error=error,
            finished_at=fact.finished_at if fact is not None and ended else None,
            retry_at=due,
            cache_note=node.note if ended else "",
            waiting_for="" if ended else node.note,
        )


def _state(node: Node) -> TaskState:
    if node.state is TaskState.PENDING and isinstance(node, Leaf):
        if node.due is not None or (node.queued and node.last_error is not None):
            return TaskState.RETRYING
        return TaskState.QUEUED if node.queued else TaskState.PENDING
    return node.state
