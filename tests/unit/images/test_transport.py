"""What registries do that Debian's does not: tokens, redirections to storage, limits."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.registry.transport import Transport, Unauthorized, is_loopback

Answers = Callable[["Door"], None]


class Door(BaseHTTPRequestHandler):
    """Keeps what was asked; the test's function answers."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        server.answers(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def give(self, status: int, body: object = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], tuple[str, list[tuple[str, str, str]]]]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> tuple[str, list[tuple[str, str, str]]]:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        server.answers, server.seen = answers, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}", server.seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def transport(host: str, config: dict[str, Any] | None = None, sleeps: list[float] | None = None) -> Transport:
    environ = {"HOME": "/nonexistent", "DOCKER_CONFIG": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
    if config is not None:
        environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {host: config}})
    waits = [] if sleeps is None else sleeps
    return Transport(host, environ=environ, sleep=waits.append)


BASIC = {"auth": base64.b64encode(b"me:pass").decode()}


def with_tokens(door: Door) -> None:
    """A registry that wants a token, and its token service."""
    host = door.headers["Host"]
    path = urlsplit(door.path)
    if path.path == "/token":
        question = parse_qs(path.query)
        if door.headers.get("Authorization") != "Basic " + BASIC["auth"]:
            door.give(401, {"details": "wrong"})
            return
        door.give(200, {"token": "T-" + question["scope"][0].replace(":", ".")})
    elif door.headers.get("Authorization", "").startswith("Bearer T-"):
        door.give(200, {"ok": True})
    else:
        challenge = f'Bearer realm="http://{host}/token",service="r",scope="repository:a:pull"'
        door.give(401, {"errors": [{"message": "authentication required"}]}, WWW_Authenticate=challenge)


def test_a_token_is_got_once_and_used_again(serve: Any) -> None:
    host, seen = serve(with_tokens)
    door = transport(host, BASIC)
    for _ in range(2):
        assert json.loads(door.request("GET", "/v2/a/manifests/1", scope="repository:a:pull").read()) == {"ok": True}
    paths = [(path, auth) for _, path, auth in seen if path != "/v2/"]
    assert paths == [
        ("/v2/a/manifests/1", ""),
        ("/token?service=r&scope=repository%3Aa%3Apull", "Basic " + BASIC["auth"]),
        ("/v2/a/manifests/1", "Bearer T-repository.a.pull"),
        ("/v2/a/manifests/1", "Bearer T-repository.a.pull"),
    ]


def test_a_password_that_the_token_service_does_not_know(serve: Any) -> None:
    host, _ = serve(with_tokens)
    wrong = {"auth": base64.b64encode(b"me:s3cr3t").decode()}
    with pytest.raises(Unauthorized) as caught:
        transport(host, wrong).request("GET", "/v2/a/manifests/1", scope="repository:a:pull")
    assert "refuses user 'me' of DOCKER_AUTH_CONFIG" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert not caught.value.retryable


def test_an_identity_token_is_traded(serve: Any) -> None:
    def answers(door: Door) -> None:
        if door.path == "/token":
            form = parse_qs(door.rfile.read(int(door.headers["Content-Length"])).decode())
            good = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == ["identity"]
            door.give(200 if good else 401, {"access_token": "T-traded"})
        else:
            with_tokens(door)

    host, seen = serve(answers)
    transport(host, {"identitytoken": "identity"}).request("GET", "/v2/a/x", scope="repository:a:pull").close()
    assert seen[-1] == ("GET", "/v2/a/x", "Bearer T-traded")


def test_a_password_is_never_sent_to_an_unprotected_address(serve: Any) -> None:
    def answers(door: Door) -> None:
        door.give(401, {}, WWW_Authenticate='Bearer realm="http://collector.example.com/token",service="r"')

    host, _ = serve(answers)
    with pytest.raises(EnvironmentFailed, match="unprotected address: refused"):
        transport(host, BASIC).request("GET", "/v2/a/x", scope="repository:a:pull")


def test_storage_behind_a_redirection_gets_no_authorization(serve: Any) -> None:
    storage, stored = serve(lambda door: door.give(200, {"blob": 1}))

    def answers(door: Door) -> None:
        if not door.headers.get("Authorization"):
            door.give(401, {}, WWW_Authenticate='Basic realm="r"')
        else:
            door.give(307, None, Location=f"http://{storage}/blob?signature=x")

    host, seen = serve(answers)
    answer = transport(host, BASIC).request("GET", "/v2/a/blobs/x", scope="repository:a:pull")
    assert json.loads(answer.read()) == {"blob": 1}
    assert seen[-1][2] == "Basic " + BASIC["auth"]
    assert stored == [("GET", "/blob?signature=x", "")]


def test_a_busy_registry_is_tried_again_as_it_asks(serve: Any) -> None:
    count = iter(range(10))

    def answers(door: Door) -> None:
        if door.path == "/v2/" or next(count) >= 2:
            door.give(200, {})
        else:
            door.give(429, {"errors": [{"message": "toomanyrequests"}]}, Retry_After="7")

    host, _ = serve(answers)
    sleeps: list[float] = []
    transport(host, sleeps=sleeps).request("GET", "/v2/a/x", scope="s").close()
    assert sleeps == [7.0, 7.0]


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "ended with status 500. broken"), (413, "too large"), (400, "ended with status 400. broken")],
)
def test_a_refusal_is_told_in_the_registrys_words(serve: Any, status: int, words: str) -> None:
    host, _ = serve(lambda door: door.give(200 if door.path == "/v2/" else status, {"errors": [{"message": "broken"}]}))
    with pytest.raises(EnvironmentFailed, match=words):
        transport(host).request("GET", "/v2/a/x", scope="s")


def test_plain_http_is_for_this_machine_only() -> None:
    assert transport("registry.example.com").scheme() == "https"
    assert [
        host for host in ("localhost:5000", "127.0.0.1", "[::1]:5000", "a.localhost") if not is_loopback(host)
    ] == []
    assert [
        host for host in ("10.0.0.1", "localhost.evil.com", "registry:5000", "127.example.com") if is_loopback(host)
    ] == []
