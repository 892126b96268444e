"""A real server process over a home of its own, for tests that speak HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.home import TestHome, home_in

#: Seconds. Starting the server takes two; with seven test suites beside it, it was seen to take more than sixty.
PATIENCE = 300.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server on a port. ``stop`` and ``start`` play a crash: the port stays the same."""

    home: TestHome
    listener: socket.socket
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.home.root / "server" / "token").read_text()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlplatform.server", "--home", str(self.home.root)]
        command += ["--listener", str(self.listener.fileno()), "--stay"]
        self.process = subprocess.Popen(
            command, pass_fds=(self.listener.fileno(),), cwd=self.home.folder, env={**os.environ, **self.env}
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                assert self.ask("GET", "/healthz").status == 200
                return
            except OSError:
                assert self.process.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if query:
            path += "?" + urlencode(query, doseq=True)
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Any:
        """What a GET answers, which must have worked."""
        answer = self.ask("GET", path, query=query)
        assert answer.status == 200, f"{path}: {answer.status} {answer.body[:2000]!r}"
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.ask("POST", path, body if body is not None else {})
        assert answer.status == status, f"{path}: {answer.status} {answer.body[:2000]!r}"
        return answer.json() if answer.body else None

    def finished(self, run_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The run once it has ended."""
        end = time.monotonic() + seconds
        while True:
            run = self.get(f"/api/v1/runs/{run_id}")
            if run["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return run
            assert time.monotonic() < end, f"run {run_id} is still {run['state']}"
            time.sleep(0.1)


@contextmanager
def served_in(folder: Path, **env: str) -> Generator[Served]:
    """A home below ``folder`` with a server; both are stopped afterwards."""
    with home_in(folder, **env) as home, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        served = Served(home, listener, {"MLPLATFORM_IDLE_SECONDS": "120", **env})
        served.start()
        try:
            yield served
        finally:
            served.stop()
