"""States of runs and tasks, each with one transition table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from mlplatform.core.errors import InvalidTransition


class RunState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def finished(self) -> bool:
        return self in _RUN_END


class TaskState(StrEnum):
    """PENDING: known, not started. QUEUED: ready, waits for resources. RETRYING: failed, waits for its next attempt."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    CACHED = "CACHED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def finished(self) -> bool:
        return self in _TASK_END

    @property
    def succeeded(self) -> bool:
        return self in (TaskState.SUCCEEDED, TaskState.CACHED)


_RUN_END: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
_TASK_END: Final = frozenset(
    {TaskState.SUCCEEDED, TaskState.CACHED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED}
)

#: A finished run goes back to PENDING only by ``runs resume``.
RUN_TRANSITIONS: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.CANCELLING, RunState.CANCELLED, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.CANCELLING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    RunState.CANCELLING: frozenset({RunState.CANCELLED, RunState.SUCCEEDED, RunState.FAILED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.PENDING}),
    RunState.CANCELLED: frozenset({RunState.PENDING}),
}

#: RUNNING goes back to PENDING (and at once on to QUEUED) when an attempt was lost with its process, which is not the
#: user's failure; it goes to QUEUED when a retry is due at once. A finished task goes back to PENDING only by
#: ``runs resume``.
TASK_TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    TaskState.PENDING: frozenset(
        {
            TaskState.QUEUED,
            TaskState.RUNNING,
            TaskState.RETRYING,
            TaskState.SUCCEEDED,
            TaskState.CACHED,
            TaskState.FAILED,
            TaskState.SKIPPED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.QUEUED: frozenset(
        {
            TaskState.RUNNING,
            TaskState.RETRYING,
            TaskState.CACHED,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
            TaskState.PENDING,
        }
    ),
    TaskState.RUNNING: frozenset(
        {
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.SKIPPED,
            TaskState.RETRYING,
            TaskState.QUEUED,
            TaskState.CACHED,
            TaskState.CANCELLED,
            TaskState.PENDING,
        }
    ),
    TaskState.RETRYING: frozenset(
        {TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLED, TaskState.FAILED, TaskState.PENDING}
    ),
    TaskState.SUCCEEDED: frozenset({TaskState.PENDING}),
    TaskState.CACHED: frozenset({TaskState.PENDING}),
    TaskState.FAILED: frozenset({TaskState.PENDING}),
    TaskState.SKIPPED: frozenset({TaskState.PENDING}),
    TaskState.CANCELLED: frozenset({TaskState.PENDING}),
}


def transition_run(old: RunState, new: RunState) -> RunState:
    """Return ``new`` if the table has the edge (or nothing changes).

    Raises:
        InvalidTransition: the table has no such edge.
    """
    if new is not old and new not in RUN_TRANSITIONS[old]:
        raise InvalidTransition(f"a run cannot go from {old} to {new}")
    return new


def transition_task(old: TaskState, new: TaskState) -> TaskState:
    """Return ``new`` if the table has the edge (or nothing changes).

    Raises:
        InvalidTransition: the table has no such edge.
    """
    if new is not old and new not in TASK_TRANSITIONS[old]:
        raise InvalidTransition(f"a task cannot go from {old} to {new}")
    return new
