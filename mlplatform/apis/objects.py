"""Whole API objects: from what the API server sends to typed ones, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.apis.codec import decode, encode
from mlplatform.apis.names import API_VERSION, FINALIZER_RESULT, PIPELINE_RUN
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec, PipelineRunStatus
from mlplatform.apis.recurringrun import RecurringRun, RecurringRunSpec, RecurringRunStatus
from mlplatform.apis.taskrecords import TaskRecordsSpec
from mlplatform.apis.times import read_time
from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.apis.trainingstatus import TrainingJob, TrainingJobStatus


def _identity(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What every object of ours takes from its metadata."""
    return {
        "name": str(meta.get("name") or ""),
        "namespace": str(meta.get("namespace") or ""),
        "uid": str(meta.get("uid") or ""),
        "generation": int(meta.get("generation") or 1),
        "created_at": read_time(meta.get("creationTimestamp")) or 0.0,
        "deleting": bool(meta.get("deletionTimestamp")),
    }


def pipeline_run(data: Mapping[str, Any]) -> PipelineRun:
    """A PipelineRun as the API server has it. Raises InvalidInput with every finding."""
    meta: Mapping[str, Any] = data.get("metadata") or {}
    return PipelineRun(
        **_identity(meta),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        spec=decode(PipelineRunSpec, data.get("spec") or {}, "spec"),
        status=decode(PipelineRunStatus, data.get("status") or {}, "status"),
    )


def recurring_run(data: Mapping[str, Any]) -> RecurringRun:
    """A RecurringRun as the API server has it. Raises InvalidInput with every finding."""
    meta: Mapping[str, Any] = data.get("metadata") or {}
    return RecurringRun(
        **_identity(meta),
        spec=decode(RecurringRunSpec, data.get("spec") or {}, "spec"),
        status=decode(RecurringRunStatus, data.get("status") or {}, "status"),
    )


def training_job(data: Mapping[str, Any]) -> TrainingJob:
    """A TrainingJob as the API server has it. Raises InvalidInput with every finding."""
    meta: Mapping[str, Any] = data.get("metadata") or {}
    return TrainingJob(
        **_identity(meta),
        held=FINALIZER_RESULT in (meta.get("finalizers") or ()),
        owners=tuple(meta.get("ownerReferences") or ()),
        spec=decode(TrainingJobSpec, data.get("spec") or {}, "spec"),
        status=decode(TrainingJobStatus, data.get("status") or {}, "status"),
    )


def task_records(data: Mapping[str, Any]) -> TaskRecordsSpec:
    """The contents of a TaskRecords object. Raises InvalidInput with every finding."""
    return decode(TaskRecordsSpec, data.get("spec") or {}, "spec")


def pipeline_run_object(name: str, namespace: str, spec: PipelineRunSpec, **metadata: Any) -> dict[str, Any]:
    """A PipelineRun to create. ``metadata``: further members such as ``labels``; a name that ends in ``-`` is a prefix
    that the API server completes."""
    key = "generateName" if name.endswith("-") else "name"
    return {
        "apiVersion": API_VERSION,
        "kind": PIPELINE_RUN,
        "metadata": {key: name, "namespace": namespace, **{k: v for k, v in metadata.items() if v}},
        "spec": encode(spec),
    }
