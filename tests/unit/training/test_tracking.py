"""How a rank in a pod learns where to log: from a server that is there, says no, or is gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlplatform.training import tracking

TOLD = {"MLFLOW_TRACKING_URI": "http://there", "MLFLOW_RUN_ID": "r", "MLFLOW_TRACKING_TOKEN": "sealed"}


@contextmanager
def serving(status: int, asked: list[tuple[str, str | None]]) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, self.headers["authorization"]))
            body = json.dumps({"env": TOLD}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "server").write_text("the-pods-own\n")
    return str(tmp_path / "server")


def test_what_the_server_says_is_in_the_environment(token: str) -> None:
    asked: list[tuple[str, str | None]] = []
    with serving(200, asked) as url:
        environ = {"MLPLATFORM_SERVER": url, "MLP_SERVER_TOKEN_FILE": token}
        tracking.join(environ)
    assert TOLD.items() <= environ.items()
    assert asked == [("/api/v1/pods/tracking", "Bearer the-pods-own")]


def test_a_server_that_tracks_nothing_is_asked_once(token: str) -> None:
    asked: list[tuple[str, str | None]] = []
    with serving(404, asked) as url:
        environ = {"MLPLATFORM_SERVER": url, "MLP_SERVER_TOKEN_FILE": token}
        tracking.join(environ)
    assert (len(asked), "MLFLOW_RUN_ID" in environ) == (1, False)


def test_a_server_that_is_gone_costs_a_moment(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    environ = {"MLPLATFORM_SERVER": "http://127.0.0.1:9", "MLP_SERVER_TOKEN_FILE": token}
    began = time.monotonic()
    tracking.join(environ)
    assert time.monotonic() - began < 4.0
    assert "could not be asked how to log" in capsys.readouterr().err


def test_who_names_a_server_of_mlflow_is_left_alone(token: str) -> None:
    environ = {"MLPLATFORM_SERVER": "http://127.0.0.1:9", "MLP_SERVER_TOKEN_FILE": token, "MLFLOW_TRACKING_URI": "x"}
    tracking.join(environ)
    assert len(environ) == 3
