"""MLflow's REST interface as tasks see it: writes are queued and answered at once, reads are answered from what is
known here or from the real server after everything queued before has reached it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from mlplatform.tracking.desk_artifacts import ArtifactsDesk
from mlplatform.tracking.desk_models import ModelsDesk
from mlplatform.tracking.desk_runs import RunsDesk
from mlplatform.tracking.queue import Queue
from mlplatform.tracking.station import Station
from mlplatform.tracking.upstream import Refused, Unavailable
from mlplatform.tracking.wire import Answer, Request, reply

_API = re.compile(r"^/(?:ajax-)?api/[23]\.0/mlflow/(.*)$")
_ARTIFACTS = re.compile(r"^/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?:/(.*))?$")
_LOGGED_MODEL = re.compile(r"^logged-models/(m-[0-9a-f]{32})(?:/(tags|params))?$")
#: What we say we are while the real server cannot be asked: the first version with all that tasks are answered here.
_VERSION = b"3.4.0"


class TaskApi:
    """Answers tasks. ``station`` gives the server a caller's records go to. Thread-safe."""

    def __init__(self, queue: Queue, station: Callable[[str], Station], incarnation: str) -> None:
        self._station = station
        self._runs = runs = RunsDesk(queue, station, incarnation)
        self._models = models = ModelsDesk(queue, station, incarnation)
        self._artifacts = ArtifactsDesk(queue, station, incarnation)
        self._table: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "runs/create"): runs.create_run,
            ("POST", "runs/update"): runs.update_run,
            ("GET", "runs/get"): runs.get_run,
            ("POST", "runs/log-metric"): runs.log_metric,
            ("POST", "runs/log-parameter"): runs.log_parameter,
            ("POST", "runs/set-tag"): runs.set_tag,
            ("POST", "runs/log-batch"): runs.log_batch,
            ("POST", "runs/log-inputs"): runs.log_inputs,
            ("POST", "runs/outputs"): runs.log_outputs,
            ("GET", "metrics/get-history"): runs.get_history,
            ("GET", "experiments/get"): runs.get_experiment,
            ("GET", "experiments/get-by-name"): runs.get_experiment_by_name,
            ("POST", "experiments/create"): runs.create_experiment,
            ("POST", "logged-models"): models.create_model,
            ("POST", "model-versions/create"): models.create_version,
            ("POST", "registered-models/create"): models.create_registered_model,
        }

    def handle(self, request: Request) -> Answer:
        """Raises ValueError, KeyError or TypeError for a request that is not of MLflow's form."""
        if match := _ARTIFACTS.match(request.path):
            return self._artifacts.artifact(request, unquote(match[1] or ""))
        match = _API.match(request.path)
        path = match[1] if match else ""
        if (handler := self._table.get((request.method, path))) is not None:
            return handler(request)
        if path == "server-info":
            return reply({"store_type": "SqlStore", "workspaces_enabled": False, "multipart_uploads_enabled": False})
        if request.path == "/version":
            return self._version(request)
        if model := _LOGGED_MODEL.match(path):
            return self._models.known_model(request, model[1], model[2] or "")
        if request.method == "GET" or path.endswith(("/search", "/batchGetInfos", "/metrics")):
            return self._runs.read(request)
        return self._runs.write_through(request)

    def _version(self, request: Request) -> Answer:
        station = self._station(request.caller.upstream)
        if station.healthy:
            try:
                text = station.forward("GET", "/version", {}, b"", timeout=2.0).body
                return Answer(200, text, "text/plain")
            except (Unavailable, Refused):
                pass
        return Answer(200, _VERSION, "text/plain")
