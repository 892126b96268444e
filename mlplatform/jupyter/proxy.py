"""The pages of the home's own server, seen through Jupyter: whoever may use this Jupyter may use them.

The server's token is added here and never reaches the browser; the browser's cookies and Jupyter's token never reach
the server. A page may only change something from this very origin. Headers of answers stay as they are: they hold what
keeps artifacts' pages in their sandbox.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError

from mlplatform.core.errors import MlPlatformError
from mlplatform.engine.home import Home, open_home

#: Between two hops only, or told anew here.
_HOP: Final = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length", "content-encoding", "date", "server",
    )
)  # fmt: skip
_SENT: Final = ("accept", "accept-language", "content-type", "if-none-match", "last-event-id", "range", "user-agent")
#: Seconds a stream may stay open; and a service may take to open its port.
_LONG: Final = 24 * 3600.0
_OPENING: Final = 15.0
_READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def token_of(home: Home) -> str:
    """The token of a home's server; empty before that has started for the first time."""
    try:
        return (home.root / "server" / "token").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Pages(JupyterHandler):
    """Everything below ``mlplatform/ui/``."""

    _closed = False

    def on_connection_close(self) -> None:
        self._closed = True

    def check_xsrf_cookie(self) -> None:
        """The pages know nothing of Jupyter's XSRF cookie; the browser says where a request comes from."""
        if not hasattr(self, "_jupyter_current_user"):
            return  # too early: asked again once it is known who asks
        if self.request.method in _READING or self.token_authenticated:
            return
        origin = self.request.headers.get("Origin", "")
        same = urlsplit(origin).netloc == self.request.host if origin else False
        if not same and self.request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise web.HTTPError(403, "a page of another site may not change anything here")

    def set_default_headers(self) -> None:
        """What Jupyter's own pages have is not ours; the server's answers bring theirs."""

    @web.authenticated
    async def get(self, path: str) -> None:
        await self._pass(path)

    @web.authenticated
    async def head(self, path: str) -> None:
        await self._pass(path)

    @web.authenticated
    async def post(self, path: str) -> None:
        await self._pass(path)

    @web.authenticated
    async def put(self, path: str) -> None:
        await self._pass(path)

    @web.authenticated
    async def patch(self, path: str) -> None:
        await self._pass(path)

    @web.authenticated
    async def delete(self, path: str) -> None:
        await self._pass(path)

    async def _pass(self, path: str) -> None:
        port, token = await self._opened()
        query = f"?{self.request.query}" if self.request.query else ""
        headers = HTTPHeaders({name: self.request.headers[name] for name in _SENT if name in self.request.headers})
        headers["Authorization"] = f"Bearer {token}"
        request = HTTPRequest(
            f"http://127.0.0.1:{port}/{path}{query}",
            method=self.request.method or "GET",
            headers=headers,
            body=self.request.body or None,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            connect_timeout=_OPENING,
            request_timeout=_LONG,
            header_callback=self._header,
            streaming_callback=self._chunk,
            decompress_response=True,
        )
        client = AsyncHTTPClient(force_instance=True, max_body_size=1 << 40)
        try:
            await client.fetch(request, raise_error=False)
        except (OSError, HTTPClientError, StreamClosedError):
            if not self._headers_written:
                raise web.HTTPError(502, "the pages' server did not answer") from None
        finally:
            client.close()
        if not self._finished and not self._closed:
            self.finish()  # pyright: ignore[reportUnknownMemberType]

    async def _opened(self) -> tuple[int, str]:
        """Port and token of the home's server. Knocking at the port starts it; without a port, the service is started.

        Raises:
            HTTPError: there is none to be had.
        """
        home = open_home(None)
        port = home.web_port()
        if not port or not await _answers(port):
            try:
                await asyncio.to_thread(_start, home)
            except MlPlatformError as error:
                raise web.HTTPError(503, str(error)) from None
        for _ in range(int(_OPENING / 0.1)):
            port, token = home.web_port(), token_of(home)
            if port and await _answers(port) and token:
                return port, token
            await asyncio.sleep(0.1)
        raise web.HTTPError(503, "the pages' server did not start; see logs/server.log in the home folder")

    def _header(self, line: str) -> None:
        line = line.strip()
        if line.startswith("HTTP/"):
            self.clear()
            self.set_status(int(line.split()[1]))
        elif ":" in line:
            name, _, value = line.partition(":")
            if name.lower() not in _HOP and name.lower() != "set-cookie":
                self.add_header(name, value.strip())

    def _chunk(self, data: bytes) -> Any:
        if self._closed:
            raise StreamClosedError
        self.write(data)  # pyright: ignore[reportUnknownMemberType]
        return asyncio.ensure_future(self._flushed())

    async def _flushed(self) -> None:
        try:
            await self.flush()
        except StreamClosedError:
            self._closed = True


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 2.0)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


def _start(home: Home) -> None:
    from mlplatform.sdk.client import LocalClient

    LocalClient(home).ensure()
