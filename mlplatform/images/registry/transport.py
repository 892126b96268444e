"""HTTP to one registry: addresses, protection, authorization, another try when the network fails."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from mlplatform.core.errors import EnvironmentFailed, InvalidInput, NotFound
from mlplatform.images.references import HUB, HUB_HOST
from mlplatform.images.registry.credentials import Credentials, find_credentials

_ATTEMPTS: Final = 5
_TIMEOUT: Final = 60.0
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
_DROPPED = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_LONGEST_WAIT: Final = 30.0


class Unauthorized(EnvironmentFailed):
    """The registry does not let us in. Trying again does not help."""

    retryable = False


@dataclass(slots=True)
class Answer:
    """An HTTP answer; its body is open until it is closed or read."""

    status: int
    headers: Message
    url: str
    body: IO[bytes]

    def read(self) -> bytes:
        with self.body:
            return self.body.read()

    def close(self) -> None:
        self.body.close()

    def location(self) -> str:
        """Where the answer points, whole."""
        return urljoin(self.url, self.headers.get("Location", ""))


class _KeepMethod(urllib.request.HTTPRedirectHandler):
    """Storage behind a registry is reached by redirections, for reading only, and never out of https into http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.get_method() not in ("GET", "HEAD"):
            return None
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise EnvironmentFailed(f"the registry {req.host} sends us to an unprotected address: refused")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if found is not None and req.get_method() == "HEAD":
            found.method = "HEAD"
        return found


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine itself."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Transport:
    """Requests to the registry at ``host``. Usable from several threads.

    Args:
        insecure: plain HTTP and any certificate are fine (this machine's own registry may always speak plain HTTP).
        environ: where credentials, proxies and certificates are looked up.
        pause: seconds before the second attempt, doubled before each further one.
    """

    def __init__(
        self, host: str, *, insecure: bool = False, environ: Mapping[str, str] | None = None, pause: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.host = host
        self._environ = dict(os.environ if environ is None else environ)
        self._address = HUB_HOST if host == HUB else host
        self._insecure = insecure
        self._pause = pause
        self._sleep = sleep
        context = ssl.create_default_context(cafile=self._environ.get("SSL_CERT_FILE") or None)
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers: list[Any] = [_KeepMethod, urllib.request.HTTPSHandler(context=context)]
        if is_loopback(host):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._scheme = ""
        self._tokens: dict[str, str] = {}
        self._credentials: Credentials | None = None
        self._asked = False

    # ------------------------------------------------------------------ requests
    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        fine: frozenset[int] = frozenset(),
        again: bool = True,
    ) -> Answer:
        """One request to ``path`` (``/v2/...`` or a whole address the registry gave), with what authorization it takes.

        Args:
            scope: what a token must allow (``repository:team/model:pull,push``).
            body: makes the body anew for each attempt.
            fine: statuses besides 2xx that are an answer and no failure.
            again: whether it may be repeated when the network fails.

        Raises:
            Unauthorized, NotFound, EnvironmentFailed: refused, not there, not reachable or broken.
        """
        doing = f"{method} {path.split('?')[0]} at {self.host}"
        for number in range(_ATTEMPTS):
            last = number == _ATTEMPTS - 1 or not again
            try:
                answer = self._authorized(method, path, scope, dict(headers or {}), body)
            except _DROPPED as error:
                if last:
                    raise unreachable(self.host, error) from None
                self._sleep(self._pause * 2**number)
                continue
            if answer.status < 300 or answer.status in fine:
                return answer
            text = answer.read()
            if last or answer.status not in _PASSING:
                raise refused(doing, answer, text, self._credentials)
            self._sleep(min(_after(answer.headers) or self._pause * 2**number, _LONGEST_WAIT))
        raise EnvironmentFailed(f"{doing}: no answer")

    def _authorized(
        self, method: str, path: str, scope: str, headers: dict[str, str], body: Callable[[], Any] | None
    ) -> Answer:
        url = path if "://" in path else f"{self.scheme()}://{self._address}{path}"
        own = urlsplit(url).netloc == self._address
        if own and self.scheme() == "https" and url.startswith("http:"):
            url = "https:" + url.removeprefix("http:")  # a registry behind a proxy that does not tell it
        known = self._tokens.get(scope, "") if own else ""
        answer = self._open(method, url, {**headers, **({"Authorization": known} if known else {})}, body)
        if answer.status != 401 or not own:
            return answer
        text = answer.read()
        value = self._authorize(answer, scope, refused(f"{method} {path.split('?')[0]} at {self.host}", answer, text))
        self._tokens[scope] = value
        return self._open(method, url, {**headers, "Authorization": value}, body)

    def _open(self, method: str, url: str, headers: dict[str, str], body: Callable[[], Any] | None) -> Answer:
        authorization = headers.pop("Authorization", "")
        request = urllib.request.Request(url, data=body() if body else None, method=method, headers=headers)  # noqa: S310
        if authorization:  # not taken along when storage behind the registry is reached by a redirection
            request.add_unredirected_header("Authorization", authorization)
        try:
            opened = self._opener.open(request, timeout=_TIMEOUT)
            return Answer(opened.status, opened.headers, opened.geturl(), opened)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.url or url, error)

    # ------------------------------------------------------------------ how to speak to it
    def scheme(self) -> str:
        """``https``; ``http`` for a registry on this machine or an allowed one that speaks nothing else."""
        if self._scheme:
            return self._scheme
        if not (self._insecure or is_loopback(self.host)):
            self._scheme = "https"
            return self._scheme
        for scheme in ("https", "http"):
            for number in range(_ATTEMPTS):
                try:
                    self._open("GET", f"{scheme}://{self._address}/v2/", {}, None).close()
                except (ssl.SSLError, http.client.BadStatusLine):
                    break
                except urllib.error.URLError as error:
                    if isinstance(error.reason, ssl.SSLError):
                        break
                    if number == _ATTEMPTS - 1:
                        raise unreachable(self.host, error) from None
                except _DROPPED as error:
                    if number == _ATTEMPTS - 1:
                        raise unreachable(self.host, error) from None
                else:
                    self._scheme = scheme
                    return scheme
                self._sleep(self._pause * 2**number)
        raise EnvironmentFailed(f"{self.host} speaks neither https nor http.")

    def _authorize(self, answer: Answer, scope: str, refusal: EnvironmentFailed) -> str:
        """The Authorization that a 401 asks for. Raises Unauthorized."""
        challenge = answer.headers.get("WWW-Authenticate", "")
        kind = challenge.split(" ", 1)[0].lower()
        credentials = self._known()
        if kind == "basic":
            if credentials is None:
                raise refusal
            return credentials.basic()
        if kind != "bearer":
            raise EnvironmentFailed(f"{self.host} asks for an authorization that is not known here: {kind or 'none'}.")
        asked = dict(_CHALLENGE.findall(challenge))
        return "Bearer " + self._token(asked, scope, credentials, refusal)

    def _token(
        self, asked: Mapping[str, str], scope: str, credentials: Credentials | None, refusal: EnvironmentFailed
    ) -> str:
        realm = asked.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (is_loopback(parts.netloc) or (self._insecure and parts.scheme == "http")):
            raise EnvironmentFailed(f"{self.host} wants our password sent to an unprotected address: refused.")
        question = {"service": asked.get("service", ""), "scope": asked.get("scope") or scope}
        question = {key: value for key, value in question.items() if value}
        if credentials is not None and credentials.token:
            form = {**question, "grant_type": "refresh_token", "client_id": "mlplatform"}
            data = urlencode({**form, "refresh_token": credentials.token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            told = self._open("POST", realm, headers, lambda: data)
        else:
            headers = {"Authorization": credentials.basic()} if credentials else {}
            told = self._open("GET", f"{realm}{'&' if parts.query else '?'}{urlencode(question)}", headers, None)
        text = told.read()
        if told.status in (400, 401, 403, 404):
            raise _no_access(self.host, credentials, "the token service does not know these credentials")
        try:
            found: Any = json.loads(text) if told.status < 300 else {}
            token: object = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise refusal
        return token

    def _known(self) -> Credentials | None:
        if not self._asked:
            self._credentials = find_credentials(self.host, self._environ)
            self._asked = True
        return self._credentials


# ------------------------------------------------------------------ failures
def unreachable(host: str, error: Exception) -> EnvironmentFailed:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        hint = "Name your certificates in SSL_CERT_FILE, or allow it: --insecure."
        return EnvironmentFailed(f"The certificate of {host} is not trusted: {reason.verify_message}.", hint=hint)
    if isinstance(reason, ssl.SSLError):
        hint = "If it speaks plain HTTP and you trust the network between: --insecure."
        return EnvironmentFailed(f"{host} does not speak https.", hint=hint)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return EnvironmentFailed(
        f"The registry {host} cannot be reached: {text}.", hint="Check its name, the network and the proxy settings."
    )


def refused(doing: str, answer: Answer, text: bytes, credentials: Credentials | None = None) -> EnvironmentFailed:
    """What a status means. The registry's own words are told, shortened."""
    words = _words(text)
    host = doing.rpartition(" at ")[2]
    if answer.status in (401, 403):
        return _no_access(host, credentials, words)
    if answer.status == 413:
        return EnvironmentFailed(f"{doing}: too large for it.", hint="A proxy before the registry may set the limit.")
    if answer.status == 429:
        return EnvironmentFailed(f"{host} allows no more requests now. {words}".strip(), hint="Wait, or log in.")
    return EnvironmentFailed(f"{doing} ended with status {answer.status}. {words}".strip())


def missing(what: str) -> NotFound:
    return NotFound(f"There is no image {what}.", hint="Check its name and tag, and whether you may see it.")


def _no_access(host: str, credentials: Credentials | None, words: str) -> Unauthorized:
    if credentials is None:
        why = f"{host} wants a login, and none was found."
        hint = f"Run: docker login {host} (or podman login), or set MLPLATFORM_REGISTRY={host} with"
        hint += " MLPLATFORM_REGISTRY_USERNAME and MLPLATFORM_REGISTRY_PASSWORD."
    else:
        who = f"user {credentials.username!r}" if credentials.username else "the token"
        why = f"{host} refuses {who} of {credentials.origin}. {words}".strip()
        hint = "Check the password, and whether this user may do that there."
    return Unauthorized(why, hint=hint)


def _words(text: bytes) -> str:
    """The messages of a registry's error document, on one short line."""
    try:
        found = json.loads(text)
        lines = [str(each.get("message") or each.get("code")) for each in found["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "; ".join(" ".join(line.split())[:200] for line in lines[:3])


def _after(headers: Message) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def check_host(host: str) -> None:
    """Raises InvalidInput for a host that cannot be one."""
    if not host or "/" in host or "@" in host:
        raise InvalidInput(f"{host!r} is no registry.", hint="Write it as registry.example.com or localhost:5000.")
