"""A PipelineRun as run and task records: the same that a run of one machine has. Pure.

The status holds what only the cluster knows (what became of each pod); groups, skips and inputs follow from it by the
planner, here as there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlplatform.apis.codec import encode
from mlplatform.apis.objects import pipeline_run, task_records
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec, TaskStatus
from mlplatform.apis.times import read_time
from mlplatform.core.large import shown
from mlplatform.core.model import AttemptRecord, RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.planning.accepting import Accepted, accept
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import Limits
from mlplatform.planning.taskstatus import History, facts_of, merged
from mlplatform.render.runview import run_view
from mlplatform.sdk.run_reading import Records


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """What was read of one run. ``pipeline`` is None where its document cannot be read."""

    run: PipelineRun
    history: History
    pipeline: Pipeline | None
    accepted: Accepted | None


def document_of(spec: PipelineRunSpec) -> bytes:
    """The pipeline's document, as text whichever way it was given."""
    if spec.document:
        return spec.document.encode("utf-8", "surrogatepass")
    found: dict[str, Any] = {"pipeline_spec": spec.pipeline_spec}
    if spec.platform_spec:
        found["platform_spec"] = spec.platform_spec
    return json.dumps(found, sort_keys=True).encode()


def read_objects(body: Mapping[str, Any], chunks: Iterable[Mapping[str, Any]]) -> ClusterRun:
    """A run from what the API server has of it: the PipelineRun and its TaskRecords. Raises InvalidInput."""
    run = pipeline_run(body)
    parts = sorted((task_records(chunk) for chunk in chunks), key=lambda part: part.index)
    history = merged([part.tasks for part in parts], run.status.tasks)
    if run.status.findings or not (run.spec.document or run.spec.pipeline_spec):
        return ClusterRun(run, history, None, None)
    pipeline = loads(document_of(run.spec), "spec")
    accepted = accept(run, pipeline)
    return ClusterRun(run, history, pipeline, accepted if isinstance(accepted, Accepted) else None)


def records_of(found: ClusterRun, now: float) -> Records:
    """Everything that is known of the run, as the store of one machine would have it."""
    tasks: list[TaskRecord] = []
    if found.accepted is not None and found.run.status.started_at:
        view = replace(
            run_view(found.run, found.accepted),
            tasks=facts_of(found.history),
            cancel_requested=found.run.spec.cancel,
        )
        brain = Brain(found.accepted.pipeline, view, Limits(found.run.spec.parallelism), now)
        ended = found.run.status.state.finished
        tasks = _timed([_task(record, found.history.get(record.key), ended) for record in brain.records()])
    return Records(_run(found), tasks, [_attempt(task) for task in found.history.values() if task.attempt])


def _run(found: ClusterRun) -> RunRecord:
    run, status = found.run, found.run.status
    error = TaskError.from_json(encode(status.error)) if status.error is not None else None
    if error is not None and status.findings:
        lines = [f"{item.path}: {item.message}" + f" ({item.hint})" * bool(item.hint) for item in status.findings]
        error = replace(error, message="\n".join([error.message, *lines]))
    accepted = found.accepted
    return RunRecord(
        run_id=run.name,
        name=run.spec.display_name or run.name,
        pipeline=found.pipeline.name if found.pipeline is not None else "",
        state=status.state,
        spec_digest=status.spec_digest,
        experiment=run.spec.experiment or "Default",
        parameters=accepted.parameters if accepted is not None else dict(run.spec.parameters),
        artifacts=accepted.artifacts if accepted is not None else {},
        outputs=Values.from_json(shown(dict(status.outputs))),
        context={"backend": "kubernetes", "namespace": run.namespace},
        error=error,
        created_at=run.created_at,
        started_at=read_time(status.started_at),
        finished_at=read_time(status.finished_at),
        cancel_requested_at=read_time(status.updated_at) if run.spec.cancel else None,
        tags=dict(run.labels),
    )


def _task(record: TaskRecord, known: TaskStatus | None, ended: bool) -> TaskRecord:
    if record.is_group:
        return record
    if known is None:  # the controller has said nothing of it yet
        return replace(record, state=TaskState.QUEUED) if record.state is TaskState.RUNNING else record
    state = record.state
    if state is TaskState.RUNNING and not known.started_at and not ended:
        state = TaskState.QUEUED
    return replace(
        record,
        inputs=replace(record.inputs, parameters=shown(record.inputs.parameters)),
        outputs=replace(record.outputs, parameters=shown(record.outputs.parameters)),
        state=state,
        started_at=read_time(known.started_at),
        finished_at=read_time(known.finished_at),
        waiting_for=known.waiting_for,
        cache_key=known.cache_key,
        cached_from=known.cached_from,
        cache_note=known.note or record.cache_note,
    )


def _timed(tasks: list[TaskRecord]) -> list[TaskRecord]:
    """Groups last from the first start inside them to the last end."""
    found: dict[TaskKey, tuple[float | None, float | None]] = {}
    for task in tasks:
        if task.is_group:
            continue
        path, iteration = task.key.path, task.key.iteration
        for depth in range(1, len(path) + 1):
            for loops in range(len(iteration) + 1):
                key = TaskKey(path[:depth], iteration[:loops])
                begun, ended = found.get(key, (None, None))
                begins = [at for at in (begun, task.started_at) if at is not None]
                ends = [at for at in (ended, task.finished_at) if at is not None]
                found[key] = (min(begins, default=None), max(ends, default=None))
    return [_between(task, *found.get(task.key, (None, None))) if task.is_group else task for task in tasks]


def _between(task: TaskRecord, begun: float | None, ended: float | None) -> TaskRecord:
    return replace(task, started_at=begun, finished_at=ended if task.state.finished else None)


def _attempt(task: TaskStatus) -> AttemptRecord:
    return AttemptRecord(
        key=TaskKey(task.path, task.iteration),
        attempt=task.attempt,
        state=task.state,
        directory=task.pod,
        started_at=read_time(task.started_at),
        finished_at=read_time(task.finished_at),
        error=TaskError.from_json(encode(task.error)) if task.error is not None else None,
    )
