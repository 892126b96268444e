"""A training job as a run that is tracked: the same record from the same object, whoever keeps it. One MLflow run holds
all attempts; how it ended is said by whoever looks after the job, never by a rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlplatform.apis.names import LABEL_RUN
from mlplatform.apis.times import read_time
from mlplatform.core.model import RunRecord, TaskError
from mlplatform.core.states import RunState
from mlplatform.core.values import child
from mlplatform.planning.training.names import job_claim

_ENDS: Final = {"Complete": RunState.SUCCEEDED, "Failed": RunState.FAILED}


def tracked_run(body: Mapping[str, Any]) -> RunRecord | None:
    """The record of a TrainingJob object; None: it is not to be tracked by the platform (its author names a server or
    a run, or it is a task of one), or no rank was asked for yet."""
    meta, spec, status = child(body, "metadata"), child(body, "spec"), child(body, "status")
    tracking = child(spec, "tracking")
    if LABEL_RUN in child(meta, "labels"):
        return None  # a task of a pipeline: its ranks log to the task's run
    if tracking.get("mlflowTrackingUri") or tracking.get("runId") or not status.get("attempt"):
        return None
    name, phase = str(meta.get("name") or ""), str(status.get("phase") or "")
    state = _ENDS.get(phase, RunState.RUNNING)
    failed = state is RunState.FAILED
    error = TaskError(str(status.get("reason") or "Failed"), str(status.get("message") or "")) if failed else None
    tags = {
        "mlplatform.training_job": name,
        "mlplatform.framework": str(spec.get("framework") or ""),
        **(_end_tags(name, spec, status) if state.finished else {}),
    }
    return RunRecord(
        run_id=run_id(str(meta.get("uid") or name)),
        name=name,
        pipeline="",
        state=state,
        spec_digest="",
        experiment=str(tracking.get("experimentName") or "Default"),
        error=error,
        created_at=read_time(str(meta.get("creationTimestamp") or "")) or 0.0,
        started_at=read_time(str(meta.get("creationTimestamp") or "")),
        finished_at=read_time(str(status.get("completionTime") or "")) if state.finished else None,
        tags=tags,
    )


def run_id(uid: str) -> str:
    """By what a job is known to whoever tracks it. ``uid``: of its object."""
    return f"training-{uid}"


def _end_tags(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a job at its end only."""
    restarts = int(status.get("restartsCounted") or 0) + int(status.get("restartsUncounted") or 0)
    spent, checkpoint = child(status, "goodput"), child(status, "checkpoint")
    return {
        "mlplatform.attempts": str(status.get("attempt") or 0),
        "mlplatform.restarts": str(restarts),
        "mlplatform.goodput_percent": str(spent.get("percent") or 0),
        "mlplatform.checkpoint_step": str(checkpoint["step"]) if "step" in checkpoint else "",
        "mlplatform.checkpoint_uri": str(checkpoint.get("uri") or ""),
        "mlplatform.checkpoint_claim": _claim(name, child(spec, "checkpoint")) if "step" in checkpoint else "",
    }


def _claim(name: str, asked: Mapping[str, Any]) -> str:
    """The claim that its checkpoints are on; with one for each rank, how they begin."""
    if asked.get("scope") == "Rank":
        return f"{name}-*"
    return str(asked.get("claimName") or (job_claim(name) if asked.get("claimSpec") else ""))
