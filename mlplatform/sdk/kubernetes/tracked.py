"""What MLflow is told of a run that is on a cluster: the same as of one on a machine, from the same records.

Whoever keeps a namespace's history tells it, before it keeps what it saw: dying in between says the same once more,
which changes nothing (``engine.ports.Tracker`` is repeatable).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.engine.notebooks.executed import OUTPUT
from mlplatform.engine.ports import Tracker
from mlplatform.sdk.kubernetes.history import Whole


def with_known_ids(found: Whole, run: RunRecord | None, tasks: Mapping[TaskKey, TaskRecord]) -> Whole:
    """The records with the ids that they have in MLflow and with the executed notebook, as far as those are known."""
    if run is None:
        return found
    kept = [
        replace(task, mlflow_run_id=tasks[task.key].mlflow_run_id) if task.key in tasks else task
        for task in found.tasks
    ]
    outputs, notebook = found.run.outputs, run.outputs.artifacts.get(OUTPUT)
    if notebook is not None and found.run.state.finished:
        outputs = replace(outputs, artifacts={**outputs.artifacts, OUTPUT: notebook})
    whole = replace(found.run, mlflow_run_id=run.mlflow_run_id, outputs=outputs)
    return replace(found, run=whole, tasks=tuple(kept))


def track(tracker: Tracker, found: Whole, known: RunRecord | None, tasks: Mapping[TaskKey, TaskRecord]) -> Whole:
    """Tell what is new since ``known`` and its ``tasks``; returns the records with their ids in MLflow."""
    run = found.run
    if run.started_at is None:
        return found
    resumed = known is not None and known.state.finished and not run.state.finished
    if not run.mlflow_run_id or resumed:
        run = replace(run, mlflow_run_id=tracker.run_started(run))
    told: list[TaskRecord] = []
    for task in found.tasks:
        if task.state.finished and not task.is_group and tasks.get(task.key) != task:
            task = replace(task, mlflow_run_id=tracker.task_finished(run, task) or task.mlflow_run_id)
        told.append(task)
    if run.state.finished and (known is None or known.state != run.state or known.finished_at != run.finished_at):
        tracker.run_finished(run)
    return replace(found, run=run, tasks=tuple(told))
