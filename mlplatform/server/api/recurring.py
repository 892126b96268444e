"""Recurring runs: runs that are made by the clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Response

from mlplatform.core.catalog import RecurringRun, Trigger
from mlplatform.planning.recurring import next_ticks
from mlplatform.server import catalog_models as models
from mlplatform.server import registry
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute

router = APIRouter(
    route_class=PlainRoute, prefix="/api/v1/recurring-runs", tags=["recurring runs"], responses=RESPONSES
)

_SHOWN = 5


@router.get("", response_model=models.RecurringList)
def list_recurring(here: Here) -> Any:
    """All of them, newest first."""
    found = here.catalog.recurring()
    return {"recurring_runs": [recurring_json(here, entry) for entry in found], "note": registry.NOTE}


@router.post("", status_code=201, response_model=models.RecurringModel)
def create_recurring(here: Here, body: models.CreateRecurring) -> Any:
    """Have a pipeline run again and again."""
    wanted = registry.NewRecurring(
        name=body.name,
        trigger=_trigger(body.trigger),
        description=body.description,
        experiment=body.experiment,
        pipeline_id=body.pipeline_id,
        version_id=body.version_id,
        document=body.document,
        parameters=body.parameters,
        options={"cache": body.cache, "priority": body.priority},
        enabled=body.enabled,
        catchup=body.catchup,
        max_concurrency=body.max_concurrency,
    )
    return recurring_json(here, registry.create_recurring(here, wanted))


@router.post("/check", response_model=models.TriggerCheck)
def check_trigger(here: Here, body: models.TriggerModel) -> Any:
    """When a trigger would make runs; refused with every finding."""
    trigger = _trigger(body)
    registry.check_trigger(trigger)
    now = here.now()
    entry = RecurringRun("", "", trigger, created_at=now, updated_at=now, ticked_at=now)
    return {"next": next_ticks(entry, now, _SHOWN)}


@router.get("/{recurring_id}", response_model=models.RecurringModel)
def get_recurring(here: Here, recurring_id: str) -> Any:
    return recurring_json(here, here.catalog.recurring_run(recurring_id))


@router.patch("/{recurring_id}", response_model=models.RecurringModel)
def change_recurring(here: Here, recurring_id: str, body: models.ChangeRecurring) -> Any:
    """Turn one on or off, or change when and how it runs."""
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("enabled", body.enabled),
            ("trigger", _trigger(body.trigger) if body.trigger is not None else None),
            ("catchup", body.catchup),
            ("max_concurrency", body.max_concurrency),
            ("parameters", body.parameters),
            ("description", body.description),
        )
        if value is not None
    }
    return recurring_json(here, registry.change_recurring(here, recurring_id, lambda entry: replace(entry, **changes)))


@router.delete("/{recurring_id}", status_code=204)
def delete_recurring(here: Here, recurring_id: str) -> Response:
    """Remove one; its runs stay."""
    registry.delete_recurring(here, recurring_id)
    return Response(status_code=204)


def _trigger(body: models.TriggerModel) -> Trigger:
    return Trigger(body.cron.strip(), body.interval, body.timezone, body.start, body.end)


def recurring_json(here: Context, entry: RecurringRun) -> dict[str, Any]:
    """``models.RecurringModel``."""
    return {
        "recurring_id": entry.recurring_id,
        "name": entry.name,
        "description": entry.description,
        "experiment": entry.experiment,
        "enabled": entry.enabled,
        "trigger": entry.trigger.to_json(),
        "catchup": entry.catchup,
        "max_concurrency": entry.max_concurrency,
        "pipeline_id": entry.pipeline_id,
        "version_id": entry.version_id,
        "parameters": dict(entry.parameters),
        "cache": bool(entry.options.get("cache", True)),
        "priority": int(entry.options.get("priority") or 0),  # pyright: ignore[reportArgumentType] - ours
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "ticked_at": entry.ticked_at,
        "next": next_ticks(entry, here.now(), _SHOWN),
        "active": here.catalog.unfinished_of(entry.recurring_id),
        "trouble": entry.trouble,
    }
