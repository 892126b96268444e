"""How a rank on a cluster logs to the job's MLflow run: asked of the platform's server, by the token of the rank's pod.

A server that is not there, or tracks nothing, costs a moment and never a rank. Whoever sets ``MLFLOW_TRACKING_URI`` is
left alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import MutableMapping
from typing import Any

#: Seconds that asking may take in all, that one try may take, and between two.
PATIENCE, _TRY, _PAUSE = 4.0, 3.0, 0.25


def join(environ: MutableMapping[str, str] = os.environ) -> None:
    """Put what the server says into ``environ``, where nothing of it is known yet."""
    server, file = environ.get("MLPLATFORM_SERVER", ""), environ.get("MLP_SERVER_TOKEN_FILE", "")
    if not server or not file or environ.get("MLFLOW_TRACKING_URI"):
        return
    end = time.monotonic() + PATIENCE - 0.5
    while True:
        try:
            environ.update(_ask(server, file))
            return
        except urllib.error.HTTPError as refusal:
            refusal.close()
            problem = f"it answered {refusal.code}"
            if refusal.code in (401, 403, 404):
                return  # it tracks nothing of ours, and says so
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = str(error)
        if time.monotonic() > end:
            sys.stderr.write(f"mlplatform: the server could not be asked how to log to MLflow: {problem}\n")
            return
        time.sleep(_PAUSE)


def _ask(server: str, file: str) -> dict[str, str]:
    with open(file, encoding="ascii") as opened:
        token = opened.read().strip()
    request = urllib.request.Request(  # noqa: S310 - the operator's word
        server.rstrip("/") + "/api/v1/pods/tracking",
        b"{}",
        {"authorization": "Bearer " + token, "content-type": "application/json"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TRY) as answer:
        told: Any = json.load(answer)
    return {str(name): str(value) for name, value in told["env"].items()}
