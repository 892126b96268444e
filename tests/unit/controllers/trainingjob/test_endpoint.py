"""The endpoint over HTTP: bounded in size, time and number before anything is looked at."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Generator

import pytest

from mlplatform.controllers.trainingjob import endpoint as module
from mlplatform.controllers.trainingjob.desk import LARGEST
from mlplatform.controllers.trainingjob.endpoint import Endpoint
from tests.unit.controllers.trainingjob.test_desk import Ranks


@pytest.fixture
def ranks() -> Ranks:
    return Ranks()


@pytest.fixture
def server(ranks: Ranks) -> Generator[Endpoint]:
    found = Endpoint(ranks.desk, "127.0.0.1", 0)
    found.start()
    yield found
    found.stop()


def post(server: Endpoint, body: bytes, token: str = "pod job-worker-a1-0", path: str = "") -> tuple[int, object]:
    url = f"http://127.0.0.1:{server.port}{path or '/api/training/default/job/progress'}"
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After")


def test_a_report_over_http(server: Endpoint, ranks: Ranks) -> None:
    assert post(server, b'{"step": 3}') == (200, {"kept": True, "stop": False, "dumpStacks": False})
    assert ranks.progress["step"] == 3
    assert post(server, b'{"step": 2}')[0] == 422
    assert post(server, b'{"step": 4}', token="pod nobody")[0] == 401
    assert post(server, b"{}", path="/api/training/default/job")[0] == 404


def test_what_is_not_written_yet_is_written_at_the_stop(ranks: Ranks) -> None:
    server = Endpoint(ranks.desk, "127.0.0.1", 0)
    server.start()
    assert [post(server, json.dumps({"step": step}).encode())[0] for step in (1, 2)] == [200, 200]
    server.stop()
    assert ranks.progress["step"] == 2


def test_a_huge_body_is_not_even_read(server: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /api/training/default/job/progress HTTP/1.1\r\nContent-Length: {LARGEST + 1}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 413")


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 30])
def test_a_length_that_is_none(server: Endpoint, length: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /api/training/default/job/progress HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 411")


def test_who_says_nothing_is_cut_off_and_too_many_are_sent_away(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDTH", 3)
    monkeypatch.setattr(module, "SECONDS", 3.0)
    server = Endpoint(ranks.desk, "127.0.0.1", 0)
    server.start()
    try:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(3)]
        for connection in idle:
            connection.sendall(b"POST /")
        end = time.monotonic() + 20
        seen = 0
        while seen != 503 and time.monotonic() < end:  # until all three were taken in
            with contextlib.suppress(OSError):
                seen = post(server, b'{"step": 1}')[0]
        assert seen == 503
        for connection in idle:  # each is ended by the server, a byte now and then or not
            connection.settimeout(30)
            assert connection.recv(10) == b""
            connection.close()
        assert post(server, b'{"step": 5}')[0] == 200
    finally:
        server.stop()
