"""Why a task ran, was reused, waits, was skipped or failed, in one sentence and as data."""

from __future__ import annotations

import re
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.core.model import TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.ports import RunStore

_TASK = re.compile(r"^(?P<path>.*?)(?P<iteration>(\[\d+\])*)$")


def find_task(records: list[TaskRecord], reference: str) -> TaskRecord:
    """A task by its path, the last part of its path, or either with iteration indexes (``for-loop-1/train[3]``).

    Raises:
        NotFound: no task, or several, have that name; the message lists what there is.
    """
    match = _TASK.match(reference)
    path = match["path"] if match else reference
    indexes = tuple(int(i) for i in re.findall(r"\[(\d+)\]", match["iteration"])) if match else ()
    found = [r for r in records if r.key.name == path or r.key.path[-1] == path]
    if indexes:
        found = [r for r in found if r.key.iteration == indexes]
    exact = [r for r in found if r.key.name == path] or found
    if len(exact) == 1:
        return exact[0]
    names = sorted(str(r.key) for r in (exact or records) if not r.is_group)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    problem = "several tasks are called" if exact else "there is no task"
    raise NotFound(f"{problem} {reference!r}", hint=f"Tasks: {shown}")


def explain_task(store: RunStore, reference: str, task: str) -> dict[str, Any]:
    """``{"task", "state", "why", "cached_from"}``. Raises NotFound."""
    run = store.find_run(reference)
    record = find_task(store.tasks(run.run_id), task)
    return {
        "run_id": run.run_id,
        "task": str(record.key),
        "state": str(record.state),
        "why": sentence(record),
        "cached_from": record.cached_from,
    }


def sentence(record: TaskRecord) -> str:
    """The reason for a task's state."""
    note = record.cache_note
    match record.state:
        case TaskState.CACHED:
            return f"reused the result of {record.cached_from}: {note}"
        case TaskState.SKIPPED:
            return f"skipped: {note or (record.error.message if record.error else 'its condition was false')}"
        case TaskState.FAILED:
            reason = record.error.message if record.error else "no reason was recorded"
            return f"failed: {reason}" + (f" (it ran because {note})" if note else "")
        case TaskState.QUEUED | TaskState.RETRYING | TaskState.PENDING:
            return f"waits for {record.waiting_for or 'the tasks before it'}"
        case TaskState.CANCELLED:
            return "the run was cancelled"
        case _:
            runs = "runs" if record.state is TaskState.RUNNING else "ran"
            return f"{runs} because {note}" if note else f"{runs}: caching is off for it"
