"""Records as the API's words. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

from mlplatform.core.catalog import (
    PIPELINE_TAG,
    RECURRING_TAG,
    RERUN_TAG,
    SYSTEM_TAG,
    TICK_TAG,
    VERSION_TAG,
)
from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import RunRecord, TaskError, TaskRecord, Values
from mlplatform.core.queries import ListedRun

_ORIGIN: Final = {
    "pipeline_id": PIPELINE_TAG,
    "version_id": VERSION_TAG,
    "recurring_id": RECURRING_TAG,
    "scheduled_for": TICK_TAG,
    "rerun_of": RERUN_TAG,
}


def run_summary(run: RunRecord, tasks: int | None = None, done: int | None = None) -> dict[str, Any]:
    """``models.RunSummary``."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "pipeline": run.pipeline,
        "experiment": run.experiment,
        "state": str(run.state),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "priority": run.priority,
        "tags": {name: value for name, value in run.tags.items() if not name.startswith(SYSTEM_TAG)},
        "note": run.note,
        "archived": run.archived,
        "error": error_json(run.error),
        "progress": None if tasks is None or done is None else {"done": done, "total": tasks},
        "origin": {field: run.tags.get(tag, "") for field, tag in _ORIGIN.items()},
        "mlflow_run_id": run.mlflow_run_id,
    }


def listed(entry: ListedRun) -> dict[str, Any]:
    return run_summary(entry.run, entry.tasks, entry.done)


def error_json(error: TaskError | None) -> dict[str, str] | None:
    return None if error is None else error.to_json()


def values_json(values: Values) -> dict[str, Any]:
    """Parameters and artifacts under their names, in one object."""
    data = values.to_json()
    return {**data["parameters"], **data["artifacts"]}


def task_table(run: RunRecord, tasks: Iterable[TaskRecord], seq: int) -> dict[str, Any]:
    """``models.TaskTable``."""
    names, components, states, notes, errors = (_Dictionary() for _ in range(5))
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "name", "iteration", "state", "group", "component", "attempts", "created", "started", "finished", "note",
            "error",
        )
    }  # fmt: skip
    base = run.created_at
    for task in tasks:
        columns["name"].append(names.place(task.key.name))
        columns["iteration"].append(list(task.key.iteration))
        columns["state"].append(states.place(str(task.state)))
        columns["group"].append(int(task.is_group))
        columns["component"].append(components.place(task.component))
        columns["attempts"].append(task.attempt)
        columns["created"].append(_after(base, task.created_at))
        columns["started"].append(_after(base, task.started_at))
        columns["finished"].append(_after(base, task.finished_at))
        columns["note"].append(notes.place(task.waiting_for or task.cache_note))
        columns["error"].append(errors.place(task.error.message if task.error else ""))
    return {
        "run_id": run.run_id,
        "seq": seq,
        "base": base,
        "dictionaries": {
            "name": names.texts,
            "component": components.texts,
            "state": states.texts,
            "note": notes.texts,
            "error": errors.texts,
        },
        "columns": columns,
    }


class _Dictionary:
    """Texts that repeat, each told once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places)) if text else -1

    @property
    def texts(self) -> list[str]:
        return list(self._places)


def _after(base: float, time: float | None) -> int | None:
    return None if time is None else round((time - base) * 1000)


# ------------------------------------------------------------------ cursors
def to_cursor(place: tuple[Any, ...] | None) -> str:
    """A place in a list, for the next page; empty where there is none."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


def from_cursor(text: str, kinds: tuple[tuple[type, ...], ...]) -> tuple[Any, ...]:
    """What :func:`to_cursor` was given; ``kinds``: the types of its parts. Raises InvalidInput for anything else."""
    try:
        place: Any = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if all(isinstance(part, kind) for part, kind in zip(place, kinds, strict=True)):
            return tuple(place)
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidInput("the cursor is not one of this list", hint="Use next_cursor of the page before, unchanged.")
