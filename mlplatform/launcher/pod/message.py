"""The pod's last word: at most 4,096 bytes for the operator, or where in the log the rest is."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from . import places

LARGEST = 4096
#: Begins each line of a result in the log. Lines stay below what container runtimes cut.
LINE = "mlplatform-result: "
_WIDTH = 8000


def compact(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def outline(result: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """What of an attempt's result the operator needs."""
    if result.get("aside"):
        request = {**request, "outputs": {"artifacts": {}}, "log_uri": ""}
    lists = sorted(name for name, entry in request["outputs"]["artifacts"].items() if entry.get("list"))
    told: dict[str, Any] = {
        "mlplatform": 1,
        "state": result["state"],
        "finished_at": round(float(result.get("finished_at") or 0.0), 3),
        "parameters": result.get("parameters") or {},
        "artifacts": result.get("artifacts") or {},
        "log_uri": request.get("log_uri") or "",
    }
    if lists:
        told["lists"] = lists
    told |= {name: result[name] for name in ("cached", "note", "peers", "aside") if result.get(name)}
    if problem := result.get("error"):
        told["error"] = {name: str(problem.get(name) or "") for name in ("code", "message", "traceback", "hint")}
        told["error"]["message"] = told["error"]["message"][:1000]
        told["error"]["traceback"] = told["error"]["traceback"][-1500:]
        told["retryable"] = bool(result.get("retryable", True))
    return told


def leave(told: Mapping[str, Any]) -> None:
    """Leave the result behind. Raises OSError."""
    text = compact(told)
    if len(text) > LARGEST:
        packed = base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
        text = compact({"mlplatform": 1, "z": packed})
        if len(text) > LARGEST:
            text = _in_log(told, packed)
    with open(places.termination_log(), "w", encoding="ascii") as file:
        file.write(text)


def _in_log(told: Mapping[str, Any], packed: str) -> str:
    lines = [packed[at : at + _WIDTH] for at in range(0, len(packed), _WIDTH)]
    sys.stdout.write("".join(f"{LINE}{line}\n" for line in lines))
    sys.stdout.flush()
    digest = hashlib.sha256(compact(told).encode("ascii")).hexdigest()
    return compact({"mlplatform": 1, "state": told["state"], "log": {"lines": len(lines), "sha256": digest}})
