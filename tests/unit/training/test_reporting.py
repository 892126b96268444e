"""Reports on their way: to an endpoint that answers well, badly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlplatform.training.reporting import Reporter
from mlplatform.training.world import Rank


class Endpoint(ThreadingHTTPServer):
    """Takes what is posted. ``answers``: (status, body) to give first; then all is well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[dict[str, Any]] = []
        self.figures: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.news = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def until(self, what: Any) -> None:
        with self.news:
            assert self.news.wait_for(what, 30), (self.heard, self.figures)


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        seen = [{"key": f"system/{node}/memory", "step": node + 6} for node in range(2)]
        data = json.dumps({"run": {"data": {"metrics": seen if self.path.endswith("/get?run_id=r") else []}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.news:
            status, answer = 200, {}
            if self.path.endswith("log-batch"):
                server.figures += body["metrics"]
            else:
                status, answer = server.answers.pop(0) if server.answers else (200, {"kept": True})
                server.heard.append(body)
                server.tokens.append(self.headers.get("Authorization", ""))
            server.news.notify_all()
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def reporter(endpoint: Endpoint, me: Rank | None = None, **env: str) -> tuple[Reporter, threading.Event]:
    stop = threading.Event()
    return Reporter(me or Rank(group="worker", attempt=1), {"MLP_PROGRESS_URL": endpoint.url, **env}, stop), stop


def test_a_report_says_who_and_how_far(endpoint: Endpoint, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    told, _ = reporter(endpoint, MLP_PROGRESS_TOKEN_FILE=str(token))
    told.report(49, {"loss": 0.5, "name": "not a figure"}, 100)
    endpoint.until(lambda: endpoint.heard)
    assert endpoint.heard[0] == {
        "group": "worker",
        "rank": 0,
        "attempt": 1,
        "step": 49,
        "totalSteps": 100,
        "progressPercentage": 50,
        "metrics": [{"name": "loss", "value": "0.5"}],
    }
    token.write_text("two")
    told.report(50, {}, 100)
    told.flush(10)
    assert endpoint.tokens == ["Bearer one", "Bearer two"]


def test_only_the_newest_report_is_sent_but_every_figure_reaches_mlflow(endpoint: Endpoint) -> None:
    told, _ = reporter(endpoint, MLFLOW_TRACKING_URI=endpoint.url, MLFLOW_RUN_ID="r")
    for step in range(300):
        told.report(step, {"loss": float(step) if step else float("nan")}, None)
    told.flush(20)
    assert endpoint.heard[-1]["step"] == 299
    assert len(endpoint.heard) < 10
    assert [one["step"] for one in endpoint.figures] == list(range(300))
    assert (endpoint.figures[0]["value"], endpoint.figures[7]["value"]) == ("NaN", 7.0)


@pytest.mark.parametrize(("attempt", "first"), [(1, 0), (2, 8)])
def test_what_a_machine_does_goes_on_behind_the_attempts_before(endpoint: Endpoint, attempt: int, first: int) -> None:
    me = Rank(rank=1, world_size=2, replica=1, group="worker", attempt=attempt)
    env = {"MLFLOW_TRACKING_URI": endpoint.url, "MLFLOW_RUN_ID": "r", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.05"}
    told, _ = reporter(endpoint, me, **env)
    told.report(0, {}, None)
    endpoint.until(lambda: len({one["step"] for one in endpoint.figures}) >= 2)
    assert sorted({one["step"] for one in endpoint.figures})[:2] == [first, first + 1]


def test_only_rank_0_logs_to_mlflow(endpoint: Endpoint) -> None:
    me = Rank(rank=1, world_size=2, replica=1, group="worker")
    told, _ = reporter(endpoint, me, MLFLOW_TRACKING_URI=endpoint.url, MLFLOW_RUN_ID="r")
    told.report(1, {"loss": 1.0}, None)
    told.flush(10)
    assert (len(endpoint.heard), endpoint.figures) == (1, [])


def test_a_checkpoint_is_told_until_it_was_heard(endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {}), (503, {})]
    told, _ = reporter(endpoint)
    told.saved(10, "/saved/10")
    told.flush(20)
    assert [one.get("checkpointStep") for one in endpoint.heard] == [10, 10, 10]
    told.report(11, {}, None)
    told.flush(10)
    assert "checkpointStep" not in endpoint.heard[-1]


@pytest.mark.parametrize("status", [401, 403, 413, 422, 429, 500])
def test_refusals_bother_nobody(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, {"message": "no"})]
    told, stop = reporter(endpoint)
    told.report(1, {}, None)
    told.flush(10)
    told.report(2, {}, None)
    told.flush(10)
    assert [one["step"] for one in endpoint.heard] == [1, 2]
    assert not stop.is_set()


def test_an_attempt_that_is_over_reports_no_more(endpoint: Endpoint) -> None:
    endpoint.answers = [(409, {})]
    told, _ = reporter(endpoint)
    for step in (1, 2):
        told.report(step, {}, None)
        told.flush(10)
    assert len(endpoint.heard) == 1


def test_the_answer_may_ask_for_the_end(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {"stop": True})]
    told, stop = reporter(endpoint)
    told.report(1, {}, None)
    assert stop.wait(30)


def test_the_answer_may_ask_for_stacks(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    endpoint.answers = [(200, {"dumpStacks": True})]
    told, _ = reporter(endpoint)
    told.report(1, {}, None)
    told.flush(10)
    assert "test_the_answer_may_ask_for_stacks" in capfd.readouterr().err


def test_nobody_there_costs_nothing() -> None:
    told = Reporter(Rank(), {"MLP_PROGRESS_URL": "http://127.0.0.1:9"}, threading.Event())
    begun = time.monotonic()
    for step in range(1000):
        told.report(step, {"loss": 1.0}, None)
    assert time.monotonic() - begun < 2
    told.flush(0.2)


def test_a_file_is_replaced_by_each_report(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    told = Reporter(Rank(group="worker"), {"MLP_PROGRESS_FILE": str(path)}, threading.Event())
    told.saved(3, "")
    told.report(5, {}, None)
    told.flush(10)
    assert json.loads(path.read_text()) == {"group": "worker", "rank": 0, "attempt": 0, "step": 5, "checkpointStep": 3}
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.json"]
