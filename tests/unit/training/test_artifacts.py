"""The newest checkpoint beside the metrics of its run, over REST."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlplatform.training import artifacts
from mlplatform.training.checkpoints import MANIFEST, Checkpoint


class Server(HTTPServer):
    root = "mlflow-artifacts:/7/abc/artifacts"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kept: dict[str, bytes] = {}
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        told = {"run": {"info": {"artifact_uri": self.server.root}}} if self.path.endswith("run_id=abc") else {}
        self._answer(json.dumps(told).encode())

    def do_PUT(self) -> None:
        self.server.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    folder = tmp_path / "step-0000000009"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "w 1.bin").write_bytes(b"weights")
    (folder / MANIFEST).write_text("{}")
    return Checkpoint(9, folder)


PLACE = "/api/2.0/mlflow-artifacts/artifacts/7/abc/artifacts/checkpoints/step-9/"


def test_it_is_left_with_the_run(server: Server, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_RUN_ID": "abc", "MLFLOW_TRACKING_TOKEN": "t"}
    artifacts.keep(checkpoint, env)
    assert server.kept.pop(PLACE + "parts/w%201.bin") == b"weights"
    page = json.loads(server.kept.pop(PLACE + "checkpoint.json"))
    assert page == {"step": 9, "uri": str(checkpoint.path), "files": {"parts/w 1.bin": {"size": 7}}}
    assert (server.kept, server.tokens) == ({}, {"Bearer t"})
    monkeypatch.setattr(artifacts, "KEPT", 6)
    artifacts.keep(checkpoint, {**env, "MLP_CHECKPOINT_CLAIM": "fits-checkpoint"})
    assert list(server.kept) == [PLACE + "checkpoint.json"], "of a large one, where it is"
    assert json.loads(server.kept[PLACE + "checkpoint.json"])["claim"] == "fits-checkpoint"


def test_what_goes_wrong_is_said_and_nothing_more(
    server: Server, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts.keep(checkpoint, {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_RUN_ID": "another"})
    artifacts.keep(checkpoint, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_RUN_ID": "abc"})
    assert capsys.readouterr().err.count("could not be left with its MLflow run") == 2
    server.root = "s3://bucket/7/abc"
    artifacts.keep(checkpoint, {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_RUN_ID": "abc"})
    assert server.kept == {}, "not reached through the server"


def test_whose_run_it_is() -> None:
    task = {"MLFLOW_TRACKING_URI": "http://x", "MLPLATFORM_MLFLOW_URI": "http://x", "MLPLATFORM_MLFLOW_RUN_ID": "t"}
    assert artifacts.wanted(task) == "t"
    assert artifacts.wanted({**task, "MLP_PROGRESS_FILE": "/p"}) == "t"
    of_job = {"MLFLOW_TRACKING_URI": "http://x", "MLFLOW_RUN_ID": "j"}
    assert artifacts.wanted(of_job) == "j"
    assert artifacts.wanted({**of_job, "MLP_PROGRESS_FILE": "/p"}) == "", "the service of this machine does it"
    assert artifacts.wanted({"MLFLOW_TRACKING_URI": "file:/x", "MLFLOW_RUN_ID": "j"}) == ""
