"""Artifacts behind http and https: files to read, and to write where the server takes PUT.

A transfer that breaks off goes on where it stopped if the server can (Range with If-Range), else from the start.
Proxies and certificates are those of the environment (``HTTPS_PROXY``, ``SSL_CERT_FILE`` ...).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mlplatform.artifacts.failures import local_failure
from mlplatform.artifacts.local import flush_file, staged
from mlplatform.artifacts.uris import shown
from mlplatform.core.errors import ArtifactError

_ATTEMPTS: Final = 5
_PIECE: Final = 1 << 20
_TIMEOUT: Final = 60.0
#: Worth another try: the server is busy or being restarted.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE: Final = frozenset({404, 410})
_NO_METHOD: Final = frozenset({405, 501})

_MEANING: Final = {
    401: ("it wants a login", "Put user and password into the URL, or use one that is signed."),
    403: ("access denied", "Check the rights, and whether the URL's signature has expired."),
    404: ("there is nothing", "Check the address."),
    405: ("the server does not allow it", "Use another store for what is written: a folder or s3://."),
    410: ("it is not there any more", "Check the address."),
    413: ("it is too large for the server", "Use another store."),
    501: ("the server cannot do it", "Use another store for what is written: a folder or s3://."),
    507: ("the server's disk is full", "Free some space there."),
}


class _Broken(Exception):
    """The connection broke off; what arrived before is good."""


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """What was asked for over https never comes over http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(req.full_url, code, "redirected to an unprotected address", headers, fp)  # type: ignore[arg-type]
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class HttpStore:
    """Files behind web addresses. Usable from several threads."""

    def __init__(self, *, pause: float = 0.5) -> None:
        """``pause``: seconds before the second attempt; doubled before each further one."""
        self._pause = pause
        self._opener = urllib.request.build_opener(_NoDowngrade)

    def fetch(self, uri: str, to: Path) -> None:
        try:
            with staged(to) as temporary:
                with temporary.open("wb") as file:
                    for piece in self._read(uri):
                        file.write(piece)
                flush_file(str(temporary))
        except OSError as error:
            raise local_failure(f"write {to}", error) from error

    def digest(self, uri: str) -> tuple[str, int]:
        sha, size = hashlib.sha256(), 0
        for piece in self._read(uri):
            sha.update(piece)
            size += len(piece)
        return "sha256:" + sha.hexdigest(), size

    def put(self, source: Path, uri: str) -> None:
        if source.is_dir():
            raise ArtifactError(
                f"cannot store the folder {source} at {shown(uri)}: web addresses hold files only",
                hint="Store an archive of it, or use a folder or s3://.",
            )
        try:
            size = os.stat(source).st_size
            for last in self._attempts():
                with open(source, "rb") as file:
                    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
                    request = self._request(uri, "PUT", headers, file)
                    if self._answered(request, f"write {shown(uri)}", last) is not None:
                        return
        except OSError as error:
            raise local_failure(f"read {source}", error) from error

    def exists(self, uri: str) -> bool:
        where = f"look at {shown(uri)}"
        for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
            for last in self._attempts():
                status = self._answered(self._request(uri, method, headers), where, last, _GONE | _NO_METHOD | {416})
                if status in _NO_METHOD:
                    break
                if status is not None:
                    return status not in _GONE
        raise ArtifactError(f"cannot {where}: the server does not tell")

    def remove(self, uri: str) -> None:
        for last in self._attempts():
            if self._answered(self._request(uri, "DELETE"), f"remove {shown(uri)}", last, _GONE) is not None:
                return

    # ------------------------------------------------------------------ requests
    def _request(
        self, uri: str, method: str, headers: dict[str, str] | None = None, body: IO[bytes] | None = None
    ) -> urllib.request.Request:
        """User and password of the URL go into a header that no redirection takes along."""
        try:
            parts = urlsplit(uri)
            host = parts.netloc.rpartition("@")[2]
            path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
            clean = urlunsplit((parts.scheme, host, path or "/", quote(parts.query, safe="/%:@!$&'()*+,;=~-._?"), ""))
            request = urllib.request.Request(clean, data=body, method=method, headers=headers or {})  # noqa: S310 - http(s) only: uris.scheme_of
            login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        except ValueError as error:
            raise ArtifactError(f"{shown(uri)} is no web address: {error}") from error
        request.add_unredirected_header("Accept-Encoding", "identity")
        if parts.username:
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        return request

    def _attempts(self) -> Iterator[bool]:
        """One turn an attempt, with a pause before each but the first; True for the last."""
        for number in range(_ATTEMPTS):
            if number:
                time.sleep(self._pause * 2 ** (number - 1))
            yield number == _ATTEMPTS - 1

    def _answered(
        self, request: urllib.request.Request, doing: str, last: bool, fine: frozenset[int] = frozenset()
    ) -> int | None:
        """The status, if it is a success or in ``fine``; None: try again. Raises ArtifactError."""
        try:
            with self._open(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in fine:
                return error.code
            if last or error.code not in _PASSING:
                raise _refused(doing, error) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if last:
                raise _unreachable(doing, error) from error
        return None

    def _open(self, request: urllib.request.Request) -> Any:
        return self._opener.open(request, timeout=_TIMEOUT)

    # ------------------------------------------------------------------ reading
    def _read(self, uri: str) -> Iterator[bytes]:
        """The bytes at ``uri``, over as many connections as it takes. Progress earns new attempts."""
        doing = f"read {shown(uri)}"
        done, mark, failures = 0, "", 0
        while True:
            headers = {"Range": f"bytes={done}-", "If-Range": mark} if done and mark else {}
            skip = 0 if headers else done
            try:
                with self._open(self._request(uri, "GET", headers)) as answer:
                    if answer.status == 206:
                        self._check_range(answer.headers.get("Content-Range", ""), done, doing)
                    else:
                        if done and mark and _mark(answer.headers) != mark:
                            raise ArtifactError(f"cannot {doing}: it was changed meanwhile", hint="Try again.")
                        skip = done
                    mark = mark or _mark(answer.headers)
                    for piece in _pieces(answer):
                        if skip >= len(piece):
                            skip -= len(piece)
                            continue
                        fresh, skip = piece[skip:], 0
                        done, failures = done + len(fresh), 0
                        yield fresh
                    return
            except urllib.error.HTTPError as error:
                error.close()
                failures += 1
                if failures >= _ATTEMPTS or error.code not in _PASSING:
                    raise _refused(doing, error) from error
            except (_Broken, urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                failures += 1
                if failures >= _ATTEMPTS or (done and not mark):
                    raise _unreachable(doing, error) from error
            time.sleep(self._pause * 2 ** (failures - 1))

    @staticmethod
    def _check_range(answer: str, begin: int, doing: str) -> None:
        if not answer.startswith(f"bytes {begin}-"):
            raise ArtifactError(f"cannot {doing}: the server sent another part ({answer!r}) than was asked for")


def _pieces(answer: Any) -> Iterator[bytes]:
    """Raises _Broken when the connection ends before what was announced has come."""
    while True:
        try:
            piece: bytes = answer.read(_PIECE)
        except http.client.IncompleteRead as error:
            if error.partial:
                yield error.partial
            raise _Broken("the connection broke off") from error
        if not piece:
            if answer.length:  # http.client keeps count of what was announced and has not come
                raise _Broken("the connection broke off")
            return
        yield piece


def _mark(headers: Any) -> str:
    """What tells this content from a later one: a strong ETag, or the date. Without one, nothing can be resumed."""
    tag = str(headers.get("ETag") or "")
    return tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified") or "")


def _refused(doing: str, error: urllib.error.HTTPError) -> ArtifactError:
    what, hint = _MEANING.get(error.code, (f"the server answered {error.code} {error.reason}", ""))
    return ArtifactError(f"cannot {doing}: {what}", hint=hint)


def _unreachable(doing: str, error: Exception) -> ArtifactError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return ArtifactError(
        f"cannot {doing}: {reason or type(error).__name__}",
        hint="Check the address, the network, and HTTPS_PROXY and SSL_CERT_FILE where they are needed.",
    )
