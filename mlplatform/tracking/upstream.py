"""A real MLflow server over its REST interface. The standard library only: importing mlflow takes 1.6 s and 184 MiB."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from mlplatform.core.errors import TrackingError

Json = dict[str, Any]


class Unavailable(TrackingError):
    """The server cannot be reached, or answers that it cannot serve now: try again later."""

    code = "TRACKING"


class Refused(TrackingError):
    """The server understood and will not do it, now or ever. ``status`` is HTTP's, ``reason`` MLflow's error code."""

    code = "TRACKING"
    retryable = False

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"MLflow refused ({status} {reason}): {message}")
        self.status = status
        self.reason = reason


def items(value: Json, key: str) -> list[Json]:
    """The list of objects under ``key`` of an answer (protobuf leaves empty lists out)."""
    return value.get(key) or []


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as an object. Raises ValueError."""
        return json.loads(self.body or b"{}")


def authorization(env: Mapping[str, str]) -> str:
    """The Authorization header that MLflow's own client would send with these variables."""
    user, password = env.get("MLFLOW_TRACKING_USERNAME", ""), env.get("MLFLOW_TRACKING_PASSWORD", "")
    if user and password:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    token = env.get("MLFLOW_TRACKING_TOKEN", "")
    return f"Bearer {token}" if token else ""


def _tls(env: Mapping[str, str]) -> ssl.SSLContext:
    ca = env.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or env.get("REQUESTS_CA_BUNDLE") or env.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=ca or None)
    if env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate := env.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        context.load_cert_chain(certificate)
    return context


class Connection:
    """One kept-alive connection to the server at ``url``. Not to be shared between threads."""

    def __init__(self, url: str, env: Mapping[str, str] | None = None, timeout: float = 30.0) -> None:
        self._parts = urlsplit(url)
        self._env = env or {}
        self._timeout = timeout
        self._prefix = self._parts.path.rstrip("/")
        self._http: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=_tls(self._env))
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _headers(self, extra: Mapping[str, str]) -> dict[str, str]:
        headers = {"User-Agent": "mlplatform", "Accept": "*/*", **extra}
        env = dict(self._env)
        if self._parts.username and self._parts.password:
            env = {"MLFLOW_TRACKING_USERNAME": self._parts.username, "MLFLOW_TRACKING_PASSWORD": self._parts.password}
        if value := authorization(env):
            headers["Authorization"] = value
        return headers

    def send(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """One request; a connection the server had closed meanwhile is opened again once.

        Raises:
            Unavailable: no connection, no answer in time.
        """
        fresh = self._http is None
        while True:
            connection = self._http or self._connect()
            self._http = connection
            try:
                connection.request(method, self._prefix + path, body=body, headers=self._headers(headers or {}))
                answer = connection.getresponse()
                data = answer.read()
                return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                stale = isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError))
                if stale and not fresh and (body is None or isinstance(body, bytes)):
                    fresh = True
                    continue
                raise Unavailable(
                    f"MLflow at {self.describe()} does not answer: {error or type(error).__name__}"
                ) from None

    def describe(self) -> str:
        """The address without anything secret."""
        return f"{self._parts.scheme}://{self._parts.hostname}" + (f":{self._parts.port}" if self._parts.port else "")

    def call(self, method: str, path: str, body: Json | None = None, query: Mapping[str, Any] | None = None) -> Json:
        """One REST call under ``/api/2.0/mlflow/``.

        Raises:
            Unavailable: not now.
            Refused: never.
        """
        target = f"/api/2.0/mlflow/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        headers = {} if data is None else {"Content-Type": "application/json"}
        return self.checked(self.send(method, target, data, headers)).json()

    def upload(self, path: str, file: Path) -> None:
        """PUT a file below ``/api/2.0/mlflow-artifacts/artifacts/``. Raises Unavailable, Refused, OSError."""
        with file.open("rb") as body:
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(os.fstat(body.fileno()).st_size),
            }
            self.checked(self.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", body, headers))

    def checked(self, response: Response) -> Response:
        """The response if it is a good one. Raises Unavailable or Refused."""
        if response.status < 300:
            return response
        try:
            answer = json.loads(response.body)
            reason, message = str(answer.get("error_code", "")), str(answer.get("message", ""))
        except (ValueError, AttributeError):
            reason, message = "", response.body[:300].decode("utf-8", "replace")
        if response.status in (401, 403, 408, 425, 429) or response.status >= 500:
            text = f"MLflow at {self.describe()} answers {response.status} {reason}: {message[:300]}"
            error = Unavailable(text)
            error.hint = str(response.status)
            raise error
        raise Refused(response.status, reason, message[:1000])
