"""Who may come in: checked for every request before anything else looks at it. See docs/server.md for the reasons.

- **Host**: only the names we are known by, so that no foreign name that somebody points at this address (DNS
  rebinding) makes a browser take us for its own.
- **Who**: the home's token as a bearer, a session cookie (given for a ticket or the token in a link), or a program of
  the same user on this machine.
- **Origin**: a browser that changes something must do so from our own pages.
- **Size**: bodies have a limit, whatever their headers say.

Pages and scripts of the UI are open: they hold nothing. Artifact bytes are reached by signed URLs (``api.content``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.server import peer
from mlplatform.server.settings import Settings
from mlplatform.server.signing import sign, verify

#: Seconds that a browser which came in by a link is known.
SESSION_SECONDS: Final = 30 * 24 * 3600.0

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: What needs somebody known. Everything else is files of the UI.
_GUARDED: Final = ("/api/", "/apis/", "/mlflow", "/docs")
#: Signed by themselves.
_SIGNED: Final = ("/api/v1/content/",)
#: Files that tasks log go through, a model as long as it is.
_UPLOADS: Final = "/api/v1/pods/mlflow/"
_LONGEST_UPLOAD: Final = 1 << 40
#: Whether we are well: asked by the kubelet, which knows us by an address. Nothing else is said there.
_PROBES: Final = ("/healthz", "/readyz")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """The request goes no further."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message, "hint": hint, "retryable": False, "findings": []}


@dataclass
class Activity:
    """Whether anybody uses this server: open requests (a stream is one), and when the last one began or ended."""

    open: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def idle(self) -> float:
        """Seconds since somebody used it."""
        return 0.0 if self.open else time.monotonic() - self.used_at


class Doors(Protocol):
    """Others who may say that a request comes from somebody known."""

    async def admit(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """True: let it in. False: this is not for us to say. Raises Refused: known, and may not; or known to nobody."""
        ...


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: Settings, activity: Activity, doors: Doors | None = None) -> None:
        self._app = app
        self._settings = settings
        self._activity = activity
        #: Who else may come in, where this server is one of a cluster.
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        self._activity.open += 1
        try:
            await self._guarded(scope, receive, send)
        finally:
            self._activity.open -= 1
            self._activity.used_at = time.monotonic()

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sent = _Sent(send)
        try:
            if (location := self._entrance(scope, headers)) is not None:
                await _redirect(sent, location, self._cookie(scope))
                return
            if self._doors is None or not await self._doors.admit(scope, headers):
                self._admit(scope, headers)
            limit = _LONGEST_UPLOAD if scope["path"].startswith(_UPLOADS) else self._settings.body_limit
            _check_length(headers, limit)
            counted = _Counted(receive, limit, sent)
            await self._app(scope, counted, sent)
            if counted.left < 0:
                raise Refused(413, "TOO_LARGE", f"the request is longer than {limit >> 20} MiB")
        except Refused as refused:
            if not sent.started:
                sent.muted = False
                await _answer(sent, refused.status, refused.body)

    # ------------------------------------------------------------------ who
    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises Refused."""
        path: str = scope["path"]
        if self._has_token(headers):
            scope.setdefault("state", {})["caller"] = "token"
            return
        if path in _PROBES and scope["method"] in _SAFE:
            return
        self._check_host(headers)
        if not path.startswith(_GUARDED) or path.startswith(_SIGNED):
            if scope["method"] not in _SAFE:
                raise Refused(405, "METHOD_NOT_ALLOWED", "this address can only be read")
            return
        if self._has_session(headers):
            self._check_origin(scope["method"], headers)
            scope.setdefault("state", {})["caller"] = "session"
            return
        if self._settings.trust_user and peer.is_own_program(scope, headers):
            scope.setdefault("state", {})["caller"] = "user"
            return
        raise Refused(
            401,
            "UNAUTHENTICATED",
            "this address belongs to one person, and it does not know you yet",
            "Open the link that `mlplatform up` prints; programs send the token of `mlplatform token` as a bearer.",
        )

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _equal(value.strip(), self._settings.token)

    def _has_session(self, headers: Mapping[str, str]) -> bool:
        name = cookie_name(self._settings)
        for part in headers.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name and verify(self._settings.token, "session", "", value, time.time()):
                return True
        return False

    def _check_host(self, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in _LOOPBACK and name.lower() not in self._settings.hosts:
            raise Refused(
                421,
                "WRONG_HOST",
                "this server does not answer to that name",
                "Use 127.0.0.1 or localhost, or start it with --allow-host NAME.",
            )

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """A browser names the page that a request comes from; only our own may change anything."""
        if method in _SAFE:
            return
        origin = headers.get("origin", "")
        if origin:
            good = urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        else:
            good = headers.get("sec-fetch-site") == "same-origin"
        if not good:
            raise Refused(403, "FOREIGN_ORIGIN", "a page of another site may not change anything here")

    # ------------------------------------------------------------------ coming in by a link
    def _entrance(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Where to go on to, without the ticket, if the request brings a good one in its URL."""
        if scope["method"] != "GET" or b"t" not in scope["query_string"]:
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(pairs)
        if "ticket" not in given and "token" not in given:
            return None
        good = verify(self._settings.token, "ticket", "", given.get("ticket", ""), time.time())
        if not good and not _equal(given.get("token", ""), self._settings.token):
            return None
        self._check_host(headers)
        rest = urlencode([(name, value) for name, value in pairs if name not in ("ticket", "token")])
        # Relative, because somebody in front of us may have taken away a prefix of the path; and never "//host".
        last = quote(scope["path"].rpartition("/")[2])
        return f"./{last}" + (f"?{rest}" if rest else "")

    def _cookie(self, scope: Scope) -> str:
        value = sign(self._settings.token, "session", "", time.time() + SESSION_SECONDS)
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        age = int(SESSION_SECONDS)
        return f"{cookie_name(self._settings)}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"


def cookie_name(settings: Settings) -> str:
    """Cookies do not know ports: two homes on one machine need two names."""
    return "mlplatform_" + hashlib.sha256(settings.token.encode()).hexdigest()[:12]


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _check_length(headers: Mapping[str, str], limit: int) -> None:
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise Refused(413, "TOO_LARGE", f"the request is longer than {limit >> 20} MiB")


class _Sent:
    """``send`` that adds the headers every answer has, unless the answer has its own."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        #: Drop what comes: another answer will be given.
        self.muted = False

    async def __call__(self, message: Message) -> None:
        if self.muted and not self.started:
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers += [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": headers}
        await self._send(message)


class _Counted:
    """``receive`` that ends at the limit, for bodies that do not tell their length; the app's answer to that is not
    sent."""

    def __init__(self, receive: Receive, limit: int, sent: _Sent) -> None:
        self._receive = receive
        self._sent = sent
        self.left = limit

    async def __call__(self) -> Message:
        if self.left < 0:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            self._sent.muted = True
            return {"type": "http.disconnect"}
        return message


async def _answer(send: Send, status: int, error: Mapping[str, Any]) -> None:
    # Both APIs' clients find what they look for: ours `error`, KFP's `message`.
    body = json.dumps({"error": error, "message": error["message"], "code": 16 if status == 401 else 7}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="mlplatform"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, location: str, cookie: str) -> None:
    headers = [
        (b"location", location.encode("latin-1", "replace")),
        (b"set-cookie", cookie.encode()),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
