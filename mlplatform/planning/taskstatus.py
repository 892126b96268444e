"""Tasks of a PipelineRun as its status and its TaskRecords have them: merged, and as facts for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlplatform.apis.codec import encode
from mlplatform.apis.pipelinerun import ErrorStatus, TaskStatus
from mlplatform.apis.times import read_time
from mlplatform.core.model import TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.planning.model import TaskFact

History = dict[TaskKey, TaskStatus]


def key_of(task: TaskStatus) -> TaskKey:
    return TaskKey(task.path, task.iteration)


def told(error: TaskError | None) -> ErrorStatus | None:
    """An error as the status has it. Tracebacks are kept to their end, where the cause is."""
    if error is None:
        return None
    return ErrorStatus(error.code, error.message[:4000], error.traceback[-4000:], error.hint[:1000])


def merged(recorded: Iterable[Iterable[TaskStatus]], current: Iterable[TaskStatus]) -> History:
    """Records of all chunks in their order, and the status's own, which are newer."""
    history: History = {}
    for chunk in recorded:
        history.update((key_of(task), task) for task in chunk)
    history.update((key_of(task), task) for task in current)
    return history


def values_json(values: Values) -> dict[str, object]:
    """Outputs as the status has them; empty parts are left out."""
    return {name: table for name, table in values.to_json().items() if table}


def fact_of(task: TaskStatus) -> TaskFact:
    """What the planner is told of a task."""
    state = task.state
    if state is TaskState.QUEUED:
        state = TaskState.RUNNING
    elif state is TaskState.RETRYING:
        state = TaskState.FAILED
    return TaskFact(
        key=key_of(task),
        state=state,
        attempt=task.attempt,
        failures=task.failures,
        outputs=Values.from_json(dict(task.outputs)),
        error=TaskError.from_json(encode(task.error)) if task.error is not None else None,
        finished_at=read_time(task.finished_at),
        retryable=not task.final,
    )


def facts_of(history: Mapping[TaskKey, TaskStatus]) -> dict[TaskKey, TaskFact]:
    """Facts of all tasks whose attempts began."""
    return {key: fact_of(task) for key, task in history.items() if task.attempt}
