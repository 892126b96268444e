"""What an attempt left behind, as a fact for the planner.

``result.json`` is the only truth: it is written by rename, last. An attempt without one ended with its process.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplatform.core.model import Artifact, ArtifactValue, TaskError, Values
from mlplatform.core.values import child
from mlplatform.engine.ports import Exit
from mlplatform.launcher.attempt import EXIT_NO_RESULT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``raw`` is result.json (empty when it is missing); ``lost``: not the user's failure."""

    succeeded: bool
    values: Values
    error: TaskError | None
    raw: Mapping[str, Any]
    lost: bool = False
    finished_at: float | None = None


def read_result(directory: Path) -> Mapping[str, Any] | None:
    """result.json of an attempt, or None if the attempt has not finished."""
    try:
        data = json.loads((directory / "result.json").read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None  # pyright: ignore[reportUnknownVariableType]


def outcome(directory: Path, exit_: Exit | None, lists: frozenset[str]) -> Outcome:
    """Read the attempt's result; ``lists`` names the outputs that are lists of artifacts."""
    raw = read_result(directory)
    if raw is None:
        return _died(exit_)
    values = _values(raw, lists)
    error = TaskError.from_json(raw.get("error"))
    succeeded = raw.get("state") == "SUCCEEDED"
    if not succeeded and error is None:
        error = TaskError("TASK_FAILED", "the task failed and did not say why")
    return Outcome(succeeded, values, None if succeeded else error, raw, finished_at=raw.get("finished_at"))


def _values(raw: Mapping[str, Any], lists: frozenset[str]) -> Values:
    artifacts: dict[str, ArtifactValue] = {}
    for name, items in child(raw, "artifacts").items():
        found = tuple(Artifact.from_json({**item, "name": item.get("name") or name}) for item in items)
        if name in lists:
            artifacts[name] = found
        elif found:
            artifacts[name] = found[0]
    return Values(parameters=child(raw, "parameters"), artifacts=artifacts)


def _died(exit_: Exit | None) -> Outcome:
    if exit_ is None or exit_.lost:
        return Outcome(False, Values(), TaskError("LOST", "the attempt was lost with its process"), {}, lost=True)
    if exit_.signal:
        try:
            name = signal.Signals(exit_.signal).name
        except ValueError:
            name = f"signal {exit_.signal}"
        hint = {
            "SIGKILL": "The usual cause is memory: see `mlplatform doctor`, or ask for less at once.",
            "SIGSEGV": "A native library crashed; the last lines of the log may say which.",
        }.get(name, "")
        message = exit_.reason or f"the task's process was ended by {name}"
        return Outcome(False, Values(), TaskError("PROCESS_DIED", message, hint=hint), {})
    if exit_.exit_code == EXIT_NO_RESULT:
        message = "the task ended, and its result could not be written: No space left on the disk, or the disk failed"
        hint = "Free some space (`mlplatform gc` helps), then `mlplatform runs resume`."
        return Outcome(False, Values(), TaskError("SYSTEM", message, hint=hint), {})
    message = exit_.reason or f"the task's process ended with status {exit_.exit_code} and left no result"
    return Outcome(False, Values(), TaskError("PROCESS_DIED", message), {})
