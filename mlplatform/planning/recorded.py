"""What a PipelineRun's status and TaskRecords say of tasks, as the planner's facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mlplatform.apis.pipelinerun import ErrorStatus, TaskStatus
from mlplatform.apis.taskrecords import TaskRecordsSpec
from mlplatform.apis.times import read_time
from mlplatform.core.model import TaskError, TaskKey, TaskRecord, Values
from mlplatform.planning.model import TaskFact


def key_of(status: TaskStatus) -> TaskKey:
    return TaskKey(tuple(status.path), tuple(status.iteration))


def error_of(status: ErrorStatus | None) -> TaskError | None:
    """Why a task or a run failed; None: it did not."""
    return None if status is None else TaskError(status.code, status.message, status.traceback, status.hint)


def fact_of(status: TaskStatus) -> TaskFact:
    """One task. Its ``outputs`` are spelled as :meth:`mlplatform.core.model.Values.to_json` does."""
    return TaskFact(
        key_of(status),
        status.state,
        status.attempt,
        status.failures,
        Values.from_json(status.outputs),
        error_of(status.error),
        read_time(status.finished_at),
        retryable=not status.final,
    )


def newest(records: Iterable[TaskRecordsSpec], live: Iterable[TaskStatus]) -> Mapping[TaskKey, TaskStatus]:
    """The last word on each task: later records replace earlier ones (the run was resumed in between), and what the
    status itself says replaces both."""
    found: dict[TaskKey, TaskStatus] = {}
    for chunk in sorted(records, key=lambda chunk: chunk.index):
        found |= {key_of(task): task for task in chunk.tasks}
    return found | {key_of(task): task for task in live}


def completed(record: TaskRecord, status: TaskStatus | None) -> TaskRecord:
    """A planner's record with what only the status knows: when it ran, what it waits for."""
    if status is None:
        return record
    return replace(
        record,
        started_at=read_time(status.started_at),
        finished_at=read_time(status.finished_at) if record.state.finished else None,
        waiting_for=status.waiting_for or record.waiting_for,
    )
