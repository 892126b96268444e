"""JSON patches of the API server in memory."""

from __future__ import annotations

import copy
from typing import Any

from mlplatform.kube.objects import Object
from tests.support.kube.refusals import refuse


def merge(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(value) if isinstance(value, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), inner)
    return merged


def json_patch(value: Object, operations: list[dict[str, Any]]) -> Object:
    """RFC 6902: test, add, replace, remove."""
    body = copy.deepcopy(value)
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        holder: Any = body
        try:
            for part in way:
                holder = holder[int(part)] if isinstance(holder, list) else holder[part]
            place: Any = last
            if isinstance(holder, list):
                place = len(holder) if last == "-" else int(last)
            match operation["op"]:
                case "test":
                    if holder[place] != operation["value"]:
                        raise KeyError(place)
                case "remove":
                    del holder[place]
                case "replace":
                    holder[place]
                    holder[place] = operation["value"]
                case "add" if isinstance(holder, list):
                    holder.insert(place, operation["value"])
                case "add":
                    holder[place] = operation["value"]
                case other:
                    raise refuse(501, f"the fake has no JSON patch operation {other}")
        except (KeyError, IndexError, TypeError):
            words = (
                f"the server rejected our request due to an error in our request: {operation['op']} {operation['path']}"
            )
            raise refuse(422, words, "Invalid") from None
    return body


def check_pod_update(before: Object, after: Object) -> None:
    """Almost nothing of a pod's spec may change."""

    def fixed(body: Object) -> Object:
        spec = copy.deepcopy(body.get("spec") or {})
        for name in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
            spec.pop(name, None)
        for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
            container.pop("image", None)
        return spec

    if fixed(before) != fixed(after):
        words = "Forbidden: pod updates may not change fields other than the image"
        raise refuse(
            422, words, "Invalid", causes=[{"reason": "FieldValueForbidden", "field": "spec", "message": words}]
        )
