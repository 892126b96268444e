"""Which notebook a kernel belongs to, by whoever knows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput
from mlplatform.jupyter import whereabouts
from mlplatform.jupyter.whereabouts import open_notebook


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    for name in ("a.ipynb", "b.ipynb", "sub dir/c.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_vscode_says_it_in_the_namespace(files: Path) -> None:
    told = {"__vsc_ipynb_file__": str(files / "a.ipynb")}
    assert open_notebook(told, {"JPY_SESSION_NAME": str(files / "b.ipynb")}) == files / "a.ipynb"


def test_what_the_server_left_is_believed_if_it_is_a_file(files: Path) -> None:
    assert open_notebook({}, {"JPY_SESSION_NAME": str(files / "b.ipynb")}) == files / "b.ipynb"
    for told in ("", "6b1c-4f", str(files / "gone.ipynb"), str(files)):
        with pytest.raises(InvalidInput, match="does not know which notebook"):
            open_notebook({}, {"JPY_SESSION_NAME": told})


@pytest.fixture
def server(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A Jupyter server that knows our kernel, and one that has died."""
    asked: list[str] = []

    class Sessions(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            sessions = [
                {"path": "a.ipynb", "kernel": {"id": "other"}},
                {"path": "sub dir/c.ipynb", "kernel": {"id": "11112222-aaaa"}},
                {"path": "odd", "kernel": None},
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(sessions).encode())

        def log_message(self, *_: Any) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Sessions)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    told = {"url": f"http://127.0.0.1:{http.server_port}/base/", "token": "secret", "root_dir": str(files)}
    (files / "runtime" / "jpserver-1.json").write_text(json.dumps(told))
    (files / "runtime" / "jpserver-2.json").write_text(json.dumps({**told, "url": "http://127.0.0.1:9/"}))
    (files / "runtime" / "jpserver-3.json").write_text("{")
    monkeypatch.setattr(whereabouts, "kernel_id", lambda: "11112222-aaaa")
    yield asked
    http.shutdown()
    http.server_close()


def test_a_server_is_asked_for_its_sessions(files: Path, server: list[str]) -> None:
    renamed_from = {"JPY_SESSION_NAME": str(files / "b.ipynb")}
    assert open_notebook({}, renamed_from) == files / "sub dir" / "c.ipynb"
    assert server == ["/base/api/sessions token secret"]


def test_outside_a_kernel_there_is_no_id() -> None:
    assert whereabouts.kernel_id() == ""
