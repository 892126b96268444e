"""Reading what runs did, straight from the store of a home: no service is needed for it, and none is started."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import NotFound
from mlplatform.core.model import AttemptRecord, RunRecord, TaskKey, TaskRecord
from mlplatform.core.values import child
from mlplatform.engine.home import Home
from mlplatform.ir.findings import did_you_mean
from mlplatform.sdk.report import run_report

if TYPE_CHECKING:
    from mlplatform.store.runstore import SqlRunStore

_REFERENCE = re.compile(r"(.*?)((?:\[\d+\])*)", re.DOTALL)


def store_target(home: Home) -> str:
    """``MLPLATFORM_STORE`` (a PostgreSQL or SQLite URL) or the home's SQLite file, as the service has it."""
    return os.environ.get("MLPLATFORM_STORE") or str(home.database)


@contextmanager
def open_records(home: Home) -> Generator[SqlRunStore]:
    """The store of a home, for reading.

    Raises:
        NotFound: nothing has run in this home yet (nothing is created by looking).
        StoreError: it cannot be read.
    """
    target = store_target(home)
    if target == str(home.database) and not home.database.exists():
        raise NotFound(f"there is no run in {home.root} yet", hint="`mlplatform run FILE` starts one.")
    from mlplatform.store import open_store

    store = open_store(target)
    try:
        yield store
    finally:
        store.close()


def read_report(home: Home, reference: str) -> dict[str, Any]:
    """The report of a run (see :func:`mlplatform.sdk.report.run_report`). Raises NotFound."""
    from mlplatform.sdk.notebook_facts import notebook_facts

    with open_records(home) as store:
        run = store.find_run(reference)
        tasks, attempts = store.tasks(run.run_id), store.attempts(run.run_id)
        facts = notebook_facts(home, store, run)
    logs = log_files(attempts)
    return run_report(run, tasks, logs=logs, mlflow_url=mlflow_url(home, run), notebook=facts)


def read_run(home: Home, reference: str) -> tuple[RunRecord, list[TaskRecord], list[AttemptRecord]]:
    """A run by id, unique prefix, name or ``latest``, with its tasks and attempts. Raises NotFound."""
    with open_records(home) as store:
        run = store.find_run(reference)
        return run, store.tasks(run.run_id), store.attempts(run.run_id)


#: An attempt's output, in the attempt's folder.
LOG_NAME = "task.log"


def identity(run: RunRecord) -> str:
    """What a run is known by where it runs: on a cluster the UID of its object, which its tasks' names are made of."""
    return str(child(run.context, "kubernetes").get("uid") or run.run_id)


def log_file(attempt: AttemptRecord) -> Path:
    """Where an attempt's output is kept."""
    return Path(attempt.directory) / LOG_NAME


def log_files(attempts: list[AttemptRecord]) -> dict[TaskKey, str]:
    """The log of each task's last attempt."""
    last: dict[TaskKey, AttemptRecord] = {}
    for attempt in attempts:
        if attempt.key not in last or attempt.attempt >= last[attempt.key].attempt:
            last[attempt.key] = attempt
    return {key: str(log_file(attempt)) for key, attempt in last.items()}


def mlflow_url(home: Home, run: RunRecord) -> str:
    """A link to a run in MLflow, through the home's own door; empty if the run is not tracked there."""
    if not run.mlflow_run_id:
        return ""
    # As tracking.door keeps it; importing that would cost every command an HTTP client.
    try:
        port = int(json.loads((home.mlflow / "gateway.json").read_bytes())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"http://127.0.0.1:{port}/open/{run.mlflow_run_id}"


def matching_tasks(tasks: list[TaskRecord], reference: str) -> list[TaskRecord]:
    """The tasks (no groups) that somebody means: by path, by its last part, or inside a group of that name; with
    ``[indexes]`` only those iterations.

    Raises:
        NotFound: none; the message lists what there is.
    """
    found = _REFERENCE.fullmatch(reference)
    path, indexes = (found[1], found[2]) if found else (reference, "")
    iteration = tuple(int(index) for index in re.findall(r"\d+", indexes))
    leaves = [task for task in tasks if not task.is_group]
    # From the most exact meaning to the least: its whole path, its own name, a group around it.
    meanings = (
        [task for task in leaves if task.key.name == path],
        [task for task in leaves if task.key.path[-1] == path],
        [task for task in leaves if path in task.key.path or task.key.name.startswith(path + "/")],
    )
    for meaning in meanings:
        chosen = [task for task in meaning if task.key.iteration[: len(iteration)] == iteration]
        if chosen:
            return chosen
    names = sorted({task.key.name for task in leaves})
    hint = did_you_mean(reference, [*names, *(name.rpartition("/")[2] for name in names)])
    if not hint and names:
        hint = "Tasks: " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise NotFound(f"there is no task {reference!r} in this run", hint=hint[:1].upper() + hint[1:])
