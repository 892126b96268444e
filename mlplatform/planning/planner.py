"""The planner: a pure state machine from facts about leaf tasks to actions.

:class:`Planner` holds the run as a tree of scopes, loops and leaves (:mod:`mlplatform.planning.nodes`) and does work
only for what a new fact touches. A planner built anew from all facts arrives in the same state as one that saw them one
by one, in whatever order: every choice (which iteration begins, which ready task is next under a limit, which failure
is named) goes by the place in the document, never by the order of events. No clock, no randomness, no input or output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import TaskError, TaskKey, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.model import ImporterExecutor, Pipeline, RetryPolicy
from mlplatform.planning import actions, groups
from mlplatform.planning.cel import evaluate
from mlplatform.planning.graph import Graph, TaskPlan
from mlplatform.planning.inputs import complete, gather
from mlplatform.planning.line import Line
from mlplatform.planning.model import (
    Action,
    CancelTask,
    Decision,
    FinishRun,
    Limits,
    RunView,
    TaskFact,
)
from mlplatform.planning.nodes import Leaf, Loop, Node, Order, Scope
from mlplatform.planning.outputs import check_run_outputs, collected, scope_outputs
from mlplatform.planning.retries import may_retry, retry_at
from mlplatform.planning.templates import RunContext

#: What a value, condition or loop may be wrong with. A value can be nested deeper than Python can follow.
_UNRESOLVABLE: Final = (PlanningError, RecursionError)

_ENDED_LEAF: Final = frozenset({TaskState.SUCCEEDED, TaskState.CACHED, TaskState.CANCELLED})


class Planner:
    """Plans one run.

    Raises:
        PlanningError: the pipeline is not one that ``ir.validate`` accepts.
    """

    def __init__(self, pipeline: Pipeline, view: RunView, limits: Limits) -> None:
        self._pipeline = pipeline
        self._graph = Graph(pipeline)
        self._view = view
        self._facts = dict(view.tasks)
        self._leaves: dict[TaskKey, Leaf] = {}
        self._root: Scope | None = None
        self._ready: list[Node] = []
        self._line = Line(limits.max_running)
        self._cancelling = False
        self._finished = False
        self._now = 0.0
        self._actions: list[Action] = []

    # ------------------------------------------------------------------ the two questions
    def advance(self, facts: Iterable[TaskFact], now: float) -> Decision:
        """Take in what happened and say what to do.

        Args:
            facts: new or repeated facts, in any order. One of a task that is not known yet is kept until it is.
            now: seconds since the epoch; only retries look at it.
        """
        self._now = now
        self._open()
        for fact in facts:
            leaf = self._leaves.get(fact.key)
            if leaf is None:
                self._facts[fact.key] = fact
            elif not leaf.state.finished and fact.attempt >= leaf.attempt:
                self._apply(leaf, fact)
        self._settle()
        return self._decision()

    def cancel(self, now: float) -> Decision:
        """Stop the run: running leaves are to be cancelled and nothing new starts, except exit tasks whose group had
        begun and what is inside them. Idempotent."""
        self._now = now
        self._open()
        self._stop()
        self._settle()
        return self._decision()

    @property
    def root(self) -> Scope | None:
        """The run as a tree, to look at; None before the first question."""
        return self._root

    def states(self) -> dict[TaskKey, TaskState]:
        """The state of every task, group and iteration that exists by now (what a group that never began holds does
        not)."""
        return {node.key: node.state for node in groups.walk(self._root) if node.key.path} if self._root else {}

    # ------------------------------------------------------------------ opening and closing the run
    def _open(self) -> None:
        if self._root is not None:
            return
        component = self._pipeline.root
        root = Scope(TaskKey(()), (), None, component, None, self._graph.dag(component), None)
        root.state = TaskState.RUNNING
        self._root = root
        given = groups.given_to_root(self._view)
        try:
            root.inputs = complete(component, given, strict=True)
        except _UNRESOLVABLE as error:
            self._end(root, TaskState.FAILED, actions.unresolvable(error))
            return
        self._begin_scope(root)
        self._settle()
        if self._view.cancel_requested:
            self._stop()

    def _stop(self) -> None:
        if self._cancelling or self._finished:
            return
        self._cancelling = True
        for leaf in [leaf for leaf in self._leaves.values() if not leaf.state.finished]:
            if groups.is_cleanup(leaf):
                continue
            if leaf.state is TaskState.RUNNING:
                self._actions.append(CancelTask(leaf.key))
            elif leaf.queued or leaf.due is not None:
                self._give_up(leaf)
        self._settle()

    def _give_up(self, leaf: Leaf) -> None:
        """A leaf that waits for an attempt in a cancelled run: what its last attempt said stays true."""
        if leaf.last_error is not None:
            self._end(leaf, TaskState.FAILED, leaf.last_error)
        else:
            self._end(leaf, TaskState.CANCELLED, note="the run was cancelled")

    def _decision(self) -> Decision:
        if not self._finished:
            self._start_leaves()
        wake_at = None if self._finished else self._line.wake_at()
        done, self._actions = self._actions, []
        return Decision(tuple(done), wake_at)

    # ------------------------------------------------------------------ facts
    def _apply(self, leaf: Leaf, fact: TaskFact) -> None:
        """Take in a fact of a leaf that has not ended."""
        groups.mark_started(leaf)
        leaf.attempt = max(leaf.attempt, fact.attempt)
        leaf.failures = fact.failures
        if leaf.state is TaskState.RUNNING:
            self._line.running -= 1
            leaf.state = TaskState.PENDING
        leaf.queued, leaf.due, leaf.last_error = False, None, None
        stopping = self._cancelling and not groups.is_cleanup(leaf)
        if fact.state in _ENDED_LEAF:
            leaf.outputs = fact.outputs
            self._end(leaf, fact.state, fact.error, recorded=True)
        elif fact.state in (TaskState.FAILED, TaskState.RETRYING):
            error = fact.error or TaskError("TASK_FAILED", "the task failed")
            if stopping or not may_retry(leaf.retry, fact):
                self._end(leaf, TaskState.FAILED, error, recorded=True)
            else:
                self._wait_for_retry(leaf, fact, error)
        elif fact.state is TaskState.PENDING:
            if stopping:
                self._give_up(leaf)
            else:
                self._line.enqueue(leaf)
        else:
            leaf.state = TaskState.RUNNING
            self._line.running += 1

    def _wait_for_retry(self, leaf: Leaf, fact: TaskFact, error: TaskError) -> None:
        at = retry_at(leaf.retry, fact, self._now)
        leaf.last_error = error
        self._actions.append(actions.retrying(leaf, at))
        if at <= self._now:
            self._line.enqueue(leaf)
        else:
            self._line.delay(leaf, at)

    def _start_leaves(self) -> None:
        """Issue what is ready, in document order, as far as the limit allows."""
        self._line.release(self._now)
        while leaf := self._line.take():
            leaf.attempt += 1
            leaf.state = TaskState.RUNNING
            groups.mark_started(leaf)
            executor = self._pipeline.executors[leaf.component.executor_label]
            self._actions.append(actions.start(leaf, importer=isinstance(executor, ImporterExecutor)))

    # ------------------------------------------------------------------ nodes that became ready
    def _settle(self) -> None:
        """Follow everything that is ready until only leaves are left to wait for. No recursion: chains are long."""
        while self._ready:
            node = self._ready.pop()
            if node.state is TaskState.PENDING:
                self._enter(node)
            elif node.state.finished or not isinstance(node, (Scope, Loop)):
                continue
            elif node.remaining == 0:
                self._close(node)
            elif isinstance(node, Loop):
                self._more_iterations(node)

    def _enter(self, node: Node) -> None:
        """Everything before the node has ended."""
        plan, scope = node.plan, node.parent
        if plan is None or not isinstance(scope, Scope):
            raise AssertionError("iterations and the root are entered by what they are in")
        if not plan.always:
            for before in plan.upstream:
                producer = scope.children[before]
                if not producer.state.succeeded:
                    self._skip(node, producer)
                    return
        try:
            node.inputs = self._inputs(node, plan, scope)
            if plan.task.condition and not evaluate(plan.task.condition, node.inputs):
                self._end(node, TaskState.SKIPPED, note=f"its condition is false: {plan.task.condition}")
                return
            self._begin(node)
        except _UNRESOLVABLE as error:
            self._end(node, TaskState.FAILED, actions.unresolvable(error))

    def _inputs(self, node: Node, plan: TaskPlan, scope: Scope) -> Values:
        root = self._root
        if root is None:
            raise AssertionError("nodes exist only below the root")
        given = gather(plan, scope, root.inputs, self._context(node))
        return complete(plan.component, given, strict=isinstance(node, Leaf))

    def _context(self, node: Node) -> RunContext:
        view = self._view
        return RunContext(
            run_id=view.run_id,
            job_name=view.job_name,
            pipeline_root=view.pipeline_root,
            task_name=node.name,
            task_id=str(node.key),
            created_at=view.created_at,
            workspace=view.workspace,
        )

    def _skip(self, node: Node, producer: Node) -> None:
        node.tainted = producer.tainted or producer.state in (TaskState.FAILED, TaskState.CANCELLED)
        word = {TaskState.FAILED: "failed", TaskState.CANCELLED: "was cancelled"}.get(producer.state, "was skipped")
        self._end(node, TaskState.SKIPPED, note=f"{producer.name} {word}")

    def _begin(self, node: Node) -> None:
        """Raises PlanningError: a loop's items cannot be had."""
        if isinstance(node, Leaf):
            self._begin_leaf(node)
        elif isinstance(node, Loop):
            groups.set_items(node, self._context(node))
            self._record_begin(node)
            node.remaining = len(node.items)
            self._ready.append(node)
        elif isinstance(node, Scope):
            self._begin_scope(node)

    def _record_begin(self, node: Node) -> None:
        node.state = TaskState.RUNNING
        self._actions.append(actions.begun(node))

    def _begin_leaf(self, leaf: Leaf) -> None:
        self._leaves[leaf.key] = leaf
        fact = self._facts.pop(leaf.key, None)
        if fact is not None:
            self._apply(leaf, fact)
        elif self._cancelling and not groups.is_cleanup(leaf):
            self._end(leaf, TaskState.CANCELLED, note="the run was cancelled")
        else:
            self._line.enqueue(leaf)

    def _begin_scope(self, scope: Scope) -> None:
        if scope.key.path:
            self._record_begin(scope)
        scope.remaining = len(scope.dag.tasks)
        for plan in scope.dag.tasks:
            key = TaskKey((*scope.key.path, plan.name), scope.key.iteration)
            child = self._node(key, (*scope.order, plan.index), plan, scope)
            child.waiting = len(plan.upstream)
            scope.children.append(child)
        self._ready.extend(child for child in reversed(scope.children) if not child.waiting)
        self._ready_if_done(scope)

    def _more_iterations(self, loop: Loop) -> None:
        plan = loop.plan
        if plan is None:
            raise AssertionError("a loop is a task")
        while len(loop.children) < len(loop.items) and (not loop.limit or loop.active < loop.limit):
            index = len(loop.children)
            key = TaskKey(loop.key.path, (*loop.key.iteration, index))
            node = self._node(key, (*loop.order, index), plan, loop, iteration=True)
            loop.children.append(node)
            loop.active += 1
            try:
                given = groups.iteration_inputs(loop, index)
                node.inputs = complete(plan.component, given, strict=isinstance(node, Leaf))
            except _UNRESOLVABLE as error:
                self._end(node, TaskState.FAILED, actions.unresolvable(error))
                continue
            self._begin(node)

    def _node(
        self, key: TaskKey, order: Order, plan: TaskPlan, parent: Scope | Loop, *, iteration: bool = False
    ) -> Node:
        retry: RetryPolicy | None = plan.task.retry or parent.retry
        component = plan.component
        if plan.is_loop and not iteration:
            return Loop(key, order, plan, component, parent, retry)
        if component.dag is not None:
            return Scope(key, order, plan, component, parent, self._graph.dag(component), retry)
        return Leaf(key, order, plan, component, parent, retry)

    # ------------------------------------------------------------------ nodes that ended
    def _ready_if_done(self, node: Scope | Loop) -> None:
        if node.remaining == 0:
            self._ready.append(node)

    def _close(self, node: Scope | Loop) -> None:
        """Everything inside a group has ended."""
        state, error = groups.conclude(node)
        if state is TaskState.SUCCEEDED:
            try:
                if isinstance(node, Loop):
                    node.outputs = collected(node.component, node.children)
                else:
                    node.outputs = scope_outputs(node)
                    if node is self._root:
                        check_run_outputs(node)
            except _UNRESOLVABLE as reason:
                state, error = TaskState.FAILED, actions.unresolvable(reason)
        self._end(node, state, error)

    def _end(
        self, node: Node, state: TaskState, error: TaskError | None = None, *, note: str = "", recorded: bool = False
    ) -> None:
        """Set a final state and tell whoever waits for it. ``recorded``: the fact that caused it says so already."""
        node.state, node.error, node.note = state, error, note
        if isinstance(node, Leaf):
            node.queued, node.due = False, None
        if node is self._root:
            self._finish(node, state, error)
            return
        if state is TaskState.FAILED and not node.failed_count:
            node.failed_count = 1
            node.culprits = ((node.key, error or TaskError("TASK_FAILED", "the task failed")),)
        if not recorded:
            self._actions.append(actions.ended(node))
        self._tell(node)

    def _tell(self, node: Node) -> None:
        parent, plan = node.parent, node.plan
        if parent is None or plan is None:
            raise AssertionError("only the root has no parent")
        parent.remaining -= 1
        if isinstance(parent, Loop):
            parent.active -= 1
            if parent.limit and len(parent.children) < len(parent.items):
                self._ready.append(parent)
        else:
            for after in plan.downstream:
                sibling = parent.children[after]
                sibling.waiting -= 1
                if sibling.waiting == 0:
                    self._ready.append(sibling)
        self._ready_if_done(parent)

    def _finish(self, root: Node, state: TaskState, error: TaskError | None) -> None:
        self._finished = True
        if self._cancelling or self._view.cancel_requested:
            error = TaskError("RUN_CANCELLED", "the run was cancelled")
            self._actions.append(FinishRun(RunState.CANCELLED, error=error))
        elif state is TaskState.SUCCEEDED:
            self._actions.append(FinishRun(RunState.SUCCEEDED, root.outputs))
        else:
            self._actions.append(FinishRun(RunState.FAILED, error=error))


def decide(pipeline: Pipeline, view: RunView, now: float, limits: Limits) -> Decision:
    """What to do next, from scratch: a :class:`Planner` built from the view.

    Raises:
        PlanningError: the pipeline is not one that ``ir.validate`` accepts.
    """
    return Planner(pipeline, view, limits).advance((), now)
