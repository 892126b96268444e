"""What the API server answers when it refuses, and what a connection to it suffers.

::

    KubernetesError (core.errors; code KUBERNETES)
    +-- ObjectNotFound      404: no such object, or no such kind of object
    +-- AlreadyExists       409: an object of that name is there
    +-- Conflict            409: changed since it was read, or owned by another field manager
    +-- Gone                410: the resource version or list token is too old; list anew
    +-- Invalid             422, 400, 413: refused as it is; findings name the fields
    +-- Forbidden           403: no right to do that, or an admission policy, quota or pod security refused
    +-- Unauthorized        401: the credentials are not accepted
    +-- TooManyRequests     429, or 503 of a server that is still starting: refused for now; ``retry_after`` seconds
    +-- Unavailable         5xx, timeouts, lost connections: nothing is known about what happened

Every one carries ``status`` (the HTTP status; 0: no answer), ``reason`` (Kubernetes' word) and ``retry_after``
(seconds; 0: not told).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from mlplatform.core.errors import Finding, KubernetesError


class ObjectNotFound(KubernetesError):
    """There is no such object."""


class AlreadyExists(KubernetesError):
    """An object of that name exists."""


class Conflict(KubernetesError):
    """The object changed since it was read, its UID is another one, or another manager owns a field."""

    retryable = True


class Gone(KubernetesError):
    """A resource version or continue token is too old: list anew."""

    retryable = True


class Invalid(KubernetesError):
    """The API server will never take this object as it is. ``findings`` has one entry for each field it named."""

    exit_status = 2


class Forbidden(KubernetesError):
    """Not allowed: by RBAC, an admission policy or webhook, a quota, or pod security."""


class Unauthorized(KubernetesError):
    """The credentials are missing, wrong or expired."""


class TooManyRequests(KubernetesError):
    """The API server is busy, or still starting, and has done nothing: try again after ``retry_after`` seconds."""

    retryable = True


class Unavailable(KubernetesError):
    """No usable answer: whether the request took effect is not known."""

    retryable = True


_BY_STATUS: Final[Mapping[int, type[KubernetesError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: ObjectNotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def error_of(status: int, body: bytes | Mapping[str, Any], doing: str, retry_after: float = 0.0) -> KubernetesError:
    """The error that an answer (HTTP status and its ``Status`` object) tells. ``doing`` says what was asked for."""
    told = _status_object(body)
    reason = str(told.get("reason") or "")
    message = str(told.get("message") or "") or f"HTTP status {status}"
    details: Mapping[str, Any] = told.get("details") or {}
    cls = _BY_STATUS.get(status, Unavailable if status >= 500 or status == 0 else KubernetesError)
    if status == 409 and reason == "AlreadyExists":
        cls = AlreadyExists
    if status == 503 and reason == "ServiceUnavailable" and details.get("retryAfterSeconds"):
        cls = TooManyRequests  # it has just started and does not serve all its paths yet: nothing was done
    if reason in ("Expired", "Gone"):
        cls = Gone
    findings = _findings(details.get("causes") or ())
    if findings and " is invalid: " in message:  # what follows are the findings again
        message = f"{message.partition(' is invalid: ')[0]} is invalid"
    return cls(
        f"{doing}: {message}",
        status=status,
        reason=reason,
        retry_after=retry_after or float(details.get("retryAfterSeconds") or 0),
        findings=findings,
    )


def _status_object(body: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(body, bytes):
        return body
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"message": body[:300].decode("utf-8", "replace").strip()}
    return cast("Mapping[str, Any]", decoded) if isinstance(decoded, dict) else {}


def _findings(causes: Iterable[Mapping[str, Any]]) -> list[Finding]:
    return [
        Finding(str(cause.get("field") or ""), str(cause.get("message") or ""), str(cause.get("reason") or "invalid"))
        for cause in causes
    ]
