"""What a run is made of: its tasks (packed, and one by one), its graph, its document."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.model import TaskKey
from mlplatform.server import drawing, models, taskdetail, words
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute, encode

router = APIRouter(route_class=PlainRoute, prefix="/api/v1/runs", tags=["runs"], responses=RESPONSES)

Iteration = Annotated[str, Query(pattern=r"^(\d{1,9}(,\d{1,9})*)?$", description="Indexes of the loops around it: 0,1")]
#: Answers that stay true are kept by browsers, which ask whether they still are.
_ASK_AGAIN = "private, no-cache"


def key_of(name: str, iteration: str) -> TaskKey:
    """A task by its path and ``0,1``. Raises InvalidInput."""
    if not name or "" in name.split("/"):
        raise InvalidInput(f"{name!r} is no task's path")
    return TaskKey(tuple(name.split("/")), tuple(int(index) for index in iteration.split(",") if index))


@router.get("/{run_id}/tasks", response_class=Response, responses={200: {"model": models.TaskTable}})
def list_tasks(here: Here, run_id: str) -> Response:
    """All tasks of a run with their states and times, packed: five thousand are some 60 KB on the wire."""
    seq = here.store.last_event()
    run = here.store.find_run(run_id)
    table = words.task_table(run, here.store.task_briefs(run.run_id), seq)
    return Response(encode(table), media_type="application/json")


@router.get("/{run_id}/tasks/{name:path}", response_model=models.TaskDetail)
def get_task(here: Here, run_id: str, name: str, iteration: Iteration = "") -> Any:
    """Everything known of one task of a run; ``name`` is its path (``for-loop-1/train``)."""
    run = here.store.find_run(run_id)
    record = here.store.task(run.run_id, key_of(name, iteration))
    return taskdetail.detail(here, run, record)


@router.get("/{run_id}/graph", response_class=Response, responses={200: {"model": models.GraphModel}, 304: {}})
def get_graph(
    here: Here,
    request: Request,
    run_id: str,
    collapsed: Annotated[list[str], Query(description="Groups drawn as one node.", max_length=5000)] = [],  # noqa: B006
    direction: Annotated[str, Query(pattern="^(down|right)$")] = "down",
) -> Response:
    """The run's pipeline as nodes and edges with coordinates."""
    run = here.store.find_run(run_id)
    return graph_answer(here, request, run.spec_digest, collapsed, direction)


def graph_answer(here: Here, request: Request, digest: str, collapsed: list[str], direction: str) -> Response:
    """A drawn document, or 304 if the browser has it."""
    mark = drawing.mark(digest, collapsed, direction)
    headers = {"etag": f'"{mark}"', "cache-control": _ASK_AGAIN}
    if f'"{mark}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    drawn = drawing.drawn(digest, lambda: here.store.document(digest), tuple(collapsed), direction)
    return Response(drawn, media_type="application/json", headers=headers)


@router.get(
    "/{run_id}/document",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_document(here: Here, run_id: str) -> Response:
    """The pipeline document that was run, as it was given."""
    run = here.store.find_run(run_id)
    if not run.spec_digest:
        raise NotFound(f"run {run.run_id} has no document")
    return Response(here.store.document(run.spec_digest), media_type="text/plain; charset=utf-8")
