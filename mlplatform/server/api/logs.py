"""Logs of a run's tasks: a range, a stream that follows, the whole as a file. Readable as long as the run is kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, StreamingResponse

from mlplatform.core.errors import NotFound
from mlplatform.sdk.records import log_file
from mlplatform.server import logfiles, models
from mlplatform.server.api.events import STREAM_HEADERS
from mlplatform.server.api.tasks import Iteration, key_of
from mlplatform.server.context import Here
from mlplatform.server.events import message
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/api/v1/runs", tags=["logs"], responses=RESPONSES)

Attempt = Annotated[int, Query(ge=0, le=2**31, description="Which attempt; 0: the last one.")]


@router.get("/{run_id}/logs/{name:path}", response_model=models.LogPart)
def log_part(
    here: Here,
    run_id: str,
    name: str,
    iteration: Iteration = "",
    attempt: Attempt = 0,
    offset: Annotated[int, Query(ge=-(2**62), le=2**62, description="In bytes; negative: from the end.")] = 0,
    limit: Annotated[int, Query(ge=4, le=logfiles.PART)] = 256 * 1024,
) -> Any:
    """Part of what an attempt printed. Parts never cut a character: read on at ``next_offset``."""
    run = here.store.find_run(run_id)
    found = logfiles.find_attempt(here, run.run_id, key_of(name, iteration), attempt)
    part = logfiles.read_part(log_file(found), offset, limit)
    return {
        "attempt": found.attempt,
        "offset": part.offset,
        "next_offset": part.following,
        "size": part.size,
        "complete": found.state.finished and part.following >= part.size,
        "text": part.text,
    }


@router.get(
    "/{run_id}/log-streams/{name:path}",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def log_stream(
    here: Here,
    run_id: str,
    name: str,
    iteration: Iteration = "",
    attempt: Attempt = 0,
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
    last_event_id: Annotated[str, Header(max_length=30)] = "",
) -> StreamingResponse:
    """The log as it grows: ``log`` messages (``{"offset", "next_offset", "text"}``), then ``end``.

    The id of a message is the offset behind it, so a browser that reconnects goes on where it was.
    """
    run = here.store.find_run(run_id)
    key = key_of(name, iteration)
    number = logfiles.find_attempt(here, run.run_id, key, attempt).attempt
    begin = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else offset
    stream = logfiles.follow(lambda: logfiles.find_attempt(here, run.run_id, key, number), begin, message)
    return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


@router.get(
    "/{run_id}/log-files/{name:path}",
    response_class=FileResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def log_whole(here: Here, run_id: str, name: str, iteration: Iteration = "", attempt: Attempt = 0) -> FileResponse:
    """The whole log, to be saved."""
    run = here.store.find_run(run_id)
    found = logfiles.find_attempt(here, run.run_id, key_of(name, iteration), attempt)
    path = log_file(found)
    if not path.is_file():
        raise NotFound("there is no log", hint="It was removed, or the attempt ran on another machine.")
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in str(found.key))
    return FileResponse(path, media_type="text/plain; charset=utf-8", filename=f"{run.run_id}-{plain}.log")
