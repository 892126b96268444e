"""Events as they happen, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from mlplatform.server import training
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/api/v1", tags=["events"], responses=RESPONSES)

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
#: Proxies must not gather what should arrive at once.
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@router.get("/events", response_class=StreamingResponse, responses=_STREAM)
async def events(
    here: Here,
    run: Annotated[
        str, Query(max_length=100, description="Of this run, tasks included; else of all runs as a whole.")
    ] = "",
    after: Annotated[int | None, Query(ge=0, le=2**62, description="A `seq` seen before; else from now on.")] = None,
    topic: Annotated[
        Literal["", "training"], Query(description="`training`: which training jobs changed, and nothing of runs.")
    ] = "",
    last_event_id: Annotated[str, Header(max_length=30)] = "",
) -> StreamingResponse:
    """One stream for a tab.

    ``hello`` tells where it begins; each ``events`` message holds what happened within a fifth of a second
    (``{"seq", "events": [{"seq", "run_id", "at", "kind", "body"}]}``, the last word on each task only); ``reset`` asks
    to load everything again. A browser that reconnects sends Last-Event-ID by itself and misses nothing.
    """
    if topic == "training":
        told = training.stream(lambda: training.jobs_of(here), here.now)
        return StreamingResponse(told, media_type="text/event-stream", headers=STREAM_HEADERS)
    begin = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else after
    stream = here.hub.stream(lambda: here.store, run, begin, here.now)
    return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)
