"""The way from a person's machine to the server in a cluster, without a tunnel made by hand.

An address of this machine passes what it is asked on by the API server's service proxy, with the credentials of the
kubeconfig: plain requests, one right (``services/proxy`` of that one service), and nothing else of the platform can be
reached by it. Who asks is told in a header by a short-lived token of an account of the namespace, which only this
process knows; a browser and programs come in here as they come to the service of one machine (``access.Guard``): by a
link with a ticket, exchanged for a cookie, or as the same user.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final, Protocol
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, ObjectNotFound
from mlplatform.kube.objects import Resource
from mlplatform.kube.wire import Request as Asked
from mlplatform.server.access import Refused
from mlplatform.server.cluster.doors import PASSED_ON
from mlplatform.server.cluster.reviews import AUDIENCES

#: The service of the manifests, and the name of its port.
SERVICE: Final = "mlplatform-server:http"
#: The accounts that an installation makes for people, in the namespace that its server serves; the stronger first.
ACCOUNTS: Final = ("mlplatform-editor", "mlplatform-viewer")
_TOKEN_SECONDS: Final = 3600
#: Seconds without a word in which an answer may still come: pages follow runs.
_SILENCE: Final = 600.0
_PIECE_END: Final = b""
#: What goes on, and what comes back. The rest is between two neighbours.
_ASKED: Final = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since", "range",
                 "last-event-id")  # fmt: skip
_TOLD: Final = ("content-type", "content-length", "content-disposition", "etag", "last-modified", "cache-control",
                "content-range", "accept-ranges", "vary", "location", "content-security-policy", "retry-after",
                "x-content-type-options", "referrer-policy", "cross-origin-opener-policy",
                "cross-origin-resource-policy")  # fmt: skip


class Stream(Protocol):
    """An answer that comes in pieces (``kube.http.HttpStream``)."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Tokens:
    """Tokens of an account of a namespace, renewed before they end. Threads share one."""

    def __init__(self, client: Client, namespace: str, account: str, clock: Callable[[], float]) -> None:
        """``account``: empty: the strongest of :data:`ACCOUNTS` that this user may use."""
        self._client = client
        self._namespace = namespace
        self._accounts = (account,) if account else ACCOUNTS
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0
        #: The account that is used.
        self.account = ""

    def current(self) -> str:
        """Raises KubernetesError: none can be had; it says what is missing."""
        with self._lock:
            if not self._token or self._clock() > self._until:
                self._token = self._new()
                self._until = self._clock() + _TOKEN_SECONDS * 0.8
            return self._token

    def _new(self) -> str:
        troubles: list[KubernetesError] = []
        for account in (self.account,) if self.account else self._accounts:
            try:
                token = self._ask(account)
            except (Forbidden, ObjectNotFound) as error:
                troubles.append(error)
                continue
            self.account = account
            return token
        names = " or ".join(self._accounts)
        if all(isinstance(error, ObjectNotFound) for error in troubles):
            raise KubernetesError(
                f"There is no service account {names} in namespace {self._namespace}: no server serves it.",
                hint="Name the namespace that one serves (--namespace), or have it installed: "
                f"mlplatform install --serve {self._namespace}",
            )
        raise KubernetesError(
            f"You may not have a token of {names} in namespace {self._namespace}: {troubles[-1].message}",
            hint="Whoever may view or edit the namespace may; ask whoever runs the cluster for the role view or edit.",
        )

    def _ask(self, account: str) -> str:
        kind = Resource("", "v1", f"serviceaccounts/{quote(account, safe='')}/token", "TokenRequest")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": self._namespace},
            "spec": {"audiences": [AUDIENCES[0]], "expirationSeconds": _TOKEN_SECONDS},
        }
        return str(self._client.create(kind, body)["status"]["token"])


class Gateway:
    """An ASGI app that passes everything on. What comes here was let in by ``access.Guard``."""

    def __init__(self, ask: Callable[[Asked], Stream], tokens: Tokens, place: str) -> None:
        """``ask``: sends a request to the API server; ``place``: the namespace of the server."""
        self._ask = ask
        self._tokens = tokens
        self.base = f"/api/v1/namespaces/{place}/services/{SERVICE}/proxy"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        try:
            answer = await anyio.to_thread.run_sync(self._passed_on, scope, body)
        except KubernetesError as error:
            told = Refused(502, error.code, error.message, error.hint).body
            await JSONResponse({"error": told, "message": error.message, "code": 14}, 502)(scope, receive, send)
            return
        await self._response(answer)(scope, receive, send)

    def reach(self) -> None:
        """Raises KubernetesError: the server cannot be reached this way, and why."""
        stream = self._ask(self._request("GET", "/readyz", {}, b""))
        found = b"".join(stream.chunks())
        if stream.status == 403:
            raise KubernetesError(
                f"You may not reach the server by the API server: {found.decode('utf-8', 'replace')[:400]}",
                hint=f"The right is `get services/proxy` of {SERVICE}; `mlplatform install` gives it to everybody.",
            )
        if stream.status == 404:
            raise KubernetesError(
                f"There is no server at {self.base}.",
                hint="Is the platform installed there? --platform-namespace names another place.",
            )
        if stream.status >= 400:
            raise KubernetesError(
                f"The server in the cluster is not ready (status {stream.status}).",
                hint="kubectl -n mlplatform-system get pods tells more; try again in a moment.",
            )

    def _passed_on(self, scope: Scope, body: bytes) -> Stream:
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        headers = {name: given[name] for name in _ASKED if name in given}
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        target = raw.partition(b"?")[0].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return self._ask(self._request(scope["method"], target + (f"?{query}" if query else ""), headers, body))

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Asked:
        known = {PASSED_ON: f"Bearer {self._tokens.current()}"}
        kind = headers.get("content-type", "application/json")
        return Asked(
            method, self.base + target, body=body or None, content_type=kind, timeout=_SILENCE,
            headers={**headers, **known},
        )  # fmt: skip

    def _response(self, answer: Stream) -> Response:
        headers = {name: value for name, value in answer.headers.items() if name in _TOLD}
        if location := headers.get("location"):  # the API server puts its own path before it
            headers["location"] = location.partition(self.base)[2] or "/" if self.base in location else location
        return StreamingResponse(_pieces(answer), answer.status, headers=headers)


async def _pieces(answer: Stream) -> AsyncIterator[bytes]:
    """The bytes as they come; whoever leaves ends the request."""
    pieces = answer.chunks()
    try:
        while piece := await anyio.to_thread.run_sync(_next, pieces, abandon_on_cancel=True):
            yield piece
    except KubernetesError:
        return  # broken off: what has been sent cannot be taken back, and its length tells
    finally:
        answer.close()


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, _PIECE_END)
