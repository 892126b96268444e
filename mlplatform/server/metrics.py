"""The numbers of a run under names that are the same in all runs of its pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlplatform.core.model import Artifact, TaskRecord
from mlplatform.core.values import JsonValue
from mlplatform.server import kinds


def metrics_of(
    tasks: Iterable[TaskRecord], logged: Mapping[str, Mapping[str, float]] | None = None, *, returned: bool = True
) -> dict[str, float]:
    """Every number that tasks logged in MLflow (``logged``, by task), returned as an output (left out unless
    ``returned``), or logged in a ``system.Metrics`` artifact: of one name, the last of these is told.

    Names are a task's (with its iteration) and the number's: ``train[3]/loss``. JSON has no infinity and no "not a
    number": they are left out.
    """
    found: dict[str, float] = {}
    for task in tasks:
        if task.is_group:
            continue
        for key, one in (logged or {}).get(str(task.key), {}).items():
            if _is_number(one):
                found[f"{task.key}/{key}"] = one
        for name, value in task.outputs.parameters.items() if returned else ():
            if _is_number(value):
                found[f"{task.key}/{name}"] = float(value)  # pyright: ignore[reportArgumentType] - a number
        for value in task.outputs.artifacts.values():
            for artifact in (value,) if isinstance(value, Artifact) else value:
                if artifact.type == "system.Metrics":
                    numbers = kinds.metrics_of(dict(artifact.metadata))
                    found |= {f"{task.key}/{key}": float(one) for key, one in numbers.items() if _is_number(one)}
    return found


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
