"""The way to the server in a cluster: by the API server's service proxy, behind the door of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mlplatform.core.errors import KubernetesError
from mlplatform.engine.home import open_home
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, ObjectNotFound
from mlplatform.kube.objects import Resource
from mlplatform.kube.wire import Request
from mlplatform.server.access import Activity, Guard
from mlplatform.server.cluster.gateway import Gateway, Tokens
from mlplatform.server.links import sign
from mlplatform.server.settings import Settings

BASE = "/api/v1/namespaces/platform/services/mlplatform-server:http/proxy"


class Told:
    def __init__(self, status: int = 200, headers: Mapping[str, str] | None = None, *pieces: bytes) -> None:
        self.status = status
        self.headers = dict(headers or {})
        self.pieces = pieces
        self.closed = False

    def chunks(self) -> Iterator[bytes]:
        yield from self.pieces

    def close(self) -> None:
        self.closed = True


class Accounts(Client):
    """An API server that gives tokens of these accounts, and refuses those of others."""

    def __init__(self, *may: str, there: tuple[str, ...] = ("mlplatform-editor", "mlplatform-viewer")) -> None:
        self.may, self.there, self.made = may, there, 0

    def create(self, resource: Resource, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        assert body["spec"]["audiences"] == ["pipelines.kubeflow.org"]
        assert body["metadata"]["namespace"] == "team"
        name = resource.plural.split("/")[1]
        if name not in self.there:
            raise ObjectNotFound("there is none", status=404)
        if name not in self.may:
            raise Forbidden("ann may not create serviceaccounts/token", status=403)
        self.made += 1
        return {"status": {"token": f"{name}-{self.made}"}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_strongest_account_that_one_may_use_is_used_and_its_token_renewed() -> None:
    clock = Clock()
    tokens = Tokens(Accounts("mlplatform-viewer"), "team", "", clock)
    assert (tokens.current(), tokens.current(), tokens.account) == (*["mlplatform-viewer-1"] * 2, "mlplatform-viewer")
    clock.now = 3000.0
    assert tokens.current() == "mlplatform-viewer-2"
    assert Tokens(Accounts("mlplatform-editor", "mlplatform-viewer"), "team", "", clock).current() == (
        "mlplatform-editor-1"
    )
    with pytest.raises(KubernetesError, match="You may not have a token of mlplatform-editor or") as refused:
        Tokens(Accounts(), "team", "", clock).current()
    assert "view or edit" in refused.value.hint
    with pytest.raises(KubernetesError, match="no server serves it") as missing:
        Tokens(Accounts(there=()), "team", "", clock).current()
    assert "mlplatform install --serve team" in missing.value.hint


class Way:
    def __init__(self, folder: Path) -> None:
        self.asked: list[Request] = []
        self.answer = Told(200, {"content-type": "text/plain"}, b"one ", b"two")
        self.settings = Settings(open_home(folder), "", "of-this-machine", trust_user=False)
        gateway = Gateway(self._ask, Tokens(Accounts("mlplatform-editor"), "team", "", Clock()), "platform")
        self.gateway = gateway
        guarded = Guard(gateway, self.settings, Activity())
        self.browser: Any = TestClient(guarded, base_url="http://127.0.0.1:4000", follow_redirects=False)

    def _ask(self, request: Request) -> Told:
        self.asked.append(request)
        return self.answer


@pytest.fixture
def way(tmp_path: Path) -> Way:
    return Way(tmp_path)


def test_a_browser_comes_in_by_a_link_without_the_clusters_token(way: Way) -> None:
    assert way.browser.get("/api/v1/runs").status_code == 401
    assert way.asked == []
    ticket = sign("of-this-machine", "ticket", "", 4e9)
    entered = way.browser.get(f"/?ticket={ticket}&x=1")
    assert (entered.status_code, entered.headers["location"]) == (303, "./?x=1")
    found = way.browser.get("/api/v1/runs/a%2Fb?page=2&x=1&x=2")
    assert (found.status_code, found.text) == (200, "one two")
    [asked] = way.asked
    assert (asked.method, asked.path) == ("GET", BASE + "/api/v1/runs/a%2Fb?page=2&x=1&x=2")
    assert asked.headers["x-mlplatform-authorization"] == "Bearer mlplatform-editor-1"
    assert not {"cookie", "authorization", "host", "origin"} & set(asked.headers)
    assert way.answer.closed
    assert "mlplatform-editor-1" not in str([found.headers, entered.headers])


def test_programs_come_in_by_this_machines_token_and_change_things(way: Way) -> None:
    way.answer = Told(201, {"content-type": "application/json", "location": f"https://api:6443{BASE}/api/v1/runs/x"})
    known = {"authorization": "Bearer of-this-machine", "content-type": "application/json"}
    made = way.browser.post("/api/v1/runs", content=b'{"a": 1}', headers=known)
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/runs/x")
    assert (way.asked[0].method, way.asked[0].body) == ("POST", b'{"a": 1}')
    assert way.browser.post("/api/v1/runs", headers={"host": "evil.test"}).status_code == 421


def test_a_server_that_cannot_be_reached_is_told_with_what_to_do(way: Way) -> None:
    for status, words in ((403, "services/proxy"), (404, "--platform-namespace"), (503, "not ready")):
        way.answer = Told(status, {}, b"no")
        with pytest.raises(KubernetesError) as error:
            way.gateway.reach()
        assert words in error.value.message + error.value.hint
