"""How the API server in memory says no."""

from __future__ import annotations

import json
import re
from typing import Any

from mlplatform.kube.objects import Object, Resource
from mlplatform.kube.wire import Answer

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Refused(Exception):
    def __init__(self, status: int, body: Object, retry_after: int) -> None:
        super().__init__(body["message"])
        self.status, self.body, self.retry_after = status, body, retry_after

    def answer(self) -> Answer:
        headers = {"retry-after": str(self.retry_after)} if self.retry_after else {}
        return Answer(self.status, json.dumps(self.body).encode(), headers)


def refuse(
    status: int, message: str, reason: str = "", *, retry_after: int = 0, causes: list[dict[str, Any]] | None = None
) -> Refused:
    details: dict[str, Any] = {"causes": causes} if causes else {}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    body: Object = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message}
    return Refused(status, {**body, "reason": reason, "details": details}, retry_after)


def check_metadata(resource: Resource, body: Object, before: Object | None = None) -> None:
    meta = body["metadata"]
    name = meta.get("name") or ""
    causes: list[dict[str, Any]] = []
    if not name:
        causes.append({"reason": "FieldValueRequired", "field": "metadata.name", "message": "Required value: name"})
    elif not _NAME.fullmatch(name) and "rbac" not in resource.group:
        causes.append({"reason": "FieldValueInvalid", "field": "metadata.name", "message": f'Invalid value: "{name}"'})
    for key, value in (meta.get("labels") or {}).items():
        if not _LABEL.fullmatch(value):
            causes.append(
                {"reason": "FieldValueInvalid", "field": "metadata.labels", "message": f"Invalid value: {key}"}
            )
    for finalizer in meta.get("finalizers") or ():
        if "/" not in finalizer:
            causes.append({"reason": "FieldValueInvalid", "field": "metadata.finalizers", "message": finalizer})
    if before is not None and before["metadata"].get("deletionTimestamp"):
        new = set(meta.get("finalizers") or ()) - set(before["metadata"].get("finalizers") or ())
        if new:
            words = "Forbidden: no new finalizers can be added if the object is being deleted"
            causes.append({"reason": "FieldValueForbidden", "field": "metadata.finalizers", "message": words})
    if causes:
        words = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        raise refuse(422, f'{resource.kind} "{name}" is invalid: {words}', "Invalid", causes=causes)
