"""Runs side by side: parameters, outputs and metrics, each under one name for all of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from mlplatform.server import models, words
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.metrics import metrics_of
from mlplatform.server.plain import PlainRoute
from mlplatform.tracking.latest import logged_metrics

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
        tasks = here.store.tasks(record.run_id)
        metrics = metrics_of(tasks, logged_metrics(here.settings.home.mlflow, record.run_id, tasks))
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
