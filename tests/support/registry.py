"""Debian's docker-registry on a free port of this machine, with or without a login, and a line to it that breaks."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

USER, PASSWORD = "tester", "right"
#: bcrypt of PASSWORD, the only kind that the registry reads.
_HASH = "$2b$04$93LaioYdtCfzpa7u1FveXOd2UX7/krdIMWfheihIihl5dAMRuDrsS"


@dataclass
class RegistryServer:
    """``host`` as image names have it; ``log``: one line a request."""

    host: str
    folder: Path
    log: Path

    def requests(self, method: str = "", part: str = "") -> list[str]:
        """Paths of the requests answered so far, in order."""
        found: list[str] = []
        for line in self.log.read_text(errors="replace").splitlines():
            if not line.startswith("{"):
                continue
            said = json.loads(line)
            if said.get("msg") == "response completed" and said.get("http.request.method") == (
                method or said.get("http.request.method")
            ):
                found.append(said["http.request.uri"])
        return [path for path in found if part in path]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(*, login: bool = False, address: str = "127.0.0.1") -> Generator[RegistryServer]:
    """A registry of its own, gone afterwards. Skips the test where Debian's docker-registry is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian: docker-registry)")
    with tempfile.TemporaryDirectory(prefix="mlp-registry-") as folder:
        root = Path(folder)
        port = free_port()
        config = {
            "version": 0.1,
            "log": {"level": "info", "formatter": "json"},
            "storage": {"filesystem": {"rootdirectory": str(root / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"{address}:{port}"},
        }
        if login:
            (root / "users").write_text(f"{USER}:{_HASH}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(root / "users")}}
        (root / "config.yml").write_text(json.dumps(config))
        with open(root / "log", "wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(root / "config.yml")], stdout=log, stderr=subprocess.STDOUT, cwd=root,
                env={"OTEL_TRACES_EXPORTER": "none", "PATH": "/usr/bin"},
            )  # fmt: skip
        try:
            _wait(f"http://{address}:{port}/v2/", process, root / "log")
            yield RegistryServer(f"{address}:{port}", root / "data", root / "log")
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.05)
    raise AssertionError(f"the registry does not answer: {log.read_text(errors='replace')}")


@dataclass
class Line:
    """A TCP line to a server. ``cut_after``: bytes from the client after which the next connections break, one each."""

    host: str
    cut_after: list[int] = field(default_factory=list)
    cuts: int = 0


@contextmanager
def line_to(host: str) -> Generator[Line]:
    """A port that leads to ``host`` and can be broken while it is used."""
    target = (host.rpartition(":")[0], int(host.rpartition(":")[2]))
    server = socket.create_server(("127.0.0.1", 0))
    line = Line(f"127.0.0.1:{server.getsockname()[1]}")

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(target) as there:
            back = threading.Thread(target=_copy, args=(there, client, lambda _: True), daemon=True)
            back.start()
            sent = 0

            def more(size: int) -> bool:
                nonlocal sent
                sent += size
                if line.cut_after and sent > line.cut_after[0]:
                    line.cut_after.pop(0)
                    line.cuts += 1
                    return False
                return True

            if _copy(client, there, more):
                back.join(30)
            else:
                client.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield line
    finally:
        server.close()


def _copy(source: socket.socket, to: socket.socket, more: Callable[[int], bool]) -> bool:
    """True at the source's own end, False when ``more`` wanted to go no further."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if not more(len(data)):
                return False
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
    return True
