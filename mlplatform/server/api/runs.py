"""Runs: lists, details, and what people do to them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from mlplatform.core.catalog import RERUN_TAG
from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.core.model import RunRecord, Values
from mlplatform.core.queries import RunQuery, Sort
from mlplatform.core.states import RunState
from mlplatform.server import models, submitting, words
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute, encode

router = APIRouter(route_class=PlainRoute, prefix="/api/v1/runs", tags=["runs"], responses=RESPONSES)

Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("", response_class=Response, responses={200: {"model": models.RunPage}})
def list_runs(
    here: Here,
    q: Annotated[
        str, Query(max_length=500, description="Words that must all appear in id, name, pipeline or experiment.")
    ] = "",
    state: Annotated[list[RunState], Query(description="Any of these.")] = [],  # noqa: B006 - FastAPI copies it
    experiment: str = "",
    pipeline: str = "",
    tag: Annotated[list[str], Query(description="NAME=VALUE; all of these.", max_length=20)] = [],  # noqa: B006
    archived: bool = False,
    sort: Annotated[
        str, Query(pattern="^-?(created_at|finished_at|duration|name)$", description="With a minus: greatest first.")
    ] = "-created_at",
    limit: Limit = 50,
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """A page of runs, newest first unless sorted otherwise, and how many there are of each state."""
    query = RunQuery(
        text=q,
        states=tuple(sorted({str(one) for one in state})),
        experiment=experiment,
        pipeline=pipeline,
        tags=_tags(tag),
        archived=archived,
        sort=Sort(sort.removeprefix("-")),
        descending=sort.startswith("-"),
        limit=limit + 1,
        after=_after(cursor),
    )
    found = here.store.run_page(query)
    more = len(found) > limit
    page = {
        "runs": [words.listed(entry) for entry in found[:limit]],
        "next_cursor": words.to_cursor(found[limit - 1].place) if more else "",
        "counts": here.store.run_counts(query),
    }
    return Response(encode(page), media_type="application/json")


def _after(cursor: str) -> tuple[Any, str] | None:
    if not cursor:
        return None
    value, run_id = words.from_cursor(cursor, ((str, int, float), (str,)))
    return value, run_id


def _tags(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if any(not name or not equals for name, equals, _ in pairs):
        raise InvalidInput("a tag to look for is NAME=VALUE")
    return {name: value for name, _, value in pairs}


@router.post("", status_code=201, response_model=models.RunId)
def create_run(here: Here, body: models.CreateRun) -> Any:
    """Run a pipeline: a stored version, the newest version of a stored pipeline, or the document in the request."""
    wanted = submitting.Wanted(
        document=body.document,
        pipeline_id=body.pipeline_id,
        version_id=body.version_id,
        name=body.name,
        experiment=body.experiment,
        parameters=body.parameters,
        tags=submitting.checked_tags(body.tags),
        cache=body.cache,
        containers=body.containers,
        priority=body.priority,
    )
    return {"run_id": submitting.submit(here, wanted)}


@router.post("/bulk", response_model=models.BulkResult)
def change_runs(here: Here, body: models.Bulk) -> Any:
    """Do one thing to many runs. What cannot be done to one of them does not stop the others."""
    done: list[str] = []
    failed: dict[str, str] = {}
    for run_id in dict.fromkeys(body.run_ids):
        try:
            match body.action:
                case "cancel":
                    here.service.cancel(here.store.get_run(run_id).run_id)
                case "delete":
                    here.service.delete(here.store.get_run(run_id).run_id)
                case _:
                    here.store.annotate(run_id, archived=body.action == "archive")
            done.append(run_id)
        except MlPlatformError as error:
            failed[run_id] = error.message
    return {"done": done, "failed": failed}


@router.get("/{run_id}", response_model=models.RunDetail)
def get_run(here: Here, run_id: str) -> Any:
    """One run, by id, unique beginning of an id, name, or ``latest``; its tasks are told apart from it."""
    return detail(here, here.store.find_run(run_id))


def detail(here: Context, run: RunRecord) -> dict[str, Any]:
    """``models.RunDetail``."""
    seq = here.store.last_event()  # first: what happens meanwhile is told again, never missed
    run = here.store.get_run(run.run_id)
    counts = here.store.task_counts(run.run_id)
    total, ended = sum(counts.values()), sum(counts.get(state, 0) for state in submitting.ENDED)
    me = run.run_id
    commands = {
        "show": f"mlplatform runs show {me}",
        "logs": f"mlplatform runs logs {me}",
        "why": f"mlplatform cache why {me}",
        "cancel": f"mlplatform runs cancel {me}",
        "resume": f"mlplatform runs resume {me}",
        "delete": f"mlplatform runs delete {me}",
    }
    return {
        **words.run_summary(run, *((None, None) if run.state.finished else (total, ended))),
        "seq": seq,
        "inputs": words.values_json(Values(run.parameters, run.artifacts)),
        "outputs": words.values_json(run.outputs),
        "document": run.spec_digest,
        "context": dict(run.context),
        "mlflow": f"mlflow/open/{run.mlflow_run_id}" if run.mlflow_run_id else "",
        "counts": counts,
        "commands": commands,
    }


@router.patch("/{run_id}", response_model=models.RunDetail)
def annotate_run(here: Here, run_id: str, body: models.Annotate) -> Any:
    """Change tags and the note of a run; archive it or bring it back."""
    tags = submitting.checked_tags(body.tags) if body.tags is not None else None
    here.store.annotate(run_id, tags=tags, note=body.note, archived=body.archived)
    return detail(here, here.store.get_run(run_id))


@router.delete("/{run_id}", response_model=models.RunId)
def delete_run(here: Here, run_id: str) -> Any:
    """Remove a finished run with its logs and those of its artifacts that no other run uses."""
    return {"run_id": here.service.delete(here.store.get_run(run_id).run_id)}


@router.post("/{run_id}/cancel", response_model=models.RunId)
def cancel_run(here: Here, run_id: str, body: models.Cancel | None = None) -> Any:
    """Ask a run to end."""
    run = here.store.get_run(run_id)
    return {"run_id": here.service.cancel(run.run_id, force=body is not None and body.force)}


@router.post("/{run_id}/resume", response_model=models.RunId)
def resume_run(here: Here, run_id: str) -> Any:
    """Go on with a failed or cancelled run: what succeeded stays, the rest runs again."""
    return {"run_id": submitting.resume(here, here.store.get_run(run_id))}


@router.post("/{run_id}/rerun", status_code=201, response_model=models.RunId)
def rerun(here: Here, run_id: str, body: models.Rerun) -> Any:
    """Run the same document again, as a new run, with the same parameters but for those given here."""
    run = here.store.get_run(run_id)
    context = run.context
    wanted = submitting.Wanted(
        document=here.store.document(run.spec_digest).decode("utf-8", "surrogatepass"),
        name=body.name or run.name,
        experiment=run.experiment,
        parameters={**run.parameters, **body.parameters},
        tags={**run.tags, RERUN_TAG: run.run_id},
        cache=body.cache and bool(context.get("cache", True)),
        containers=str(context.get("containers") or ""),
        priority=run.priority,
        context=context,
    )
    return {"run_id": submitting.submit(here, wanted)}
