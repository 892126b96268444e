"""Our records as KFP's messages. Pure but for nothing: documents and names come in as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mlplatform.core.catalog import (
    PIPELINE_TAG,
    RECURRING_TAG,
    VERSION_TAG,
    Experiment,
    PipelineVersion,
    RecurringRun,
    RegisteredPipeline,
)
from mlplatform.core.model import RunRecord, TaskError, TaskRecord
from mlplatform.core.states import RunState, TaskState
from mlplatform.server.kfp.times import to_rfc3339

STATES: Final = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.CANCELLING: "CANCELING",
    RunState.SUCCEEDED: "SUCCEEDED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "CANCELED",
}
_TASK_STATES: Final = {
    TaskState.PENDING: "PENDING",
    TaskState.QUEUED: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.RETRYING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.CACHED: "SUCCEEDED",
    TaskState.FAILED: "FAILED",
    TaskState.SKIPPED: "SKIPPED",
    TaskState.CANCELLED: "CANCELED",
}
AVAILABLE, ARCHIVED = "AVAILABLE", "ARCHIVED"


def storage(archived: bool) -> str:
    return ARCHIVED if archived else AVAILABLE


def experiment_json(experiment: Experiment) -> dict[str, Any]:
    return _given(
        experiment_id=experiment.experiment_id,
        display_name=experiment.name,
        description=experiment.description,
        created_at=to_rfc3339(experiment.created_at),
        namespace="",
        storage_state=storage(experiment.archived),
        last_run_created_at=to_rfc3339(experiment.last_run_at),
    )


def pipeline_json(pipeline: RegisteredPipeline) -> dict[str, Any]:
    return _given(
        pipeline_id=pipeline.pipeline_id,
        name=pipeline.name,
        display_name=pipeline.display_name or pipeline.name,
        description=pipeline.description,
        created_at=to_rfc3339(pipeline.created_at),
        namespace="",
        tags=dict(pipeline.tags) or None,
    )


def version_json(version: PipelineVersion, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``spec``: the pipeline document."""
    return _given(
        pipeline_id=version.pipeline_id,
        pipeline_version_id=version.version_id,
        name=version.name,
        display_name=version.display_name or version.name,
        description=version.description,
        created_at=to_rfc3339(version.created_at),
        code_source_url=version.code_source_url,
        tags=dict(version.tags) or None,
        pipeline_spec=spec,
    )


def run_json(
    run: RunRecord,
    experiment_id: str,
    *,
    spec: Mapping[str, Any] | None = None,
    tasks: Iterable[TaskRecord] = (),
) -> dict[str, Any]:
    """``spec``: the pipeline document, for a run of none of the stored versions; ``tasks``: to be told in detail."""
    version = run.tags.get(VERSION_TAG, "")
    details = [task_json(run, task) for task in tasks]
    return _given(
        run_id=run.run_id,
        experiment_id=experiment_id,
        display_name=run.name,
        description=run.note,
        storage_state=storage(run.archived),
        pipeline_version_reference=_reference(run.tags.get(PIPELINE_TAG, ""), version),
        pipeline_version_id=version,
        pipeline_spec=None if version else spec,
        runtime_config={"parameters": dict(run.parameters)},
        created_at=to_rfc3339(run.created_at),
        scheduled_at=to_rfc3339(run.created_at),
        finished_at=to_rfc3339(run.finished_at),
        state=STATES[run.state],
        error=_error(run.error),
        recurring_run_id=run.tags.get(RECURRING_TAG, ""),
        run_details={"task_details": details} if details else None,
        state_history=_history(run),
    )


def task_json(run: RunRecord, task: TaskRecord) -> dict[str, Any]:
    parent = task.key.path[:-1]
    return _given(
        run_id=run.run_id,
        task_id=str(task.key),
        display_name=task.key.path[-1],
        create_time=to_rfc3339(task.created_at),
        start_time=to_rfc3339(task.started_at),
        end_time=to_rfc3339(task.finished_at),
        state=_TASK_STATES[task.state],
        error=_error(task.error),
        parent_task_id="/".join(parent),
    )


def recurring_json(entry: RecurringRun, experiment_id: str, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``spec``: the pipeline document, where it is none of the stored versions."""
    trigger = entry.trigger
    span = _given(start_time=to_rfc3339(trigger.start), end_time=to_rfc3339(trigger.end))
    schedule = (
        {"cron_schedule": {**span, "cron": trigger.cron}}
        if trigger.cron
        else {"periodic_schedule": {**span, "interval_second": str(int(trigger.interval))}}
    )
    return _given(
        recurring_run_id=entry.recurring_id,
        display_name=entry.name,
        description=entry.description,
        experiment_id=experiment_id,
        pipeline_version_reference=_reference(entry.pipeline_id, entry.version_id),
        pipeline_version_id=entry.version_id,
        pipeline_spec=spec,
        runtime_config={"parameters": dict(entry.parameters)},
        max_concurrency=str(entry.max_concurrency),
        trigger=schedule,
        mode="ENABLE" if entry.enabled else "DISABLE",
        status="ENABLED" if entry.enabled else "DISABLED",
        created_at=to_rfc3339(entry.created_at),
        updated_at=to_rfc3339(entry.updated_at),
        no_catchup=not entry.catchup,
        namespace="",
        error={"code": 3, "message": entry.trouble} if entry.trouble else None,
    )


def _history(run: RunRecord) -> list[dict[str, Any]]:
    moments = [(run.created_at, "PENDING"), (run.started_at, "RUNNING")]
    if run.state.finished:
        moments.append((run.finished_at, STATES[run.state]))
    return [{"update_time": to_rfc3339(time), "state": state} for time, state in moments if time is not None]


def _reference(pipeline_id: str, version_id: str) -> dict[str, str] | None:
    if not pipeline_id and not version_id:
        return None
    return _given(pipeline_id=pipeline_id, pipeline_version_id=version_id or None)


def _error(error: TaskError | None) -> dict[str, Any] | None:
    return None if error is None else {"code": 2, "message": error.message}


def _given(**fields: Any) -> dict[str, Any]:
    """Fields that have a value: protobuf JSON leaves the others out."""
    return {name: value for name, value in fields.items() if value is not None}
