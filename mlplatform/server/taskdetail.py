"""One task of a run as ``models.TaskDetail``: records, what it runs, what it took, where its logs are."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import AttemptRecord, RunRecord, TaskKey, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.why import sentence
from mlplatform.ir.load import loads
from mlplatform.ir.model import Component, ContainerExecutor, ImporterExecutor, Pipeline
from mlplatform.planning.notebook_component import recognise_notebook
from mlplatform.planning.python_component import recognise
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.task import training_of
from mlplatform.sdk.records import identity, log_file
from mlplatform.server.context import Context
from mlplatform.server.documents import Source
from mlplatform.server.metrics import metrics_of
from mlplatform.server.words import error_json, values_json
from mlplatform.tracking.latest import logged_metrics


def detail(here: Context, run: RunRecord, task: TaskRecord) -> dict[str, Any]:
    """``models.TaskDetail``."""
    attempts = here.store.attempts(run.run_id, task.key)
    code = _code_of(here, run, task)
    reference = str(task.key)
    return {
        "run_id": run.run_id,
        "name": task.key.name,
        "iteration": list(task.key.iteration),
        "state": str(task.state),
        "is_group": task.is_group,
        "component": task.component,
        "why": "" if task.is_group else sentence(task),
        "waiting_for": task.waiting_for,
        "cache_key": task.cache_key,
        "cached_from": task.cached_from,
        "inputs": values_json(task.inputs),
        "outputs": values_json(task.outputs),
        "metrics": _metrics(here, run, task),
        "error": error_json(task.error),
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "retry_at": task.retry_at,
        "mlflow_run_id": task.mlflow_run_id,
        "mlflow": f"mlflow/open/{task.mlflow_run_id}" if task.mlflow_run_id else "",
        "training": _training(here, run, task),
        "attempts": [_attempt(attempt) for attempt in attempts],
        "code": code,
        "cost": _cost(here, run, task, attempts),
        "commands": {
            "logs": f"mlplatform runs logs {run.run_id} {reference}",
            "why": f"mlplatform cache why {run.run_id} {reference}",
            **(_replay(run, task.key) if task.attempt and code is not None and code["kind"] in _REPLAYED else {}),
        },
    }


def _training(here: Context, run: RunRecord, task: TaskRecord) -> str:
    """The name of the training job that it is, "" where it is none."""
    component = _component(here, run, task.key)
    if component is None or not component.executor_label or not task.attempt or task.state is TaskState.CACHED:
        return ""
    if training_of(_pipeline(here, run.spec_digest), component.executor_label) is None:
        return ""
    return task_job(identity(run), task.key)


#: Kinds of code that a kernel can be given: not a container's or an importer's.
_REPLAYED = ("python", "notebook")


def _replay(run: RunRecord, key: TaskKey) -> dict[str, str]:
    """Python for a notebook: what the task was given here, with its function or cells, ready to run again there."""
    arguments = ", ".join([json.dumps(key.name, ensure_ascii=False), *map(str, key.iteration)])
    return {"replay": f"import mlplatform as ml; ml.run({json.dumps(run.run_id)}).task({arguments}).replay()"}


def _metrics(here: Context, run: RunRecord, task: TaskRecord) -> dict[str, float]:
    """What it logged, by name."""
    found = metrics_of([task], logged_metrics(here.settings.home.mlflow, run.run_id, [task]), returned=False)
    return {name.removeprefix(f"{task.key}/"): number for name, number in found.items()}


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    try:
        size: int | None = log_file(attempt).stat().st_size
    except OSError:
        size = None
    return {
        "attempt": attempt.attempt,
        "state": str(attempt.state),
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "exit_code": attempt.exit_code,
        "error": error_json(attempt.error),
        "log_size": size,
    }


def _cost(here: Context, run: RunRecord, task: TaskRecord, attempts: list[AttemptRecord]) -> dict[str, Any]:
    now = here.now()
    seconds = sum(
        max(0.0, (attempt.finished_at or now) - attempt.started_at)
        for attempt in attempts
        if attempt.started_at is not None and (attempt.finished_at is not None or not run.state.finished)
    )
    asked: dict[str, str] = {}
    component = _component(here, run, task.key)
    if component is not None:
        executor = _pipeline(here, run.spec_digest).executors.get(component.executor_label)
        resources = executor.resources if isinstance(executor, ContainerExecutor) else None
        if resources is not None:
            asked = {
                "cpu": resources.cpu_limit or resources.cpu_request,
                "memory": resources.memory_limit or resources.memory_request,
            }
            if resources.accelerator is not None:
                asked["accelerator"] = f"{resources.accelerator.count or '1'} {resources.accelerator.type}".strip()
    return {"seconds": seconds, "asked": {name: text for name, text in asked.items() if text}}


# ------------------------------------------------------------------ code
def _code_of(here: Context, run: RunRecord, task: TaskRecord) -> dict[str, Any] | None:
    """``models.Code``, or None where the document does not tell (any more)."""
    component = _component(here, run, task.key)
    if component is None:
        return None
    found: dict[str, Any] = {
        "kind": "group",
        "component": task.component,
        "image": "",
        "command": [],
        "args": [],
        "source": "",
        "packages": [],
    }
    executor = _pipeline(here, run.spec_digest).executors.get(component.executor_label)
    if isinstance(executor, ImporterExecutor):
        return {**found, "kind": "importer", "source": executor.uri}
    if executor is None:
        return found
    found |= {"kind": "container", "image": executor.image}
    if (notebook := recognise_notebook(executor)) is not None:
        cells = "\n\n".join(f"# %% [{cell.index}]\n{cell.source}" for cell in notebook.cells)
        return {**found, "kind": "notebook", "source": cells}
    if (python := recognise(executor)) is not None:
        return {**found, "kind": "python", "source": python.source, "packages": list(python.packages)}
    return {**found, "command": list(executor.command), "args": list(executor.args)}


def _component(here: Context, run: RunRecord, key: TaskKey) -> Component | None:
    """What a task of a run runs, found by its path."""
    try:
        pipeline = _pipeline(here, run.spec_digest)
    except MlPlatformError:  # the document was made by a version that knew more than this one
        return None
    component = pipeline.root
    for name in key.path:
        task = component.dag.tasks.get(name) if component.dag is not None else None
        found = pipeline.components.get(task.component) if task is not None else None
        if found is None:
            return None
        component = found
    return component


def _pipeline(here: Context, digest: str) -> Pipeline:
    return _loaded(Source(digest, lambda: here.store.document(digest)))


@lru_cache(16)
def _loaded(source: Source) -> Pipeline:
    return loads(source.read())
