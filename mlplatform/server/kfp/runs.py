"""The routes for runs and recurring runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from fastapi import APIRouter, Request

from mlplatform.core.catalog import RecurringRun, Trigger
from mlplatform.core.errors import InvalidInput
from mlplatform.core.queries import Column, Condition, Operator, RunQuery, Sort
from mlplatform.server import registry, submitting
from mlplatform.server.context import Context, Here
from mlplatform.server.kfp import bodies
from mlplatform.server.kfp.api import Options
from mlplatform.server.kfp.filters import Page, Predicate, paged, predicates, size_of, sort_of
from mlplatform.server.kfp.specs import experiment_ids, experiment_name, in_thread, spec_of
from mlplatform.server.kfp.times import from_rfc3339, microsecond
from mlplatform.server.kfp.words import ARCHIVED, STATES, recurring_json, run_json
from mlplatform.server.plain import PlainRoute
from mlplatform.server.words import from_cursor, to_cursor

router = APIRouter(route_class=PlainRoute, prefix="/apis/v2beta1", include_in_schema=False)

_COLUMNS: Final = {
    "id": Column.RUN_ID,
    "run_id": Column.RUN_ID,
    "name": Column.NAME,
    "display_name": Column.NAME,
    "state": Column.STATE,
    "created_at": Column.CREATED_AT,
    "scheduled_at": Column.CREATED_AT,
    "finished_at": Column.FINISHED_AT,
}
_SORTS: Final = {
    "": Sort.CREATED,
    "id": Sort.CREATED,
    "run_id": Sort.CREATED,
    "created_at": Sort.CREATED,
    "scheduled_at": Sort.CREATED,
    "finished_at": Sort.FINISHED,
    "name": Sort.NAME,
    "display_name": Sort.NAME,
}
_OUR_STATE: Final = {theirs: str(ours) for ours, theirs in STATES.items()}
_RECURRING: Final[dict[str, Callable[[RecurringRun], Any]]] = {
    "id": lambda one: one.recurring_id,
    "recurring_run_id": lambda one: one.recurring_id,
    "name": lambda one: one.name,
    "display_name": lambda one: one.name,
    "created_at": lambda one: one.created_at,
    "updated_at": lambda one: one.updated_at,
    "status": lambda one: "ENABLED" if one.enabled else "DISABLED",
    "mode": lambda one: "ENABLE" if one.enabled else "DISABLE",
}


# ------------------------------------------------------------------ runs
@router.get("/runs")
def list_runs(here: Here, page: Options, experiment_id: str = "", namespace: str = "") -> dict[str, Any]:
    query = query_of(page)
    if experiment_id:
        query = replace(query, experiment=experiment_name(here, experiment_id))
    query = _by_experiments(here, query, page)
    found = here.store.run_page(query)
    size = query.limit - 1
    more = len(found) > size
    ids = experiment_ids(here)
    return {
        "runs": [run_json(one.run, ids.get(one.run.experiment, "")) for one in found[:size]],
        "total_size": sum(here.store.run_counts(query).values()),
        "next_page_token": to_cursor(found[size - 1].place) if more else "",
    }


def query_of(page: Page) -> RunQuery:
    """A list's options as a query over runs, experiments left out. Pure. Raises InvalidInput."""
    where: list[Condition] = []
    archived: bool | None = None
    for predicate in predicates(page.filter):
        match predicate.key:
            case "storage_state":
                archived = _archived(predicate)
            case "experiment_id" | "namespace":
                continue
            case key if key in _COLUMNS:
                where += _conditions(predicate, _COLUMNS[key])
            case key:
                known = ", ".join([*_COLUMNS, "storage_state", "experiment_id"])
                raise InvalidInput(f"runs cannot be filtered by {key!r}", hint=f"Known: {known}.")
    field, descending = sort_of(page)
    if field not in _SORTS:
        raise InvalidInput(f"runs cannot be sorted by {field!r}", hint=f"Known: {', '.join(filter(None, _SORTS))}.")
    after = None
    if page.page_token:
        value, run_id = from_cursor(page.page_token, ((str, int, float), (str,)))
        after = (value, run_id)
    return RunQuery(
        archived=archived,
        where=tuple(where),
        sort=_SORTS[field],
        descending=descending,
        limit=size_of(page) + 1,
        after=after,
    )


def _conditions(predicate: Predicate, column: Column) -> list[Condition]:
    if column in (Column.CREATED_AT, Column.FINISHED_AT):
        return _times(predicate, column)
    change = _state if column is Column.STATE else str
    return [Condition(column, predicate.operator, _each(predicate.value, change))]


def _times(predicate: Predicate, column: Column) -> list[Condition]:
    """Clients know times to the microsecond, and the store more exactly: what they mean is that microsecond."""
    value = predicate.value
    if isinstance(value, str) and not predicate.is_time:
        value = from_rfc3339(value)
    if not isinstance(value, (int, float)):
        raise InvalidInput(f"{predicate.key} is compared with a timestamp_value")
    micros = microsecond(float(value))
    begin, end = micros / 1e6, (micros + 1) / 1e6
    match predicate.operator:
        case Operator.GREATER:
            return [Condition(column, Operator.GREATER_EQUAL, end)]
        case Operator.GREATER_EQUAL:
            return [Condition(column, Operator.GREATER_EQUAL, begin)]
        case Operator.LESS:
            return [Condition(column, Operator.LESS, begin)]
        case Operator.LESS_EQUAL:
            return [Condition(column, Operator.LESS, end)]
        case Operator.EQUALS:
            return [Condition(column, Operator.GREATER_EQUAL, begin), Condition(column, Operator.LESS, end)]
        case _:
            raise InvalidInput(f"{predicate.key} cannot be compared by {predicate.operator.name}")


def _each(value: Any, change: Callable[[Any], str]) -> Any:
    """A value, or each of a list of values, changed."""
    return tuple(change(one) for one in cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else change(value)


def _state(name: Any) -> str:
    return _OUR_STATE.get(str(name).upper(), str(name).upper())


def _archived(predicate: Predicate) -> bool:
    if predicate.operator not in (Operator.EQUALS, Operator.NOT_EQUALS) or not isinstance(predicate.value, str):
        raise InvalidInput("storage_state EQUALS or NOT_EQUALS a string_value")
    return (predicate.value.upper() == ARCHIVED) == (predicate.operator is Operator.EQUALS)


def _by_experiments(here: Context, query: RunQuery, page: Page) -> RunQuery:
    """Conditions on experiment_id, by the experiments' names."""
    names = {one.experiment_id: one.name for one in here.catalog.experiments()}
    where = list(query.where)
    for predicate in predicates(page.filter):
        if predicate.key == "experiment_id":
            named = _each(predicate.value, lambda one: names.get(str(one), "\0"))
            where.append(Condition(Column.EXPERIMENT, predicate.operator, named))
    return replace(query, where=tuple(where))


@router.post("/runs")
async def create_run(here: Here, request: Request) -> dict[str, Any]:
    return await in_thread(_create_run, here, await bodies.body_of(request))


def _create_run(here: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    reference = bodies.inside(body, "pipeline_version_reference")
    wanted = submitting.Wanted(
        document=bodies.document_of(body),
        pipeline_id=bodies.text(reference, "pipeline_id"),
        version_id=bodies.text(reference, "pipeline_version_id") or bodies.text(body, "pipeline_version_id"),
        name=bodies.text(body, "display_name"),
        experiment=experiment_name(here, bodies.text(body, "experiment_id")),
        parameters=bodies.inside(bodies.inside(body, "runtime_config"), "parameters"),
    )
    run_id = submitting.submit(here, wanted)
    if description := bodies.text(body, "description"):
        here.store.annotate(run_id, note=description)
    return _run_json(here, run_id)


@router.get("/runs/{run_id}")
def get_run(here: Here, run_id: str) -> dict[str, Any]:
    return _run_json(here, run_id, tasks=True)


def _run_json(here: Context, run_id: str, *, tasks: bool = False) -> dict[str, Any]:
    run = here.store.get_run(run_id)
    return run_json(
        run,
        experiment_ids(here).get(run.experiment, ""),
        spec=spec_of(here, run.spec_digest),
        tasks=here.store.task_briefs(run_id) if tasks else (),
    )


@router.delete("/runs/{run_id}")
def delete_run(here: Here, run_id: str) -> dict[str, Any]:
    here.service.delete(here.store.get_run(run_id).run_id)
    return {}


@router.post("/runs/{run_id}:archive")
def archive_run(here: Here, run_id: str) -> dict[str, Any]:
    here.store.annotate(run_id, archived=True)
    return {}


@router.post("/runs/{run_id}:unarchive")
def unarchive_run(here: Here, run_id: str) -> dict[str, Any]:
    here.store.annotate(run_id, archived=False)
    return {}


@router.post("/runs/{run_id}:terminate")
def terminate_run(here: Here, run_id: str) -> dict[str, Any]:
    here.service.cancel(here.store.get_run(run_id).run_id)
    return {}


@router.post("/runs/{run_id}:retry")
def retry_run(here: Here, run_id: str) -> dict[str, Any]:
    submitting.resume(here, here.store.get_run(run_id))
    return {}


# ------------------------------------------------------------------ recurring runs
@router.get("/recurringruns")
def list_recurring(here: Here, page: Options, experiment_id: str = "", namespace: str = "") -> dict[str, Any]:
    entries = here.catalog.recurring()
    if experiment_id:
        name = experiment_name(here, experiment_id)
        entries = [entry for entry in entries if entry.experiment == name]
    found, total, token = paged(entries, page, _RECURRING, "created_at")
    ids = experiment_ids(here)
    told = [recurring_json(entry, ids.get(entry.experiment, "")) for entry in found]
    return {"recurringRuns": told, "total_size": total, "next_page_token": token}


@router.post("/recurringruns")
async def create_recurring(here: Here, request: Request) -> dict[str, Any]:
    return await in_thread(_create_recurring, here, await bodies.body_of(request))


def _create_recurring(here: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    reference = bodies.inside(body, "pipeline_version_reference")
    name = experiment_name(here, bodies.text(body, "experiment_id"))
    wanted = registry.NewRecurring(
        name=bodies.text(body, "display_name"),
        trigger=trigger_of(bodies.inside(body, "trigger")),
        description=bodies.text(body, "description"),
        experiment=name,
        pipeline_id=bodies.text(reference, "pipeline_id"),
        version_id=bodies.text(reference, "pipeline_version_id") or bodies.text(body, "pipeline_version_id"),
        document=bodies.document_of(body),
        parameters=bodies.inside(bodies.inside(body, "runtime_config"), "parameters"),
        enabled=str(bodies.field(body, "mode") or "ENABLE").upper() in ("ENABLE", "1"),
        catchup=not bodies.field(body, "no_catchup"),
        max_concurrency=_concurrency(body),
    )
    entry = registry.create_recurring(here, wanted)
    return recurring_json(entry, experiment_ids(here).get(entry.experiment, ""), spec_of(here, entry.document))


def _concurrency(body: Mapping[str, Any]) -> int:
    number = bodies.whole(body, "max_concurrency", 1)
    if not 1 <= number <= 100:
        raise InvalidInput(f"max_concurrency is 1 to 100, not {number}")
    return number


def trigger_of(body: Mapping[str, Any]) -> Trigger:
    """A trigger out of KFP's; its cron expressions are meant in UTC. Raises InvalidInput."""
    cron, periodic = bodies.inside(body, "cron_schedule"), bodies.inside(body, "periodic_schedule")
    schedule = cron or periodic
    start, end = bodies.field(schedule, "start_time"), bodies.field(schedule, "end_time")
    return Trigger(
        cron=bodies.text(cron, "cron"),
        interval=float(bodies.whole(periodic, "interval_second", 0)),
        start=from_rfc3339(start) if start else None,
        end=from_rfc3339(end) if end else None,
    )


@router.get("/recurringruns/{recurring_id}")
def get_recurring(here: Here, recurring_id: str) -> dict[str, Any]:
    entry = here.catalog.recurring_run(recurring_id)
    return recurring_json(entry, experiment_ids(here).get(entry.experiment, ""), spec_of(here, entry.document))


@router.delete("/recurringruns/{recurring_id}")
def delete_recurring(here: Here, recurring_id: str) -> dict[str, Any]:
    registry.delete_recurring(here, recurring_id)
    return {}


@router.post("/recurringruns/{recurring_id}:enable")
def enable_recurring(here: Here, recurring_id: str) -> dict[str, Any]:
    registry.change_recurring(here, recurring_id, lambda entry: replace(entry, enabled=True))
    return {}


@router.post("/recurringruns/{recurring_id}:disable")
def disable_recurring(here: Here, recurring_id: str) -> dict[str, Any]:
    registry.change_recurring(here, recurring_id, lambda entry: replace(entry, enabled=False))
    return {}
