"""A task that speaks MLflow's REST by hand: no mlflow to import, so that a test can have hundreds of them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class Task:
    """Repeats a request whose connection broke, as MLflow's client does."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self._address = urlsplit(env["MLFLOW_TRACKING_URI"])

    def raw(
        self, method: str, path: str, body: bytes | None, token: str | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        shown = self.env["MLFLOW_TRACKING_TOKEN"] if token is None else token
        for attempt in range(100):
            connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=120)
            try:
                connection.request(
                    method, path, body, {"Authorization": f"Bearer {shown}", "Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                if attempt == 99:
                    raise
                time.sleep(0.05)
            finally:
                connection.close()
        raise AssertionError("unreachable")

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        status, answer = self.raw(method, f"/api/2.0/mlflow/{path}", data)
        return status, json.loads(answer)

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = self.request(method, path, body)
        assert status == 200, answer
        return answer

    def create_run(self, name: str) -> str:
        body = {"experiment_id": "0", "run_name": name, "start_time": 1_790_000_001_000, "tags": []}
        return self.call("POST", "runs/create", body)["run"]["info"]["run_id"]

    def get_run(self, run: str) -> dict[str, Any]:
        return self.call("GET", f"runs/get?run_id={run}")["run"]

    def metric(self, run: str, key: str, value: float, step: int) -> None:
        body = {"run_id": run, "key": key, "value": value, "step": step, "timestamp": 1_790_000_002_000 + step}
        self.call("POST", "runs/log-metric", body)

    def put(self, run: str, path: str, content: bytes) -> None:
        uri = self.get_run(run)["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        status, _ = self.raw("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{uri}/{path}", content)
        assert status == 200

    def create_model(self, run: str, name: str) -> str:
        body = {"experiment_id": "0", "name": name, "source_run_id": run}
        model = self.call("POST", "logged-models", body)["model"]["info"]["model_id"]
        self.call("POST", "runs/outputs", {"run_id": run, "models": [{"model_id": model, "step": 0}]})
        self.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": "LOGGED_MODEL_READY"})
        return model
