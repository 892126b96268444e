"""The newest checkpoint as artifacts of the MLflow run that a rank logs to, over MLflow's REST interface.

A large one is not sent: a page says where it is and what it holds. Nothing that goes wrong here is raised: the
checkpoint itself is in its folder.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from .checkpoints import MANIFEST, Checkpoint

#: Bytes of a checkpoint that are kept with the run; of larger ones, only where they are.
KEPT = 32 << 20
_PATIENCE = 30.0


def wanted(environ: Mapping[str, str]) -> str:
    """The MLflow run to which this process leaves its checkpoint, "" for none: there is no run, or whoever looks after
    the job on this machine does it itself."""
    uri, run = environ.get("MLFLOW_TRACKING_URI", ""), environ.get("MLFLOW_RUN_ID", "")
    if not uri.startswith(("http://", "https://")) or (run and environ.get("MLP_PROGRESS_FILE")):
        return ""
    if not run and uri == environ.get("MLPLATFORM_MLFLOW_URI"):
        run = environ.get("MLPLATFORM_MLFLOW_RUN_ID", "")
    return run


def keep(checkpoint: Checkpoint, environ: Mapping[str, str] = os.environ) -> None:
    """Leave a checkpoint with the run."""
    run = wanted(environ)
    if not run:
        return
    server = _Server(environ)
    try:
        root = server.artifacts(run)
        if root is None:
            return  # its artifacts are not reached through the server
        place = f"{root}/checkpoints/step-{checkpoint.step}"
        names = sorted(path for path in checkpoint.path.rglob("*") if path.is_file() and path.name != MANIFEST)
        files = {path.relative_to(checkpoint.path).as_posix(): {"size": path.stat().st_size} for path in names}
        page: dict[str, Any] = {"step": checkpoint.step, "uri": str(checkpoint.path), "files": files}
        if claim := environ.get("MLP_CHECKPOINT_CLAIM"):
            page["claim"] = claim  # by which it is found again, of the job's namespace
        server.put(f"{place}/checkpoint.json", json.dumps(page, indent=1).encode())
        if sum(entry["size"] for entry in files.values()) <= KEPT:
            for path in names:
                server.put(f"{place}/{path.relative_to(checkpoint.path).as_posix()}", path.read_bytes())
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"mlplatform: the checkpoint could not be left with its MLflow run: {error}\n")


class _Server:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._url = environ["MLFLOW_TRACKING_URI"].rstrip("/") + "/api/2.0"
        token = environ.get("MLFLOW_TRACKING_TOKEN", "")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def artifacts(self, run: str) -> str | None:
        """Where a run's artifacts are below those that the server hands on."""
        told: Any = json.loads(self._send("GET", f"/mlflow/runs/get?run_id={urllib.parse.quote(run)}", None))
        place = urllib.parse.urlsplit(str(told["run"]["info"]["artifact_uri"]))
        return place.path.strip("/") if place.scheme == "mlflow-artifacts" else None

    def put(self, place: str, data: bytes) -> None:
        self._send("PUT", "/mlflow-artifacts/artifacts/" + urllib.parse.quote(place), data)

    def _send(self, method: str, path: str, data: bytes | None) -> bytes:
        headers = {**self._headers, **({"Content-Type": "application/octet-stream"} if data is not None else {})}
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - MLflow's
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
            return answer.read()
