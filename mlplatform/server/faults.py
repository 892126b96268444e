"""Errors as answers: one shape for ``/api/v1``, grpc-gateway's for KFP's API. Nobody sees a traceback of ours."""

from __future__ import annotations

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mlplatform.core.errors import (
    ArtifactError,
    InternalError,
    InvalidInput,
    InvalidTransition,
    KubernetesError,
    MlPlatformError,
    NotFound,
    ServiceError,
    StoreError,
    TrackingError,
)
from mlplatform.server.models import ErrorModel
from mlplatform.server.plain import plain

_log = logging.getLogger(__name__)

#: From the most exact class to the least; what is not here is our own failure.
_STATUS: Final[tuple[tuple[type[MlPlatformError], int], ...]] = (
    (NotFound, 404),
    (InvalidInput, 400),
    (InvalidTransition, 409),
    (StoreError, 503),
    (ServiceError, 503),
    (TrackingError, 503),
    (ArtifactError, 404),
)
#: grpc's codes, which KFP's clients show.
_GRPC: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 9, 413: 8, 422: 3, 429: 8, 503: 14}

#: What every route may answer besides its success, for the OpenAPI document.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorModel, "description": words}
    for status, words in {
        400: "The request is wrong; the findings say where.",
        401: "Nobody is known by this request.",
        403: "A page of another site asked; or, in a cluster, the caller may not do that.",
        404: "There is no such thing.",
        409: "It cannot be done in the state things are in.",
        413: "The request is too long.",
        422: "The request is not of this operation's form.",
        503: "The store, the service or MLflow cannot be reached now.",
    }.items()
}


#: What the API server answers that is the caller's to know; the rest is our trouble with it.
_CLUSTER: Final = {400: 400, 403: 403, 404: 404, 409: 409, 413: 413, 422: 422, 429: 429}


def status_of(error: MlPlatformError) -> int:
    if isinstance(error, KubernetesError):
        return _CLUSTER.get(error.status, 503)
    return next((status for cls, status in _STATUS if isinstance(error, cls)), 500)


def install(app: FastAPI) -> None:
    """Make every error an answer."""
    app.add_exception_handler(MlPlatformError, _ours)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)


def answer(request: Request, status: int, body: dict[str, Any]) -> JSONResponse:
    """An error, in the words of the API that was asked."""
    body = plain(body)
    if request.url.path.startswith("/apis/"):
        message = "\n".join([body["message"], *(f"{f['path']}: {f['message']}" for f in body.get("findings") or ())])
        if body.get("hint"):
            message += f"\n{body['hint']}"
        return JSONResponse(
            {"error": message, "message": message, "code": _GRPC.get(status, 13), "details": []}, status
        )
    return JSONResponse({"error": body}, status)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, MlPlatformError):
        raise AssertionError("registered for our errors")
    status = status_of(error)
    if status == 500:
        return await _bug(request, error)
    return answer(request, status, error.to_json())


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise AssertionError("registered for validation errors")
    findings = [
        {
            "path": ".".join(str(part) for part in found["loc"]),
            "code": str(found["type"]),
            "message": str(found["msg"]),
            "hint": "",
        }
        for found in error.errors()
    ]
    body: dict[str, Any] = {
        "code": "INVALID_REQUEST",
        "message": "the request is not of this operation's form",
        "hint": "The API's document is at /api/v1/openapi.json.",
        "retryable": False,
        "findings": findings,
    }
    return answer(request, 422, body)


async def _plain(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise AssertionError("registered for HTTP errors")
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INVALID_REQUEST")
    body: dict[str, Any] = {"code": code, "message": str(error.detail), "hint": "", "retryable": False, "findings": []}
    made = answer(request, error.status_code, body)
    made.headers.update(error.headers or {})
    return made


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    message = f"the server failed: {type(error).__name__}; details are in its log (logs/server.log of the home)"
    return answer(request, 500, InternalError(message, hint="Please report it with that log.").to_json())
