"""Telling somebody that a run has ended."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.notify import desktop_command, message
from mlplatform.sdk.run import Run
from tests.unit.sdk.run_cases import failing, gated, start

LIMIT = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = open_home(tmp_path_factory.mktemp("notes") / "home")
    yield place
    LocalClient(place).stop()


def test_a_function_and_an_address_are_told(home: Home, tmp_path: Path) -> None:
    heard: queue.Queue[Any] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    told: queue.Queue[Run] = queue.Queue()
    gate = tmp_path / "gate"
    run = start(home, gated(gate), tmp_path)
    run.notify(told.put).notify(f"http://127.0.0.1:{server.server_port}/hook")
    assert told.empty()
    gate.touch()
    assert told.get(timeout=LIMIT) == run
    body = heard.get(timeout=LIMIT)
    server.shutdown()
    assert (body["run_id"], body["state"]) == (run.run_id, "SUCCEEDED")
    assert body["message"].startswith(f"● {run.name} succeeded after ")


def test_what_a_failure_says(home: Home, tmp_path: Path) -> None:
    run = start(home, failing(), tmp_path).wait(check=False, timeout=LIMIT)
    title, text = message(run)
    assert title == f"✕ {run.name}"
    assert text.startswith("failed after ")
    assert "divide" in text


def test_a_function_that_fails_is_told_by_python(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(home, failing(), tmp_path).wait(check=False, timeout=LIMIT)
    told: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr("threading.excepthook", lambda args: told.put(args.exc_value))

    def fail(_: Run) -> None:
        raise ValueError("the user's own")

    run.notify(fail)
    assert str(told.get(timeout=LIMIT)) == "the user's own"


@pytest.mark.parametrize(
    ("platform", "there", "command"),
    [
        ("linux", {"notify-send"}, ["notify-send", "--app-name=mlplatform", "TITLE", "TEXT"]),
        ("darwin", {"osascript"}, ["osascript", "-e", "TITLE", "TEXT"]),
    ],
)
def test_desktops(platform: str, there: set[str], command: list[str]) -> None:
    found = desktop_command(platform, lambda name: name if name in there else None)
    assert [word for word in found if "\n" not in word] == command


def test_no_way_to_tell(home: Home) -> None:
    with pytest.raises(Unsupported, match="no way to show"):
        desktop_command("linux", lambda name: None)
    with pytest.raises(InvalidInput, match="no address"):
        Run(home, "x").notify("mailto:me")
