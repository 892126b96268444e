"""Requests over urllib3: pooled connections, timeouts, streams that another thread can end, renewed credentials."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import urllib3

from mlplatform.kube.errors import Unavailable
from mlplatform.kube.target import Target
from mlplatform.kube.wire import Answer, Request

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 10.0
#: Refused credentials are not read anew more often than this (seconds): a plug-in may open a browser.
_RENEW_SECONDS: Final = 5.0
#: A peer that vanished without a word is noticed after about a minute.
_KEEP_ALIVE: Final = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


class HttpTransport:
    """Sends requests to one API server. Threads share it.

    ``load`` reads the credentials; it is called again when the server refuses them (401), and the request, which then
    had no effect, is sent once more.
    """

    def __init__(
        self, load: Callable[[], Target], *, connections: int = 32, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._connections = connections
        self._clock = clock
        self._lock = threading.Lock()
        self.target = load()
        self._send = _Sender(self.target, connections)
        self._loaded_at = clock()

    def send(self, request: Request) -> Answer:
        for last in (False, True):
            target = self.target
            response = self._try(request, target, preload=True)
            if response.status == 401 and not last and self._renew(target):
                continue
            return Answer(response.status, response.data, {k.lower(): v for k, v in response.headers.items()})
        raise AssertionError("the second answer is returned")

    def stream(self, request: Request) -> HttpStream:
        for last in (False, True):
            target = self.target
            response = self._try(request, target, preload=False)
            if response.status == 401 and not last:
                response.drain_conn()
                if self._renew(target):
                    continue
            return HttpStream(response, f"{request.method} {request.path}")
        raise AssertionError("the second answer is returned")

    def close(self) -> None:
        self._send.close()

    def _try(self, request: Request, target: Target, *, preload: bool) -> urllib3.BaseHTTPResponse:
        path = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        headers = {"Accept": "application/json", "User-Agent": "mlplatform", **request.headers, **target.headers}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if authorization := target.authorization():
            headers["Authorization"] = authorization
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=request.timeout)
        # A kept connection that the server has just closed: reading again does no harm, writing again might.
        again = 1 if not request.writes else 0
        while True:
            try:
                return self._send(request.method, path, request.body, headers, timeout, preload)
            except urllib3.exceptions.ProtocolError as error:
                if again == 0:
                    raise _unavailable(request, target, error) from error
                again -= 1
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _unavailable(request, target, error) from error

    def _renew(self, refused: Target) -> bool:
        """Read the credentials anew. False where that was done a moment ago, and these are what came of it."""
        with self._lock:
            if self.target is not refused:
                return True
            if self._clock() - self._loaded_at < _RENEW_SECONDS:
                return False
            _log.info("credentials were refused: reading them again")
            self._loaded_at = self._clock()
            self.target = self._load()
            self._send = _Sender(self.target, self._connections)
            return True


class HttpStream:
    """An answer that comes in pieces."""

    def __init__(self, response: Any, doing: str) -> None:
        self._response = response
        self._doing = doing
        self._closed = False

    @property
    def status(self) -> int:
        return int(self._response.status)

    @property
    def headers(self) -> Mapping[str, str]:
        """In lower case."""
        return {name.lower(): value for name, value in self._response.headers.items()}

    def chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(1 << 16)
        except urllib3.exceptions.ReadTimeoutError as error:
            if not self._closed:
                raise Unavailable(f"{self._doing}: the server said nothing for too long") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            if not self._closed:  # what a closed response raises is as many things as there are places to be closed at
                raise Unavailable(f"{self._doing}: the connection was lost ({_words(error)})") from error
        finally:
            self._response.close()

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def close(self) -> None:
        self._closed = True
        connection = getattr(self._response, "connection", None) or getattr(self._response, "_connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):  # it wakes the thread that reads; that one closes
                sock.shutdown(socket.SHUT_RDWR)


class _Sender:
    """Kept connections to one server."""

    def __init__(self, target: Target, connections: int) -> None:
        self._server = target.server
        self._prefix = urlsplit(target.server).path
        self._pools = _pools(target, connections)
        # Who asks the pool itself does without what a manager of many servers does for each request. A proxy for
        # plain http wants to hear the whole address.
        self._pool = None if target.proxy else self._pools.connection_from_url(target.server)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        how: dict[str, Any] = {"timeout": timeout, "retries": False, "redirect": False, "preload_content": preload}
        if self._pool is None:
            return self._pools.request(method, self._server + path, body=body, headers=headers, **how)
        return self._pool.urlopen(method, self._prefix + path, body, headers, assert_same_host=False, **how)

    def close(self) -> None:
        self._pools.clear()
        if self._pool is not None:
            self._pool.close()


def _pools(target: Target, connections: int) -> urllib3.PoolManager:
    secure: dict[str, Any] = {}
    if target.server.startswith("https"):
        secure = {
            "cert_reqs": ssl.CERT_REQUIRED if target.verify else ssl.CERT_NONE,
            "ca_certs": target.ca_file,
            "cert_file": target.cert_file,
            "key_file": target.key_file,
        }
        if target.server_name:
            secure["server_hostname"] = target.server_name
            secure["assert_hostname"] = target.server_name
        if not target.verify:
            secure["assert_hostname"] = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if target.proxy:
        return urllib3.ProxyManager(target.proxy, maxsize=connections, socket_options=_KEEP_ALIVE, **secure)
    return urllib3.PoolManager(maxsize=connections, socket_options=_KEEP_ALIVE, **secure)


def _unavailable(request: Request, target: Target, error: Exception) -> Unavailable:
    hint = ""
    if isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
        hint = "Is the cluster running, and is this the right context? Try: kubectl cluster-info"
    return Unavailable(f"{request.method} {request.path} at {target.server}: {_words(error)}", hint=hint)


def _words(error: Exception) -> str:
    """An exception's last words, without the objects that urllib3 puts before them."""
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    return text.rpartition(">: ")[2] or type(error).__name__
