"""Artifacts behind web addresses: a server that breaks off, resumes, refuses and redirects."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlplatform.artifacts import Artifacts
from mlplatform.artifacts.web import HttpStore
from mlplatform.core.errors import ArtifactError

DATA = os.urandom(3_000_000)


class Server(ThreadingHTTPServer):
    """``files`` by path. The next ``break_after`` answers stop after so many bytes; ``busy`` requests get 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data": DATA, "/a%20b": b"space"}
        self.break_after: list[int] = []
        self.busy = 0
        self.ranges = True
        self.etag = True
        self.change = False
        self.requests: list[tuple[str, str, str]] = []
        self.logins: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return None

    def begin(self) -> bool:
        self.server.requests.append((self.command, self.path, self.headers.get("Range", "")))
        self.server.logins.append(self.headers.get("Authorization", ""))
        if self.server.busy:
            self.server.busy -= 1
            self.end(503)
            return False
        for code in (403, 405, 507):
            if f"/{code}" in self.path and not (code == 405 and self.command == "GET"):
                self.end(code)
                return False
        return True

    def end(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        if self.begin():
            self.end(200 if self.path in self.server.files else 404)

    def do_DELETE(self) -> None:
        if self.begin():
            self.end(204 if self.server.files.pop(self.path, None) is not None else 404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.begin():
            self.server.files[self.path] = body
            self.end(201)

    def do_GET(self) -> None:
        if not self.begin():
            return
        if self.path == "/redirect":
            self.end(302, Location=f"http://localhost:{self.server.server_port}/data")
            return
        body = self.server.files.get(self.path.partition("?")[0].replace("/405", "/data"))
        if body is None:
            self.end(404)
            return
        if self.server.change and self.headers.get("If-Range"):
            body = body[::-1]
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = 0
        if wanted and self.server.ranges and self.headers.get("If-Range", tag) == tag:
            begin = int(wanted[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if self.server.etag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        stop = self.server.break_after.pop(0) if self.server.break_after else None
        self.wfile.write(body[begin:] if stop is None else body[begin : begin + stop])
        if stop is not None:
            self.close_connection = True


@pytest.fixture
def server() -> Generator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def store() -> HttpStore:
    return HttpStore(pause=0.001)


def begins(server: Server) -> list[int]:
    return [int(found[1]) for _, _, asked in server.requests if (found := re.match(r"bytes=(\d+)-", asked))]


def test_through_the_one_door(server: Server, tmp_path: Path) -> None:
    artifacts = Artifacts()
    uri = f"http://{server.address}/data"
    assert not artifacts.is_local(uri)
    assert artifacts.fetch(uri, tmp_path / "x" / "y").read_bytes() == DATA
    assert artifacts.digest(uri) == ("sha256:" + hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert artifacts.exists(uri)
    assert not artifacts.exists(uri + "no")
    (tmp_path / "up").write_bytes(b"new")
    artifacts.put(tmp_path / "up", f"http://{server.address}/new file")
    assert server.files["/new%20file"] == b"new"
    artifacts.remove(f"http://{server.address}/new file")
    artifacts.remove(f"http://{server.address}/new file")
    assert "/new%20file" not in server.files
    assert artifacts.fetch(f"http://{server.address}/a b", tmp_path / "s").read_bytes() == b"space"


def test_it_goes_on_where_it_stopped(server: Server, store: HttpStore, tmp_path: Path) -> None:
    server.break_after = [1_000_000, 0, 500_000, 1]
    store.fetch(f"http://{server.address}/data", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert begins(server) == [1_000_000, 1_000_000, 1_500_000, 1_500_001]


def test_progress_earns_new_attempts(server: Server, store: HttpStore) -> None:
    server.break_after = [100_000] * 20
    assert store.digest(f"http://{server.address}/data") == ("sha256:" + hashlib.sha256(DATA).hexdigest(), len(DATA))


def test_a_server_without_ranges_is_read_again_from_the_start(server: Server, store: HttpStore, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [2_000_000, 1_000_000]
    store.fetch(f"http://{server.address}/data", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_two_versions_are_never_mixed(server: Server, store: HttpStore, tmp_path: Path) -> None:
    server.break_after = [1_000_000]
    server.change = True
    with pytest.raises(ArtifactError, match="changed meanwhile"):
        store.fetch(f"http://{server.address}/data", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_told_apart_is_not_resumed(server: Server, store: HttpStore, tmp_path: Path) -> None:
    server.etag, server.break_after = False, [1_000_000]
    with pytest.raises(ArtifactError, match="broke off"):
        store.fetch(f"http://{server.address}/data", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_it_gives_up_in_the_end(server: Server, store: HttpStore, tmp_path: Path) -> None:
    server.break_after = [0] * 20
    with pytest.raises(ArtifactError, match="broke off"):
        store.fetch(f"http://{server.address}/data", tmp_path / "x")
    assert len(server.requests) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again(server: Server, store: HttpStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    for call in (
        lambda: store.fetch(f"http://{server.address}/data", tmp_path / "x"),
        lambda: store.put(tmp_path / "f", f"http://{server.address}/new"),
        lambda: store.remove(f"http://{server.address}/new"),
        lambda: store.exists(f"http://{server.address}/new"),
    ):
        server.busy = 4
        call()
        server.busy = 5
        with pytest.raises(ArtifactError, match="503"):
            call()


@pytest.mark.parametrize(("code", "words"), [(403, "access denied"), (405, "does not allow"), (507, "disk is full")])
def test_refusals_say_what_to_do(server: Server, store: HttpStore, tmp_path: Path, code: int, words: str) -> None:
    (tmp_path / "f").write_bytes(b"f")
    with pytest.raises(ArtifactError, match=words) as caught:
        store.put(tmp_path / "f", f"http://{server.address}/{code}")
    assert caught.value.hint
    with pytest.raises(ArtifactError, match="files only"):
        store.put(tmp_path, f"http://{server.address}/x")


def test_a_server_without_head(server: Server, store: HttpStore) -> None:
    assert store.exists(f"http://{server.address}/405")
    assert [request[0] for request in server.requests] == ["HEAD", "GET"]


def test_secrets_of_a_url_are_not_told(server: Server, store: HttpStore, tmp_path: Path) -> None:
    uri = f"http://me:pass%20word@{server.address}/403?signature=secret"
    for call in (lambda: store.fetch(uri, tmp_path / "x"), lambda: store.exists(uri), lambda: store.remove(uri)):
        with pytest.raises(ArtifactError) as caught:
            call()
        assert "pass" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "/403" in str(caught.value)
    assert server.logins[0] == "Basic " + base64.b64encode(b"me:pass word").decode()
    server.logins.clear()
    store.digest(f"http://me:secret@{server.address}/redirect")
    assert [bool(login) for login in server.logins] == [True, False]


def test_nobody_there(store: HttpStore, tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:9/x", "http://no-such-host.invalid/x"):
        with pytest.raises(ArtifactError, match="cannot read http") as caught:
            store.fetch(uri, tmp_path / "x")
        assert "network" in caught.value.hint
    with pytest.raises(ArtifactError, match="no web address"):
        store.fetch("http://[::1/x", tmp_path / "x")
