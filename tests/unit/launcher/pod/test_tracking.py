"""How a pod's task is told to log: by a server that is there, slow, gone, or tracks nothing."""

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

from mlplatform.launcher.pod import tracking


class Asking:
    def __init__(self) -> None:
        self.answers: list[int] = [200]
        self.asked: list[tuple[str, str]] = []


@contextmanager
def serving(asking: Asking) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asking.asked.append((self.path, self.headers["authorization"]))
            status = asking.answers[min(len(asking.asked), len(asking.answers)) - 1]
            body = json.dumps(
                {"env": {"MLFLOW_TRACKING_URI": "http://there", "MLFLOW_TRACKING_TOKEN": "t" * 9}}
            ).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "token").write_text("the-pods-own\n")
    monkeypatch.setenv("MLPLATFORM_POD_BASE", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # never for what is inside the cluster


def test_the_server_says_how(pod: None) -> None:
    asking = Asking()
    with serving(asking) as address:
        told = tracking.Asked({"MLPLATFORM_SERVER": address + "/"}).variables()
    assert told == {"MLFLOW_TRACKING_URI": "http://there", "MLFLOW_TRACKING_TOKEN": "t" * 9}
    assert asking.asked == [("/api/v1/pods/tracking", "Bearer the-pods-own")]


def test_one_that_is_just_starting_is_asked_again(pod: None) -> None:
    asking = Asking()
    asking.answers = [503, 500, 200]
    with serving(asking) as address:
        assert tracking.Asked({"MLPLATFORM_SERVER": address}).variables()
    assert len(asking.asked) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_one_that_tracks_nothing_is_asked_once(status: int, pod: None) -> None:
    asking = Asking()
    asking.answers = [status]
    with serving(asking) as address:
        assert tracking.Asked({"MLPLATFORM_SERVER": address}).variables() == {}
    assert len(asking.asked) == 1


def test_one_that_is_gone_costs_a_moment(
    pod: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    began = time.monotonic()
    assert tracking.Asked({"MLPLATFORM_SERVER": "http://127.0.0.1:9"}).variables() == {}
    assert time.monotonic() - began < 10
    assert "could not be asked how to log to MLflow" in capfd.readouterr().err


def test_whose_author_said_where_is_not_asked_for(pod: None) -> None:
    asking = Asking()
    with serving(asking) as address:
        for env in ({"MLPLATFORM_SERVER": address, "MLFLOW_TRACKING_URI": "https://theirs"}, {}):
            assert tracking.Asked(env).variables() == {}
    assert asking.asked == []


def test_the_hook_is_found() -> None:
    assert Path(tracking.hook()).name == "userhook.py"
