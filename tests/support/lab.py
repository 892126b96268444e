"""A real JupyterLab over a folder of notebooks, and a real browser on it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

#: Seconds; a loaded machine of two cores needs a minute for what takes five seconds elsewhere.
PATIENCE = 180


@dataclass
class Lab:
    """``folder``: what Jupyter shows; ``home``: where runs are kept."""

    folder: Path
    home: Path
    port: int
    token: str

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def write(self, name: str, *cells: str | tuple[str, dict[str, Any]]) -> Path:
        """A notebook; cells that begin with ``#`` and a blank are markdown."""
        made: list[Any] = []
        for cell in cells:
            text, metadata = cell if isinstance(cell, tuple) else (cell, {})
            make = nbformat.v4.new_markdown_cell if text.startswith(("# ", "## ")) else nbformat.v4.new_code_cell
            made.append(make(text, metadata=metadata))
        notebook = nbformat.v4.new_notebook(cells=made)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = self.folder / name
        nbformat.write(notebook, path)
        return path

    def ask(self, path: str, body: object = None, headers: dict[str, str] | None = None, *, known: bool = True) -> Any:
        """(status, JSON or text) of a request with the token, if ``known``."""
        data = None if body is None else json.dumps(body).encode()
        sent = {**({"Authorization": f"token {self.token}"} if known else {}), **(headers or {})}
        request = urllib.request.Request(self.url(path), data, sent)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running_lab(folder: Path) -> Generator[Lab]:
    """JupyterLab as a user starts it, with nothing of ours enabled by hand."""
    shown, home = folder / "work", folder / "home"
    shown.mkdir()
    lab = Lab(shown, home, _free_port(), secrets.token_hex(8))
    env = {
        **os.environ,
        "MLPLATFORM_HOME": str(home),
        "MLPLATFORM_TRACKING": "off",
        "MLPLATFORM_IDLE_SECONDS": "600",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={lab.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={lab.token}"]
    command += [f"--ServerApp.root_dir={shown}", "--LabApp.expose_app_in_browser=True"]
    log = (folder / "lab.log").open("wb")
    process = subprocess.Popen(command, cwd=shown, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(lab, process, folder / "lab.log")
        yield lab
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()
        from mlplatform.engine.webdoor import stop_server
        from mlplatform.sdk.client import LocalClient

        client = LocalClient(home)
        if home.exists():
            client.stop()
            stop_server(client.home)


def _wait_for(lab: Lab, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            if lab.ask("api")[0] == 200:
                return
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not start:\n" + log.read_text()[-3000:])


def chromium() -> str:
    """Debian's, installed by .ci/run; skips without one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine: apt-get install chromium")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless browser (playwright's)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE * 1000)
        try:
            yield opened
        finally:
            opened.close()
