"""The machine and the cache: what runs on what, why, and forgetting results. And one search over everything."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from mlplatform.core.errors import InvalidInput
from mlplatform.core.queries import RunQuery
from mlplatform.server import catalog_models as models
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/api/v1", tags=["machine"], responses=RESPONSES)


@router.get("/machine", response_model=models.Machine)
def machine(here: Here) -> Any:
    """Cores, memory, GPUs, and the tasks that have them. The service is not started by asking."""
    told = here.service.status()
    capacity: dict[str, Any] = told.get("capacity") or {}
    return {
        "service": bool(told),
        "version": str(told.get("version") or ""),
        "home": str(here.settings.home.root),
        "store": here.settings.shown_store,
        "cores": float(capacity.get("cores") or 0.0),
        "memory": float(capacity.get("memory") or 0.0),
        "gpus": list(capacity.get("gpus") or ()),
        "active_runs": int(told.get("active") or 0),
        "running": list(capacity.get("holders") or ()),
        "waiting": int(capacity.get("waiting") or 0),
        "stays": bool(told.get("stays")),
        "recurring_runs": int(told.get("recurring_runs") or 0),
        "trouble": str(told.get("trouble") or ""),
    }


@router.get("/runs/{run_id}/why/{task:path}", response_model=models.Why)
def why(here: Here, run_id: str, task: str) -> Any:
    """Why a task ran, was reused, waits, was skipped or failed; ``task`` as on the command line: ``train[3]``."""
    from mlplatform.engine.why import explain_task

    return explain_task(here.store, run_id, task)


@router.post("/cache/clear", response_model=models.Removed)
def clear_cache(here: Here, body: models.CacheClear) -> Any:
    """Forget results that could be reused."""
    if not (body.run_id or body.identity or body.everything):
        raise InvalidInput("nothing to forget is named", hint="Name a run_id or an identity, or say everything.")
    return {"removed": here.service.cache_clear(run_id=body.run_id, identity=body.identity)}


@router.get("/search", response_model=models.FoundList)
def search(
    here: Here,
    q: Annotated[str, Query(min_length=1, max_length=500)],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Any:
    """Runs, pipelines, experiments and recurring runs in whose names all words appear."""
    words = q.lower().split()

    def fits(*texts: str) -> bool:
        return all(word in " ".join(texts).lower() for word in words)

    found: list[dict[str, Any]] = [
        _found("run", entry.run.run_id, entry.run.name, f"{entry.run.state} · {entry.run.pipeline}", "runs")
        for entry in here.store.run_page(RunQuery(text=q, limit=limit, archived=None))
    ]
    found += [
        _found("pipeline", one.pipeline_id, one.name, one.description, "pipelines")
        for one in here.catalog.pipelines()
        if fits(one.name, one.description)
    ][:limit]
    found += [
        _found("experiment", one.experiment_id, one.name, one.description, "experiments")
        for one in here.catalog.experiments()
        if fits(one.name, one.description)
    ][:limit]
    found += [
        _found("recurring run", one.recurring_id, one.name, one.description, "recurring")
        for one in here.catalog.recurring()
        if fits(one.name, one.description)
    ][:limit]
    return {"results": found}


def _found(kind: str, about: str, name: str, detail: str, page: str) -> dict[str, Any]:
    return {"kind": kind, "id": about, "name": name, "detail": detail[:200], "link": f"#/{page}/{about}"}
