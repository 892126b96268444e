"""What the panel shows, as JSON: the plan of the open notebook, its runs, one run with its tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mlplatform.core.errors import NotFound
from mlplatform.engine.home import Home
from mlplatform.notebook.model import NotebookPlan
from mlplatform.notebook.partition import plan
from mlplatform.notebook.read import loads, read_notebook
from mlplatform.notebook.show import describe
from mlplatform.planning.layout import Edge, Node, layout
from mlplatform.sdk.notebook_submit import TAG
from mlplatform.sdk.records import open_records, read_report
from mlplatform.sdk.report import run_summary
from mlplatform.sdk.submitting import FROM

#: A node of the graph, in pixels; the panel is narrow.
_WIDTH, _HEIGHT = 150.0, 34.0
_RUNS: Final = 30
#: Of a task's traceback, the end.
_TRACEBACK: Final = 4000


def plan_of(path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How a notebook would compile: ``notebook.show.describe`` with ``layout`` (see ``planning.layout``).

    Args:
        document: the notebook as it stands in the editor; the saved file without it.

    Raises:
        InvalidPipeline, NotFound, Unsupported: with every finding.
    """
    if document is None or path.endswith(".py"):
        return _drawn(plan(read_notebook(path)))
    return _drawn(plan(loads(json.dumps(document), path)))


def _drawn(made: NotebookPlan) -> dict[str, Any]:
    told = describe(made)
    tasks: list[dict[str, Any]] = told["tasks"]
    nodes = [Node(str(task["name"]), _WIDTH, _HEIGHT) for task in tasks]
    edges = [Edge(str(source), str(task["name"])) for task in tasks for source in task["depends_on"]]
    return {**told, "layout": layout(nodes, edges).to_json()}


def runs_of(home: Home, path: str) -> list[dict[str, Any]]:
    """The runs of a notebook and those that its kernels started, the newest first."""
    try:
        with open_records(home) as store:
            found = [run for tag in (TAG, FROM) for run in store.list_runs(tags={tag: path}, limit=_RUNS)]
    except NotFound:  # nothing has run in this home yet
        return []
    found.sort(key=lambda run: run.run_id, reverse=True)
    return [run_summary(run) for run in found[:_RUNS]]


def run_of(home: Home, run_id: str) -> dict[str, Any]:
    """A run with its tasks, as far as the panel shows them. Raises NotFound."""
    report = read_report(home, run_id)
    kept = ("run_id", "name", "state", "parameters", "created_at", "started_at", "finished_at", "mlflow_url", "error")
    tasks: list[dict[str, Any]] = report["tasks"]
    return {
        **{name: report[name] for name in kept},
        "notebook": report.get("notebook", ""),
        "tasks": [_task(task) for task in tasks if not task["is_group"]],
    }


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "iteration", "state", "attempts", "cached", "why", "started_at", "finished_at")
    error = task["error"]
    if error:
        error = {**error, "traceback": str(error.get("traceback") or "")[-_TRACEBACK:]}
    return {**{name: task[name] for name in kept}, "cells": task.get("cells", []), "error": error}


def last_event(home: Home) -> int:
    """The number of the newest event of the home; -1 where nothing has run in it."""
    try:
        with open_records(home) as store:
            return store.last_event()
    except NotFound:
        return -1
