"""For pods of tasks: how they log, and the way on to the gateway that takes it. Who they are is settled before
(``cluster.doors``)."""

from __future__ import annotations

import base64
import http.client
import tempfile
from contextlib import closing
from typing import IO, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from mlplatform.core.errors import NotFound
from mlplatform.server.cluster import tracking
from mlplatform.server.cluster.pods import PodCaller
from mlplatform.server.context import Context, Here
from mlplatform.server.passing import passed_on
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, include_in_schema=False)

#: Seconds that an answer of the gateway may take; one that asks MLflow itself takes longest.
_ANSWER: Final = 120.0
_IN_MEMORY: Final = 1 << 20
_PREFIX: Final = "/api/v1/pods/mlflow"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_TOLD: Final = ("content-type", "content-length")


@router.post("/api/v1/pods/tracking")
def how_to_log(here: Here, request: Request) -> dict[str, Any]:
    """The variables by which this pod's task logs to its own MLflow run."""
    pod: PodCaller | None = getattr(request.state, "pod", None)
    if here.cluster is None or pod is None:
        raise NotFound("this is for pods of a cluster's runs")
    return {"env": dict(tracking.variables(here.cluster, lambda: here.store, pod))}


@router.api_route(_PREFIX + "/{path:path}", methods=_METHODS)
async def log(here: Here, request: Request, path: str) -> Response:
    """A request of MLflow's client, on to the gateway."""
    from mlplatform.tracking.ids import load_secret, unseal

    token = _token(request.headers.get("authorization", ""))
    if here.cluster is None or here.cluster.tracker is None:
        raise NotFound("this server tracks nothing")
    if unseal(load_secret(here.settings.home.mlflow), token) is None:
        return _refusal(401, "UNAUTHENTICATED", "this address is for tasks of runs, with what they were given to log")
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    target = raw.decode("latin-1").partition("?")[0].partition(_PREFIX)[2] or "/"
    if request.url.query:
        target += "?" + request.url.query
    body = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(here.settings.home.mlflow))  # noqa: SIM115 - closed below
    size = 0
    async for part in request.stream():
        size += len(part)
        await run_in_threadpool(body.write, part)
    return await run_in_threadpool(_forward, here, request, target, body, size)


def _forward(here: Context, request: Request, target: str, body: IO[bytes], size: int) -> Response:
    from mlplatform.tracking.door import read_port

    headers = {name: value for name, value in request.headers.items() if name.startswith(("x-mlflow", "content-type"))}
    headers |= {"authorization": request.headers["authorization"], "content-length": str(size)}
    with closing(body):
        body.seek(0)
        connection = http.client.HTTPConnection("127.0.0.1", read_port(here.settings.home.mlflow), timeout=_ANSWER)
        try:
            connection.request(request.method, target, body if size else None, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return _refusal(503, "TEMPORARILY_UNAVAILABLE", f"the gateway does not answer: {error}")
    return passed_on(connection, answer, _TOLD)


def _refusal(status: int, code: str, message: str) -> Response:
    """In MLflow's form, which its client shows."""
    return JSONResponse({"error_code": code, "message": message}, status)


def _token(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2]
    except ValueError:
        return ""
