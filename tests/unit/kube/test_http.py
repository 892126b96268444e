"""The transport over real sockets: connections that break, hang, end; credentials that change."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Unauthorized, Unavailable
from mlplatform.kube.http import HttpTransport
from mlplatform.kube.objects import PODS, Key
from mlplatform.kube.target import Target, TokenFile, in_cluster
from mlplatform.kube.transport import connect, target
from mlplatform.kube.wire import Request

Answerer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    seen: list[tuple[str, str, dict[str, str]]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answerer], tuple[Server, str]]]:
    servers: list[Server] = []

    def start(answer: Answerer) -> tuple[Server, str]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.seen.append((self.command, self.path, dict(self.headers)))
                if length := int(self.headers.get("Content-Length") or 0):
                    self.rfile.read(length)
                answer(self)

            do_POST = do_PATCH = do_GET

            def log_message(self, *_: Any) -> None: ...

        server = Server(("127.0.0.1", 0), Handler)
        server.seen = []
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server, f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"{}") -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    handler.wfile.flush()


def begin_stream(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def event(name: str, version: int) -> bytes:
    meta = f'{{"name":"{name}","namespace":"a","resourceVersion":"{version}","uid":"u"}}'
    return f'{{"type":"ADDED","object":{{"kind":"Pod","metadata":{meta}}}}}\n'.encode()


def transport(server: str, **more: Any) -> HttpTransport:
    return HttpTransport(lambda: Target(server, **more))


def test_a_request_and_its_answer(serve) -> None:
    server, url = serve(lambda handler: reply(handler, 200, b'{"a": 1}'))
    client = Client(transport(url, headers={"Impersonate-User": "ann"}, authorization=lambda: "Bearer secret"))
    assert client.get(PODS, Key("a", "b")) == {"a": 1}
    [(method, path, headers)] = server.seen
    assert (method, path) == ("GET", "/api/v1/namespaces/a/pods/b")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Impersonate-User"] == "ann"


@pytest.mark.parametrize("proxied", [False, True])
def test_a_server_may_be_under_a_path(serve, proxied: bool) -> None:
    server, address = serve(lambda handler: reply(handler, 200, b'{"metadata": {}}'))
    place = "http://cluster.test/k8s/clusters/one" if proxied else f"{address}/k8s/clusters/one"
    found = HttpTransport(lambda: Target(place, proxy=address if proxied else None))
    assert Client(found).get(PODS, Key("default", "a")) == {"metadata": {}}
    asked = f"{place}/api/v1/namespaces/default/pods/a"
    # a proxy is told the whole address
    assert server.seen[0][:2] == ("GET", asked if proxied else asked.removeprefix(address))
    found.close()


def test_no_server_is_told_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="refused") as raised:
        Client(transport(f"http://127.0.0.1:{port}")).get(PODS, Key("a", "b"))
    assert "right context" in str(raised.value)


def test_a_closed_connection_is_read_again_but_never_written_again(serve) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    server, url = serve(hang_up)
    client = Client(transport(url))
    with pytest.raises(Unavailable):
        client.get(PODS, Key("a", "b"))
    assert len(server.seen) == 2
    with pytest.raises(Unavailable):
        client.create(PODS, {"metadata": {"name": "b", "namespace": "a"}})
    assert len(server.seen) == 3


def test_a_server_that_says_nothing_is_given_up(serve) -> None:
    free = threading.Event()
    _, url = serve(lambda _: free.wait(30) and None)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        transport(url).send(Request("GET", "/version", timeout=0.2))
    assert time.monotonic() - began < 20
    free.set()


def test_events_come_whole_however_they_are_cut(serve) -> None:
    def stream(handler: BaseHTTPRequestHandler) -> None:
        begin_stream(handler)
        data = event("one", 1) + event("two", 2) + event("three", 3)
        for start in range(0, len(data), 37):
            chunk(handler, data[start : start + 37])
        chunk(handler, b"")

    _, url = serve(stream)
    with Client(transport(url)).watch(PODS, resource_version="0") as watch:
        got = [(one.type, one.meta.name, one.meta.resource_version) for one in watch]
    assert got == [("ADDED", "one", "1"), ("ADDED", "two", "2"), ("ADDED", "three", "3")]


@pytest.mark.parametrize("cut", ["between events", "within one"])
def test_a_broken_watch_is_told(serve, cut: str) -> None:
    def stream(handler: BaseHTTPRequestHandler) -> None:
        begin_stream(handler)
        chunk(handler, event("one", 1) if cut == "between events" else event("one", 1) + b'{"type": "AD')
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    _, url = serve(stream)
    got = []
    with pytest.raises(Unavailable), Client(transport(url)).watch(PODS, resource_version="0") as watch:
        got += [one.meta.name for one in watch]


def test_another_thread_ends_a_watch(serve) -> None:
    free = threading.Event()

    def stream(handler: BaseHTTPRequestHandler) -> None:
        begin_stream(handler)
        chunk(handler, event("one", 1))
        free.wait(60)

    _, url = serve(stream)
    watch = Client(transport(url)).watch(PODS, resource_version="0")
    threading.Timer(0.2, watch.close).start()
    began = time.monotonic()
    assert [one.meta.name for one in watch] == ["one"]
    assert time.monotonic() - began < 30
    free.set()


def test_a_silent_watch_is_given_up(serve) -> None:
    free = threading.Event()

    def stream(handler: BaseHTTPRequestHandler) -> None:
        begin_stream(handler)
        handler.wfile.flush()
        free.wait(60)

    _, url = serve(stream)
    with pytest.raises(Unavailable, match="said nothing"):
        list(Client(transport(url)).watch(PODS, resource_version="0", silence=0.3))
    free.set()


def test_refused_credentials_are_read_again_and_the_request_is_sent_once_more(serve) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        good = handler.headers["Authorization"] == "Bearer new"
        reply(handler, 200 if good else 401, b'{"a": 1}' if good else b'{"reason": "Unauthorized"}')

    server, url = serve(answer)
    tokens = iter(["Bearer old", "Bearer new"])
    clock = [0.0]

    def load() -> Target:
        token = next(tokens)
        return Target(url, authorization=lambda: token)

    client = Client(HttpTransport(load, clock=lambda: clock[0]))
    with pytest.raises(Unauthorized):  # read a moment ago: reading again would be no other
        client.get(PODS, Key("a", "b"))
    clock[0] = 60.0
    assert client.create(PODS, {"metadata": {"name": "b", "namespace": "a"}}) == {"a": 1}
    assert len(server.seen) == 3


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", [0.0]
    file.write_text("one\n")
    token = TokenFile(file, lambda: clock[0])
    assert token() == "Bearer one"
    file.write_text("two\n")
    assert token() == "Bearer one"
    clock[0] = 61.0
    assert token() == "Bearer two"
    clock[0] = 200.0
    file.unlink()  # being replaced
    assert token() == "Bearer two"


def test_what_a_pod_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("team-a\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = in_cluster(time.monotonic, tmp_path)
    assert (found.server, found.namespace, found.ca_file) == ("https://[fd00::1]:443", "team-a", f"{tmp_path}/ca.crt")
    assert found.authorization() == "Bearer t"


def kubeconfig(folder: Path, user: str, server: str = "https://cluster.test:6443") -> str:
    text = f"""
apiVersion: v1
kind: Config
current-context: main
clusters:
- name: c
  cluster: {{server: "{server}", insecure-skip-tls-verify: true, tls-server-name: api.test}}
contexts:
- name: main
  context: {{cluster: c, user: u, namespace: team-a}}
- name: other
  context: {{cluster: c, user: nobody}}
users:
- name: u
  user: {user}
"""
    file = folder / "config"
    file.write_text(text)
    return str(file)


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    found = target(kubeconfig(tmp_path, "{token: abc, as: ann}"))
    assert (found.server, found.namespace, found.server_name) == ("https://cluster.test:6443", "team-a", "api.test")
    assert found.authorization() == "Bearer abc"
    assert found.headers == {"Impersonate-User": "ann"}
    assert not found.verify
    other = target(kubeconfig(tmp_path, "{token: abc}"), "other")
    assert (other.namespace, other.authorization()) == ("default", None)


def test_a_kubeconfig_with_a_token_file_that_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("one")
    found = target(kubeconfig(tmp_path, "{tokenFile: token}"))  # beside the kubeconfig
    assert found.authorization() == "Bearer one"


def test_a_kubeconfig_with_a_plug_in(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        """#!/bin/sh
n=$(cat "$COUNT" 2>/dev/null || echo 0); n=$((n + 1)); echo $n > "$COUNT"
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
  "status": {"token": "t'$n'", "expirationTimestamp": "2020-01-01T00:00:00Z"}}'
"""
    )
    plugin.chmod(0o755)
    counted = tmp_path / "count"
    user = (
        f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: '{plugin}',"
        f" interactiveMode: Never, env: [{{name: COUNT, value: '{counted}'}}]}}}}"
    )
    found = target(kubeconfig(tmp_path, user))
    first = found.authorization()
    second = found.authorization()  # what has expired is asked for again
    assert first is not None
    assert first.startswith("Bearer t")
    assert first != second


def test_a_plug_in_that_fails_is_told(tmp_path: Path) -> None:
    user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false, interactiveMode: Never}}"
    with pytest.raises(KubernetesError, match="/bin/false"):
        target(kubeconfig(tmp_path, user))


def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubernetesError, match="no kubeconfig file"):
        connect(str(tmp_path / "none"))
    with pytest.raises(KubernetesError, match="main, other"):
        connect(kubeconfig(tmp_path, "{token: a}"), "third")
    broken = tmp_path / "broken"
    broken.write_text("apiVersion: v1\nclusters: [1]\n")
    with pytest.raises(KubernetesError, match="cannot be used"):
        connect(str(broken))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(KubernetesError, match="no cluster to talk to"):
        connect()
