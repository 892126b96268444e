"""How a run that did not succeed is told to Python: the user's own traceback first, then what to do."""

from __future__ import annotations

from mlplatform.core.errors import MlPlatformError, RunCancelled, RunFailed, TaskFailed
from mlplatform.core.model import RunRecord, TaskRecord
from mlplatform.core.states import RunState, TaskState
from mlplatform.sdk.run_reading import Records


def first_failure(tasks: list[TaskRecord]) -> TaskRecord | None:
    """The task that failed before any other did."""
    failed = [task for task in tasks if task.state is TaskState.FAILED and not task.is_group]
    return min(failed, key=lambda task: task.finished_at or 0.0, default=None)


def task_failure(records: Records, task: TaskRecord) -> TaskFailed:
    """The error of a failed task."""
    name, error = str(task.key), task.error
    tries = f" after {task.attempt} attempts" if task.attempt > 1 else ""
    reason = error.message if error else "no reason was recorded"
    steps = f"run.task({name!r}).replay() brings its inputs here; run.resume() goes on once it is mended."
    hint = "\n".join(filter(None, [error.hint if error else "", steps]))
    trace = error.traceback if error else ""
    message = f"Task {name} of run {records.run.run_id} failed{tries}: {reason}"
    return TaskFailed(message, task=name, traceback=trace, hint=hint)


def run_failure(records: Records) -> MlPlatformError | None:
    """The error of a finished run; None if it succeeded."""
    run = records.run
    if run.state is RunState.SUCCEEDED or not run.state.finished:
        return None
    if run.state is RunState.CANCELLED:
        return RunCancelled(f"Run {run.run_id} was cancelled.", hint="run.resume() goes on with what is left.")
    failed = first_failure(records.tasks)
    if failed is not None:
        return task_failure(records, failed)
    return RunFailed(f"Run {run.run_id} failed: {_reason(run)}", hint=run.error.hint if run.error else "")


def _reason(run: RunRecord) -> str:
    return run.error.message if run.error else "no reason was recorded"
