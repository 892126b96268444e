"""MLflow's own pages behind ours, at ``/mlflow``: started when first opened, linked to from runs and tasks.

The home's MLflow server speaks to nobody but this machine and knows no users; here it is behind our door. So is the one
of a cluster, whose clients come with their token (MLFLOW_TRACKING_URI=.../mlflow, MLFLOW_TRACKING_TOKEN). Requests go
on without our cookie, our token or the browser's origin. What MLflow hands out of artifacts is sandboxed, since it
comes from our address here.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from mlplatform.core.errors import NotFound, TrackingError
from mlplatform.server import catalog_models as models
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.passing import passed_on
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute)

#: Seconds that a page of MLflow's may take.
_ANSWER = 120.0
#: What goes on to MLflow, and what comes back.
_ASKED: Final = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since", "range")
_TOLD: Final = ("content-type", "content-encoding", "content-length", "content-disposition", "etag", "last-modified",
                "cache-control", "content-range", "accept-ranges", "vary")  # fmt: skip
_CSP: Final = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'; frame-ancestors 'self'; "
    "form-action 'self'; base-uri 'self'"
)
_ARTIFACTS: Final = re.compile(r"(get-artifact|/artifacts?/|model-versions/get-artifact)")
_RUN: Final = re.compile(r"[0-9a-f]{32}")
_STARTING: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>MLflow</title><h1>MLflow is starting</h1><p>The first time, an environment is made for it, which may take some
minutes. This page goes on by itself.</p></html>"""
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@router.get("/api/v1/mlflow", response_model=models.MlflowModel, tags=["machine"], responses=RESPONSES)
def mlflow_state(here: Here) -> Any:
    """Whether MLflow's pages are up; asking has them started."""
    _known(here)
    url = here.mlflow.url()
    return {"url": "mlflow/", "ready": bool(url), "trouble": here.mlflow.trouble}


@router.get("/mlflow", include_in_schema=False)
def without_slash() -> Response:
    return RedirectResponse("mlflow/", 307)


@router.get("/mlflow/open/{run}", include_in_schema=False)
def open_run(here: Here, run: str) -> Response:
    """A run of ours in MLflow's pages, by the id it was given here."""
    _known(here)
    if not _RUN.fullmatch(run):
        raise NotFound(f"{run!r} is no run of MLflow's")
    if not here.mlflow.url():
        return _not_yet(here)
    from mlplatform.tracking.door import read_port

    connection = http.client.HTTPConnection("127.0.0.1", read_port(here.settings.home.mlflow), timeout=_ANSWER)
    try:
        connection.request("GET", f"/open/{run}")
        page = connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        here.mlflow.url(again=True)
        return _not_yet(here)
    finally:
        connection.close()
    found = re.search(r"#(/experiments/[0-9a-zA-Z/_-]+)", page)
    return RedirectResponse(f"../#{found[1] if found else '/'}", 303)


@router.api_route("/mlflow/{path:path}", methods=_METHODS, include_in_schema=False)
async def proxy(here: Here, request: Request, path: str) -> Response:
    """Everything else goes on to MLflow."""
    _known(here)
    body = await request.body()
    headers = {name: value for name in _ASKED if (value := request.headers.get(name)) is not None}
    target = "/" + path + (f"?{request.url.query}" if request.url.query else "")
    return await run_in_threadpool(_forward, here, request.method, target, headers, body)


def _forward(here: Context, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
    for again in (False, True):
        url = here.mlflow.url(again=again)
        if not url:
            return _not_yet(here)
        place = urlsplit(url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.netloc, timeout=_ANSWER)
        try:
            connection.request(method, place.path.rstrip("/") + target, body or None, dict(headers))
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):  # it left when it was idle
            connection.close()
            continue
        sandboxed = _ARTIFACTS.search(target.partition("?")[0])
        policy = "sandbox; default-src 'none'" if sandboxed else _CSP
        return passed_on(connection, answer, _TOLD, {"content-security-policy": policy})
    raise TrackingError(
        "MLflow does not answer", hint="Try again in a moment; on one machine, see mlflow/server.log of the home."
    )


def _not_yet(here: Context) -> Response:
    if here.mlflow.trouble:
        trouble, here.mlflow.trouble = here.mlflow.trouble, ""
        raise TrackingError(f"MLflow did not start: {trouble}", hint="Load the page again to try again.")
    return HTMLResponse(_STARTING)


def _known(here: Context) -> None:
    """Raises NotFound where nothing was ever tracked: starting MLflow would show an empty page after minutes."""
    if not here.settings.home.mlflow.is_dir():
        raise NotFound("there is nothing in MLflow yet", hint="It is there with the first run.")
