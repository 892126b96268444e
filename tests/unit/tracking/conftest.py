"""Real MLflow servers, each started once: one of a home, and a user's own (plain ``mlflow server``)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import NO_VALUES, RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.tracking.client import MlflowTracker, TrackingOptions

NOW = 1_790_000_000.0


class Mlflow:
    """What a person would see on a real server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{path}" + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def experiments(self) -> dict[str, str]:
        found = self.call("experiments/search", {"max_results": 1000})["experiments"]
        return {item["name"]: item["experiment_id"] for item in found}

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Every run of an experiment, oldest first, flattened."""
        ids = self.experiments()
        if experiment not in ids:
            return []
        body = {"experiment_ids": [ids[experiment]], "max_results": 1000, "order_by": ["attributes.start_time ASC"]}
        return [self._flat(run) for run in self.call("runs/search", body).get("runs", [])]

    def run(self, run_id: str) -> dict[str, Any]:
        return self._flat(self.call("runs/get", run_id=run_id)["run"])

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        found = self.call("metrics/get-history", run_id=run_id, metric_key=key, max_results="20000")
        return [(m.get("step", 0), m["value"]) for m in found.get("metrics", [])]

    def artifact(self, run: dict[str, Any], path: str) -> bytes:
        where = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        with urllib.request.urlopen(f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{where}/{path}") as answer:
            return answer.read()

    @staticmethod
    def _flat(run: dict[str, Any]) -> dict[str, Any]:
        tags = {t["key"]: t["value"] for t in run["data"].get("tags", [])}
        return {
            "id": run["info"]["run_id"],
            "name": run["info"]["run_name"],
            "status": run["info"]["status"],
            "start": run["info"].get("start_time"),
            "end": run["info"].get("end_time"),
            "artifact_uri": run["info"]["artifact_uri"],
            "metrics": {m["key"]: float(m["value"]) for m in run["data"].get("metrics", [])},
            "params": {p["key"]: p["value"] for p in run["data"].get("params", [])},
            "tags": tags,
            "parent": tags.get("mlflow.parentRunId", ""),
            "inputs": run.get("inputs", {}).get("dataset_inputs", []),
            "outputs": run.get("outputs", {}).get("model_outputs", []),
        }


def run_record(run_id: str, **changes: Any) -> RunRecord:
    base = RunRecord(
        run_id=run_id,
        name=f"run {run_id}",
        pipeline="pipe",
        state=RunState.RUNNING,
        spec_digest="sha256:abc",
        experiment="exp",
        parameters={"epochs": 3, "lr": 0.5, "layers": [1, 2], "flag": True},
        created_at=NOW,
        started_at=NOW,
    )
    return replace(base, **changes)


def task_record(name: str = "train", iteration: tuple[int, ...] = (), **changes: Any) -> TaskRecord:
    base = TaskRecord(
        key=TaskKey((name,), iteration),
        state=TaskState.SUCCEEDED,
        component="comp-train",
        attempt=1,
        started_at=NOW + 1,
        finished_at=NOW + 3.5,
        inputs=Values({"x": 1}),
        outputs=NO_VALUES,
    )
    return replace(base, **changes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check: Callable[[], Any], timeout: float = 90.0) -> Any:
    """The first true value of ``check``; its last value after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not (value := check()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


@pytest.fixture
def make_tracker(tmp_path: Path) -> Iterator[Callable[..., MlflowTracker]]:
    """Trackers that are closed, and whose gateways are stopped, at the end."""
    made: list[tuple[MlflowTracker, Path]] = []

    def make(folder: Path | None = None, **options: Any) -> MlflowTracker:
        where = folder or tmp_path / "mlflow"
        tracker = MlflowTracker(where, TrackingOptions(python=sys.executable, **options))
        made.append((tracker, where))
        return tracker

    yield make
    for tracker, where in made:
        tracker.close()
        stop_gateway(where)


def gateway_pid(folder: Path) -> int:
    """The process that holds the home's gateway lock; 0 if none does."""
    inode = (folder / "gateway.lock").stat().st_ino if (folder / "gateway.lock").exists() else -1
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return 0


def stop_gateway(folder: Path) -> None:
    if pid := gateway_pid(folder):
        os.kill(pid, 15)
        eventually(lambda: gateway_pid(folder) != pid, 20.0)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MlflowTracker, Path]]:
    """A home with its own MLflow, shared by tests that only add to it."""
    folder = tmp_path_factory.mktemp("home") / "mlflow"
    tracker = MlflowTracker(folder, TrackingOptions(python=sys.executable))
    yield tracker, folder
    tracker.close()
    stop_gateway(folder)


@pytest.fixture(scope="session")
def users_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """A user's own MLflow: plain ``mlflow server``, which makes up its own ids."""
    folder = tmp_path_factory.mktemp("users")
    port = free_port()
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "a")]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Mlflow(f"http://127.0.0.1:{port}")

    def up() -> bool:
        try:
            return urllib.request.urlopen(server.url + "/health", timeout=5).status == 200
        except OSError:
            return False

    try:
        assert eventually(up, 400.0), "mlflow server did not start"
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Switch:
    """A TCP door to a server that can be shut: what is behind it is down, without being restarted each time."""

    def __init__(self, target: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._target = target
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        code = (
            "import asyncio,sys\n"
            "async def pipe(r,w):\n"
            "    try:\n"
            "        while data:=await r.read(65536):\n"
            "            w.write(data); await w.drain()\n"
            "    except OSError: pass\n"
            "    w.close()\n"
            "async def serve(r,w):\n"
            "    r2,w2=await asyncio.open_connection('127.0.0.1',int(sys.argv[2]))\n"
            "    await asyncio.gather(pipe(r,w2),pipe(r2,w))\n"
            "async def main():\n"
            "    s=await asyncio.start_server(serve,'127.0.0.1',int(sys.argv[1]))\n"
            "    await s.serve_forever()\n"
            "asyncio.run(main())\n"
        )
        port = self._target.rpartition(":")[2]
        self._process = subprocess.Popen([sys.executable, "-c", code, str(self.port), port])

    def shut(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def switch(users_server: Mlflow) -> Iterator[Switch]:
    made = Switch(users_server.url)
    yield made
    made.shut()
