"""Runs side by side: parameters, outputs and metrics, each under one name for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from mlplatform.core.model import Artifact, TaskRecord
from mlplatform.core.values import JsonValue
from mlplatform.server import kinds, models, words
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/api/v1", tags=["runs"], responses=RESPONSES)

#: Metrics of one run: beyond, a table is no comparison any more.
_MOST = 2000


class ComparedRun(models.Model):
    """``metrics``: by task (with its iteration) and name, ``train[3]/loss``; numbers as they were logged."""

    run: models.RunSummary
    parameters: dict[str, Any]
    outputs: dict[str, Any]
    metrics: dict[str, float]
    truncated: bool


class Comparison(models.Model):
    runs: Annotated[list[ComparedRun], Field(max_length=20)]


@router.get("/compare", response_model=Comparison)
def compare(
    here: Here, run: Annotated[list[str], Query(min_length=1, max_length=20, description="Which; up to twenty.")]
) -> Any:
    """What went into runs and what came out of them, to be laid side by side. In the order asked for."""
    found: list[dict[str, Any]] = []
    for reference in dict.fromkeys(run):
        record = here.store.find_run(reference)
        metrics = metrics_of(here.store.tasks(record.run_id))
        found.append(
            {
                "run": words.run_summary(record),
                "parameters": dict(record.parameters),
                "outputs": dict(record.outputs.parameters),
                "metrics": dict(list(metrics.items())[:_MOST]),
                "truncated": len(metrics) > _MOST,
            }
        )
    return {"runs": found}


def metrics_of(tasks: Iterable[TaskRecord]) -> dict[str, float]:
    """Every number that tasks logged in a ``system.Metrics`` artifact, and every number they returned."""
    found: dict[str, float] = {}
    for task in tasks:
        if task.is_group:
            continue
        for name, value in task.outputs.parameters.items():
            if _is_number(value):
                found[f"{task.key}/{name}"] = float(value)  # pyright: ignore[reportArgumentType] - a number
        for value in task.outputs.artifacts.values():
            for artifact in (value,) if isinstance(value, Artifact) else value:
                if artifact.type == "system.Metrics":
                    logged = kinds.metrics_of(dict(artifact.metadata))
                    found |= {f"{task.key}/{key}": float(one) for key, one in logged.items() if _is_number(one)}
    return found


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
