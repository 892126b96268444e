"""How the task logs to MLflow: asked of the platform's server when the task begins, by the token that this pod has.

A server that is not there, or tracks nothing, costs a moment and never a task: what it logs then goes where MLflow puts
it without being told, and is gone with the pod.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from . import places

#: Seconds that asking may take in all, and that one try may take.
PATIENCE = 4.0
_TRY = 3.0
_PAUSE = 0.25


class Asked:
    """The question, asked while other things are made ready."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._server = "" if environ.get("MLFLOW_TRACKING_URI") else environ.get("MLPLATFORM_SERVER") or ""
        self._env: dict[str, str] = {}
        self._thread = threading.Thread(target=self._ask, name="tracking", daemon=True)
        if self._server:
            self._thread.start()

    def variables(self) -> Mapping[str, str]:
        """What the task is told; nothing, where it is not to log or nobody says how."""
        if self._server:
            self._thread.join(PATIENCE)
        return dict(self._env)

    def _ask(self) -> None:
        end = time.monotonic() + PATIENCE - 0.5
        while True:
            try:
                self._env = _post(self._server)
                return
            except urllib.error.HTTPError as refusal:
                refusal.close()
                problem = f"it answered {refusal.code}"
                if refusal.code in (401, 403, 404):
                    return  # it tracks nothing of ours, and says so
            except (OSError, ValueError, urllib.error.URLError) as error:
                problem = str(error)
            if time.monotonic() > end:
                sys.stderr.write(f"mlplatform: the server could not be asked how to log to MLflow: {problem}\n")
                return
            time.sleep(_PAUSE)


def _post(server: str) -> dict[str, str]:
    with open(os.environ.get("MLP_SERVER_TOKEN_FILE") or places.token(), encoding="ascii") as file:
        token = file.read().strip()
    request = urllib.request.Request(  # noqa: S310 - the operator's word
        server.rstrip("/") + "/api/v1/pods/tracking", b"{}", method="POST",
        headers={"authorization": "Bearer " + token, "content-type": "application/json"},
    )  # fmt: skip
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TRY) as answer:
        told: Any = json.load(answer)
    return {str(name): str(value) for name, value in told["env"].items()}


def hook() -> str:
    """The file that makes every way of using MLflow land in the task's run; "" where it did not come along."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = os.path.join(package, "tracking", "userhook.py")
    return found if os.path.exists(found) else ""
