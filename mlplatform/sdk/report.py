"""The one JSON object that tells of a run: what ``mlplatform run --output json`` prints. Pure.

::

    {"run_id", "name", "pipeline", "experiment", "state", "parameters", "outputs": {name: value or artifact},
     "tasks": [{"name": "a/b", "iteration": [0], "state", "is_group", "component", "attempts", "cached",
                "inputs", "outputs", "artifacts", "error", "why", "log", "created_at", "started_at", "finished_at",
                "mlflow_run_id"}],
     "error": null | {"code", "message", "hint", "traceback", "findings"},
     "priority", "tags", "note", "created_at", "started_at", "finished_at", "mlflow_run_id", "mlflow_url"}

The run of a notebook has ``notebook`` as well (the path of the executed one, "" before its end), and each of its tasks
``cells``: the positions of its cells in the notebook, from 0.

Values keep their types; an artifact is ``{"name", "type", "uri", "metadata", "digest", "size"}``, a list of artifacts a
list of those. ``outputs`` holds parameters and artifacts, ``artifacts`` the artifacts alone. Times are seconds since
the epoch, UTC, null where something has not happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.engine.why import sentence

if TYPE_CHECKING:
    from mlplatform.sdk.notebook_facts import NotebookFacts


def run_report(
    run: RunRecord,
    tasks: Iterable[TaskRecord],
    *,
    logs: Mapping[TaskKey, str] | None = None,
    mlflow_url: str = "",
    notebook: NotebookFacts | None = None,
) -> dict[str, Any]:
    """The report of a run, finished or not.

    Args:
        logs: the log file of each task's last attempt.
        mlflow_url: where the run is shown in MLflow.
        notebook: what there is to say if it is a notebook's.
    """
    report = _run_report(run, [task_report(task, (logs or {}).get(task.key, "")) for task in tasks], mlflow_url)
    if notebook is not None:
        report["notebook"] = notebook.path
        order = {name: position for position, name in enumerate(notebook.cells)}
        told: list[dict[str, Any]] = report["tasks"]
        for task in told:
            task["cells"] = list(notebook.cells.get(str(task["name"]), ()))
        report["tasks"] = sorted(told, key=lambda task: order.get(str(task["name"]), len(order)))
    return report


def _run_report(run: RunRecord, tasks: list[dict[str, Any]], mlflow_url: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "pipeline": run.pipeline,
        "experiment": run.experiment,
        "state": str(run.state),
        "parameters": dict(run.parameters),
        "outputs": values_json(run.outputs),
        "tasks": tasks,
        "error": _error(run.error),
        "priority": run.priority,
        "tags": dict(run.tags),
        "note": run.note,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "mlflow_run_id": run.mlflow_run_id,
        "mlflow_url": mlflow_url,
    }


def task_report(task: TaskRecord, log: str = "") -> dict[str, Any]:
    """One entry of ``tasks``."""
    return {
        "name": task.key.name,
        "iteration": list(task.key.iteration),
        "state": str(task.state),
        "is_group": task.is_group,
        "component": task.component,
        "attempts": task.attempt,
        "cached": task.state is TaskState.CACHED,
        "inputs": values_json(task.inputs),
        "outputs": values_json(task.outputs),
        "artifacts": task.outputs.to_json()["artifacts"],
        "error": _error(task.error),
        "why": "" if task.is_group else sentence(task),
        "log": log,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "mlflow_run_id": task.mlflow_run_id,
    }


def refusal(error: MlPlatformError) -> dict[str, Any]:
    """The report of a request that was refused: nothing ran."""
    return {"run_id": None, "state": "INVALID", "outputs": {}, "tasks": [], "error": error.to_json()}


def run_summary(run: RunRecord) -> dict[str, Any]:
    """A run in a list: without tasks, inputs and outputs."""
    report = run_report(run, ())
    for name in ("tasks", "outputs", "mlflow_url"):
        del report[name]
    return report


def values_json(values: Values) -> dict[str, Any]:
    """Parameters and artifacts under their names, in one object."""
    data = values.to_json()
    return {**data["parameters"], **data["artifacts"]}


def _error(error: TaskError | None) -> dict[str, Any] | None:
    return None if error is None else {**error.to_json(), "findings": []}
