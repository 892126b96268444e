"""Google Cloud Storage: the real client library against a small server that speaks its JSON protocol.

There is no server of Google's to run here; this one knows what the store asks for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Generator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mlplatform.artifacts import Artifacts, objects
from mlplatform.core.errors import ArtifactError, Unsupported

pytest.importorskip("google.cloud.storage", reason="needs google-cloud-storage (extra kfp)")


def crc(data: bytes) -> str:
    import google_crc32c  # comes with the library

    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


class Server(ThreadingHTTPServer):
    """``buckets``: name -> key -> (bytes, metadata)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, dict[str, tuple[bytes, dict[str, str]]]] = {"bucket": {}}
        self.sessions: dict[str, tuple[str, dict[str, Any], bytearray]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return None

    def answer(self, code: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def described(self, bucket: str, key: str) -> dict[str, Any]:
        data, metadata = self.server.buckets[bucket][key]
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        return {
            "name": key, "bucket": bucket, "size": str(len(data)), "metadata": metadata, "generation": "1", "etag": "x",
            "md5Hash": digest, "crc32c": crc(data),
        }  # fmt: skip

    def place(self) -> tuple[str, str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        found = re.search(r"/b/([^/]+)/o(?:/(.*))?$", parts.path)
        assert found, self.path
        return found[1], unquote(found[2] or ""), parse_qs(parts.query)

    def known(self, bucket: str, key: str | None = None) -> bool:
        if bucket == "forbidden":
            self.answer(403, {"error": {"message": "no"}})
            return False
        if bucket not in self.server.buckets or (key and key not in self.server.buckets[bucket]):
            self.answer(404, {"error": {"message": "not found"}})
            return False
        return True

    def do_GET(self) -> None:
        if of_bucket := re.search(r"/b/([^/?]+)\?", self.path):
            if self.known(of_bucket[1]):
                self.answer(200, {"name": of_bucket[1]})
            return
        bucket, key, query = self.place()
        if not self.known(bucket, key):
            return
        if not key:
            prefix = query.get("prefix", [""])[0]
            names = [name for name in sorted(self.server.buckets[bucket]) if name.startswith(prefix)]
            begin = int(query.get("pageToken", ["0"])[0])
            page = names[begin : begin + 2]
            more = {"nextPageToken": str(begin + 2)} if begin + 2 < len(names) else {}
            self.answer(200, {"items": [self.described(bucket, name) for name in page], **more})
        elif query.get("alt") == ["media"] or "/download/" in self.path:
            data = self.server.buckets[bucket][key][0]
            digest = base64.b64encode(hashlib.md5(data).digest()).decode()
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked and data:
                begin, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
                self.answer(206, data[begin : end + 1], Content_Range=f"bytes {begin}-{end}/{len(data)}")
            else:
                self.answer(200, data, X_Goog_Hash=f"md5={digest},crc32c={crc(data)}")
        else:
            self.answer(200, self.described(bucket, key))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket, _, query = self.place()
        if not self.known(bucket):
            return
        if query["uploadType"] == ["resumable"]:
            session = str(len(self.server.sessions))
            self.server.sessions[session] = (bucket, json.loads(body), bytearray())
            self.answer(200, Location=f"{self.server.address}/session/{session}")
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        about, content = message_from_bytes(head + body).get_payload()  # type: ignore[misc]
        described = json.loads(about.get_payload())  # type: ignore[union-attr]
        data = content.get_payload(decode=True)  # type: ignore[union-attr]
        self.store(bucket, described, data)

    def do_PUT(self) -> None:
        bucket, described, data = self.server.sessions[self.path.rpartition("/")[2]]
        data += self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.store(bucket, described, bytes(data))

    def store(self, bucket: str, described: dict[str, Any], data: bytes) -> None:
        self.server.buckets[bucket][described["name"]] = (data, described.get("metadata", {}))
        self.answer(200, self.described(bucket, described["name"]))

    def do_DELETE(self) -> None:
        bucket, key, _ = self.place()
        if self.known(bucket, key):
            del self.server.buckets[bucket][key]
            self.answer(204, b"")


@pytest.fixture
def server() -> Generator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return Artifacts()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "a b.txt").write_text("a")
    (root / "sub" / "ü%2F#?").write_bytes(b"12")
    (root / "large").write_bytes(os.urandom(9_000_000))
    return root


def test_files_and_trees(server: Server, store: Artifacts, tree: Path, tmp_path: Path) -> None:
    uri = "gs://bucket/runs/1"
    assert not store.exists(uri)
    store.put(tree, uri)
    assert set(server.buckets["bucket"]) == {
        "runs/1/a b.txt", "runs/1/large", "runs/1/sub/empty/", "runs/1/sub/ü%2F#?"
    }  # fmt: skip
    assert store.exists(uri)
    assert store.digest(uri) == store.digest(str(tree))
    store.fetch(uri, tmp_path / "back")
    assert store.digest(str(tmp_path / "back")) == store.digest(str(tree))
    store.put(tree / "large", uri)
    assert set(server.buckets["bucket"]) == {"runs/1"}
    assert store.digest(uri) == store.digest(str(tree / "large"))
    store.remove(uri)
    store.remove(uri)
    assert server.buckets["bucket"] == {}


def test_objects_of_other_tools(server: Server, store: Artifacts, tree: Path, tmp_path: Path) -> None:
    data = (tree / "large").read_bytes()
    server.buckets["bucket"] = {"x": (data, {}), "damaged": (b"1", {objects.DIGEST_KEY: "0" * 64})}
    assert store.digest("gs://bucket/x") == store.digest(str(tree / "large"))
    with pytest.raises(ArtifactError, match="arrived damaged"):
        store.fetch("gs://bucket/damaged", tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_goes_wrong(store: Artifacts, tree: Path, tmp_path: Path) -> None:
    for uri, words in (
        ("gs://bucket/none", "there is nothing at gs://bucket/none"),
        ("gs://none/x", "no such bucket or object"),
        ("gs://forbidden/x", "access denied"),
    ):
        with pytest.raises(ArtifactError, match=words) as caught:
            store.fetch(uri, tmp_path / "x")
        assert caught.value.hint
    with pytest.raises(ArtifactError, match="access denied"):
        store.put(tree, "gs://forbidden/x")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(Unsupported) as caught:
        Artifacts().exists("gs://b/k")
    assert "pip install google-cloud-storage" in caught.value.hint
