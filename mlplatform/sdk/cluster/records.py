"""A PipelineRun and its TaskRecords as the records that a run on one machine has.

The objects hold what tasks in pods did; groups, skips and inputs follow from that and from the document, by the planner
that decided them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from mlplatform.apis.names import GROUP
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec, TaskStatus
from mlplatform.apis.taskrecords import TaskRecordsSpec
from mlplatform.apis.times import read_time
from mlplatform.core.errors import InvalidPipeline, PlanningError
from mlplatform.core.ids import new_run_id
from mlplatform.core.model import Artifact, ArtifactValue, AttemptRecord, RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.ir import load
from mlplatform.ir.model import Pipeline
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import Limits, RunView
from mlplatform.planning.recorded import completed, error_of, fact_of, key_of, newest

#: In ``RunRecord.context``: where a run on a cluster is.
CLUSTER: Final = "kubernetes"
#: People's own tags of a run, as JSON: they fit no label.
ANNOTATION_TAGS: Final = f"{GROUP}/tags"


@dataclass(frozen=True, slots=True)
class Whole:
    """One run with all its tasks, and the document it runs."""

    run: RunRecord
    tasks: tuple[TaskRecord, ...]
    attempts: tuple[AttemptRecord, ...]
    document: bytes


def document_of(spec: PipelineRunSpec) -> bytes:
    """The pipeline's document, as text whichever way it was given."""
    if spec.document:
        return spec.document.encode("utf-8", "surrogatepass")
    found: dict[str, Any] = {"pipeline_spec": spec.pipeline_spec}
    if spec.platform_spec:
        found["platform_spec"] = spec.platform_spec
    return json.dumps(found, sort_keys=True).encode()


def run_id_of(run: PipelineRun) -> str:
    """An id of its own, in the order of creation like all run ids. A name comes back when it is free again."""
    return new_run_id(run.created_at, hashlib.sha256(run.uid.encode()).digest())


def whole(run: PipelineRun, chunks: Sequence[TaskRecordsSpec], now: float) -> Whole:
    """Everything that is known of a run. A document that cannot be read leaves only what the status says."""
    document = document_of(run.spec)
    said = newest(chunks, run.status.tasks)
    try:
        pipeline: Pipeline | None = load.loads(document)
    except InvalidPipeline:
        pipeline = None
    tasks = _plain(said.values()) if pipeline is None else _planned(pipeline, run, said, now)
    status = run.status
    artifacts = {
        name: Artifact(name, given.uri, given.type or "system.Artifact", given.metadata, given.digest)
        for name, given in run.spec.artifacts.items()
    }
    record = RunRecord(
        run_id=run_id_of(run),
        name=run.spec.display_name or run.name,
        pipeline=pipeline.name if pipeline is not None else "",
        state=status.state,
        spec_digest="sha256:" + hashlib.sha256(document).hexdigest(),
        experiment=run.spec.experiment or "Default",
        parameters=run.spec.parameters,
        artifacts=cast("Mapping[str, ArtifactValue]", artifacts),
        outputs=Values.from_json(status.outputs),
        context={CLUSTER: {"namespace": run.namespace, "name": run.name, "uid": run.uid}},
        error=error_of(status.error),
        created_at=run.created_at,
        started_at=read_time(status.started_at),
        finished_at=read_time(status.finished_at),
        tags=tags_of(run),
    )
    return Whole(record, tuple(tasks), tuple(_attempts(said)), document)


def tags_of(run: PipelineRun) -> dict[str, str]:
    """People's own tags, and those of the object's labels that are theirs."""
    found = {name: value for name, value in run.labels.items() if not name.startswith((GROUP, "app.kubernetes.io/"))}
    try:
        given = json.loads(run.annotations.get(ANNOTATION_TAGS) or "{}")
    except ValueError:
        given = {}
    if isinstance(given, dict):
        found |= {str(name): str(value) for name, value in cast("dict[Any, Any]", given).items()}
    return found


def _planned(pipeline: Pipeline, run: PipelineRun, said: Mapping[TaskKey, TaskStatus], now: float) -> list[TaskRecord]:
    view = RunView(
        run_id=run.uid,
        job_name=run.name,
        parameters=run.spec.parameters,
        artifacts={
            name: Artifact(name, given.uri, given.type or "system.Artifact", given.metadata, given.digest)
            for name, given in run.spec.artifacts.items()
        },
        tasks={key: fact_of(status) for key, status in said.items() if status.state not in _UNDONE},
        cancel_requested=run.spec.cancel,
        created_at=run.created_at,
    )
    try:
        records = Brain(pipeline, view, Limits(run.spec.parallelism), now).records()
    except PlanningError:
        return _plain(said.values())
    return [completed(_without_pod(record) if record.key not in said else record, said.get(record.key))
            for record in records]  # fmt: skip


def _without_pod(record: TaskRecord) -> TaskRecord:
    """A task that should run, and of which the controller has said nothing yet."""
    return (
        replace(record, state=TaskState.QUEUED) if record.state is TaskState.RUNNING and not record.is_group else record
    )


#: States of tasks of which no attempt began: the planner knows better.
_UNDONE: Final = frozenset({TaskState.PENDING, TaskState.QUEUED, TaskState.RETRYING, TaskState.SKIPPED})


def _plain(said: Any) -> list[TaskRecord]:
    found: list[TaskRecord] = []
    for status in cast("Sequence[TaskStatus]", list(said)):
        fact = fact_of(status)
        record = TaskRecord(
            fact.key, fact.state, attempt=fact.attempt, failures=fact.failures, outputs=fact.outputs, error=fact.error
        )
        found.append(completed(record, status))
    return found


def _attempts(said: Mapping[TaskKey, TaskStatus]) -> list[AttemptRecord]:
    """The last attempt of each task that had one; its ``directory`` is filled in by who keeps its log."""
    return [
        AttemptRecord(
            key_of(status),
            status.attempt,
            status.state,
            directory="",
            started_at=read_time(status.started_at),
            finished_at=read_time(status.finished_at),
            error=error_of(status.error),
        )
        for status in said.values()
        if status.attempt and status.pod
    ]
