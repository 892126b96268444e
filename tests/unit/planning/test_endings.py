"""Exit handlers, cancelling and retries."""

from __future__ import annotations

import pytest

from mlplatform.core.model import TaskError, TaskKey, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import ParameterType as T
from mlplatform.ir.model import (
    InputParameterSpec,
    Pipeline,
    PipelineTask,
    RetryPolicy,
)
from mlplatform.planning.model import CancelTask, FinishRun, Limits, RecordTask, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner, decide
from tests.unit.planning.build import (
    ALWAYS,
    given,
    group,
    leaf,
    pipeline,
    status,
)
from tests.unit.planning.runs import Run, fails


def with_exit(component: str = "exit", *, raising: bool = True) -> Pipeline:
    body = group({"work": PipelineTask("c"), "more": PipelineTask("c")})
    root = group(
        {
            "exit-handler-1": PipelineTask("body"),
            "clean-up": PipelineTask(
                component,
                parameters={"status": status("exit-handler-1")},
                dependent_tasks=("exit-handler-1",),
                strategy=ALWAYS,
            ),
        }
    )
    exit_leaf = leaf({"status": InputParameterSpec(T.TASK_FINAL_STATUS)})
    exit_group = group(
        {"say": PipelineTask("exit", parameters={"status": given("status")})},
        {"status": InputParameterSpec(T.TASK_FINAL_STATUS)},
    )
    return pipeline(root, body=body, c=leaf(), exit=exit_leaf, exit_group=exit_group)


@pytest.mark.parametrize("component", ["exit", "exit-group"])
def test_an_exit_task_sees_a_failure_and_does_not_undo_it(component: str) -> None:
    run = Run(with_exit(component), fails("work"))
    key = "clean-up" if component == "exit" else "clean-up/say"
    assert run.inputs(key) == {
        "status": {
            "state": "FAILED",
            "pipelineJobResourceName": "test-pipeline-run-1",
            "pipelineTaskName": "exit-handler-1",
            "error": {"code": 9, "message": "task exit-handler-1/work failed: it broke"},
        }
    }
    assert run.order[:2] == ["exit-handler-1/work", "exit-handler-1/more"]
    assert run.finish.state is RunState.FAILED


def test_an_exit_task_sees_success() -> None:
    run = Run(with_exit())
    assert run.inputs("clean-up")["status"] == {
        "state": "SUCCEEDED",
        "pipelineJobResourceName": "test-pipeline-run-1",
        "pipelineTaskName": "exit-handler-1",
        "error": {},
    }
    assert run.finish.state is RunState.SUCCEEDED


@pytest.mark.parametrize("component", ["exit", "exit-group"])
def test_cancel_stops_what_runs_and_still_cleans_up(component: str) -> None:
    planner = Planner(with_exit(component), RunView("r", "j"), Limits(1))
    first = planner.advance((), 0).actions
    assert [str(a.key) for a in first if isinstance(a, StartTask)] == ["exit-handler-1/work"]
    stopped = planner.cancel(1)
    assert [a.key for a in stopped.actions if isinstance(a, CancelTask)] == [TaskKey(("exit-handler-1", "work"))]
    assert [(str(a.key), a.state) for a in stopped.actions if isinstance(a, RecordTask)] == [
        ("exit-handler-1/more", TaskState.CANCELLED)
    ]
    assert planner.cancel(1).actions == ()
    after = planner.advance([TaskFact(TaskKey(("exit-handler-1", "work")), TaskState.CANCELLED, 1)], 2)
    starts = [a for a in after.actions if isinstance(a, StartTask)]
    assert len(starts) == 1
    assert starts[0].inputs.parameters["status"]["state"] == "CANCELLED"
    assert starts[0].inputs.parameters["status"]["error"] == {"code": 1, "message": "it was cancelled"}
    end = planner.advance([TaskFact(starts[0].key, TaskState.SUCCEEDED, 1)], 3)
    assert end.actions[-1] == FinishRun(RunState.CANCELLED, error=TaskError("RUN_CANCELLED", "the run was cancelled"))


def test_cancel_before_a_group_began_runs_no_exit_task() -> None:
    body = group({"work": PipelineTask("c")})
    root = group(
        {
            "first": PipelineTask("c"),
            "exit-handler-1": PipelineTask("body", dependent_tasks=("first",)),
            "clean-up": PipelineTask("c", dependent_tasks=("exit-handler-1",), strategy=ALWAYS),
        }
    )
    planner = Planner(pipeline(root, body=body, c=leaf()), RunView("r", "j"), Limits())
    planner.advance((), 0)
    planner.cancel(1)
    end = planner.advance([TaskFact(TaskKey(("first",)), TaskState.SUCCEEDED, 1)], 2)
    assert not [a for a in end.actions if isinstance(a, StartTask)]
    assert planner.states()[TaskKey(("clean-up",))] is TaskState.CANCELLED
    assert isinstance(end.actions[-1], FinishRun)
    assert end.actions[-1].state is RunState.CANCELLED


def test_cancel_leaves_a_failed_attempt_failed_and_starts_no_retry() -> None:
    root = group({"t": PipelineTask("c", retry=RetryPolicy(3, 10.0))})
    planner = Planner(pipeline(root, c=leaf()), RunView("r", "j"), Limits())
    planner.advance((), 0)
    error = TaskError("TASK_FAILED", "once")
    waiting = planner.advance([TaskFact(TaskKey(("t",)), TaskState.FAILED, 1, 1, error=error, finished_at=5.0)], 5)
    assert waiting.wake_at == 15.0
    end = planner.cancel(6)
    assert [(a.state, a.error) for a in end.actions if isinstance(a, RecordTask)] == [(TaskState.FAILED, error)]
    assert end.wake_at is None
    assert isinstance(end.actions[-1], FinishRun)


def test_retries_back_off_and_end() -> None:
    root = group({"t": PipelineTask("c", retry=RetryPolicy(3, 10.0, 3.0, 50.0))})
    planner = Planner(pipeline(root, c=leaf()), RunView("r", "j"), Limits())
    now, waits, attempts = 0.0, list[float](), list[int]()
    decision = planner.advance((), now)
    for _ in range(4):
        start = next(a for a in decision.actions if isinstance(a, StartTask))
        attempts.append(start.attempt)
        now += 1
        fact = TaskFact(
            start.key, TaskState.FAILED, start.attempt, start.attempt, error=TaskError("E", "no"), finished_at=now
        )
        decision = planner.advance([fact], now)
        if decision.wake_at is not None:
            record = next(a for a in decision.actions if isinstance(a, RecordTask))
            assert (record.state, record.retry_at) == (TaskState.RETRYING, decision.wake_at)
            assert planner.advance((), decision.wake_at - 0.5).actions == ()
            waits.append(decision.wake_at - now)
            now = decision.wake_at
            decision = planner.advance((), now)
    assert attempts == [1, 2, 3, 4]
    assert waits == [10.0, 30.0, 50.0]
    assert isinstance(decision.actions[-1], FinishRun)
    assert decision.actions[-1].state is RunState.FAILED


def test_without_a_policy_or_when_told_so_nothing_is_retried() -> None:
    root = group({"plain": PipelineTask("c"), "hopeless": PipelineTask("c", retry=RetryPolicy(5))})
    planner = Planner(pipeline(root, c=leaf()), RunView("r", "j"), Limits())
    planner.advance((), 0)
    facts = [
        TaskFact(TaskKey(("plain",)), TaskState.FAILED, 1, 1),
        TaskFact(TaskKey(("hopeless",)), TaskState.FAILED, 1, 1, retryable=False),
    ]
    end = planner.advance(facts, 1)
    assert not [a for a in end.actions if isinstance(a, StartTask)]
    assert isinstance(end.actions[-1], FinishRun)


def test_leaves_inherit_the_policy_of_their_group() -> None:
    root = group({"g": PipelineTask("body", retry=RetryPolicy(1))})
    tries: list[int] = []

    def behave(start: StartTask) -> Values | str:
        tries.append(start.attempt)
        return "again" if start.attempt == 1 else Values({"Output": 1})

    run = Run(pipeline(root, body=group({"t": PipelineTask("c")}), c=leaf()), behave)
    assert tries == [1, 2]
    assert run.finish.state is RunState.SUCCEEDED


def test_a_lost_attempt_is_started_again_without_counting() -> None:
    made = pipeline(group({"t": PipelineTask("c")}), c=leaf())
    key = TaskKey(("t",))
    view = RunView("r", "j", tasks={key: TaskFact(key, TaskState.PENDING, 3)})
    (start,) = decide(made, view, 0.0, Limits()).actions
    assert isinstance(start, StartTask)
    assert start.attempt == 4


def test_stale_facts_are_ignored_and_repeated_ones_harmless() -> None:
    root = group({"t": PipelineTask("c", retry=RetryPolicy(2))})
    planner = Planner(pipeline(root, c=leaf()), RunView("r", "j"), Limits())
    key = TaskKey(("t",))
    planner.advance((), 0)
    failed = TaskFact(key, TaskState.FAILED, 1, 1, finished_at=0.0)
    second = planner.advance([failed], 0)
    assert [a.attempt for a in second.actions if isinstance(a, StartTask)] == [2]
    assert planner.advance([failed], 0).actions == ()
    end = planner.advance([TaskFact(key, TaskState.SUCCEEDED, 2, outputs=Values({"Output": 1}))], 0)
    assert isinstance(end.actions[-1], FinishRun)
    assert planner.advance([failed], 0).actions == ()
