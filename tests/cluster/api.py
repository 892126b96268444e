"""A small client of a Kubernetes API, for setting up and for assertions (the product's is ``kube``)."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]


class Refused(Exception):
    """The API server said no: ``status`` is HTTP's, ``body`` its Status object."""

    def __init__(self, status: int, body: Object) -> None:
        super().__init__(f"{status}: {body.get('message', body)}")
        self.status = status
        self.body = body


class Api:
    """One connection a call; certificates from a kubeconfig that carries them inside."""

    def __init__(self, kubeconfig: Path) -> None:
        import yaml

        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        named = {kind: {entry["name"]: entry for entry in config[kind]} for kind in ("clusters", "contexts", "users")}
        context = named["contexts"][config["current-context"]]["context"]
        cluster, user = named["clusters"][context["cluster"]]["cluster"], named["users"][context["user"]]["user"]
        self.server: str = cluster["server"]
        if "exec" in user:
            user = _ask_plugin(user["exec"])
        self._token: str | None = user.get("token")
        authority = cluster.get("certificate-authority-data")
        self._tls = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"),
            cadata=base64.b64decode(authority).decode() if authority else None,
        )
        self._identify(user)

    def _identify(self, user: Object) -> None:
        if "client-certificate-data" in user:
            # ssl takes certificates from files only.
            with tempfile.TemporaryDirectory() as folder:
                files: list[Path] = []
                for word in ("client-certificate", "client-key"):
                    file = Path(folder) / word
                    file.touch(0o600)
                    file.write_bytes(base64.b64decode(user[f"{word}-data"]))
                    files.append(file)
                self._tls.load_cert_chain(files[0], files[1])
        elif "client-certificate" in user:
            self._tls.load_cert_chain(user["client-certificate"], user["client-key"])

    def _connect(self, seconds: float) -> tuple[http.client.HTTPSConnection, str]:
        parts = urlsplit(self.server)
        host, port = parts.hostname or "", parts.port or 443
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls), parts.path

    def _headers(self, kind: str) -> dict[str, str]:
        headers = {"Content-Type": kind, "Accept": "application/json, */*"}
        return headers | ({"Authorization": f"Bearer {self._token}"} if self._token else {})

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of an answer as they come (a watch, a log that is followed). Raises Refused, OSError."""
        connection, prefix = self._connect(330)
        try:
            connection.request("GET", prefix + path, headers=self._headers("application/json"))
            answer = connection.getresponse()
            if answer.status >= 300:
                raise Refused(answer.status, {"message": answer.read().decode(errors="replace")})
            while line := answer.readline():
                yield line
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
        """The answer's bytes. Raises Refused, OSError."""
        connection, prefix = self._connect(30)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, prefix + path, data, self._headers(kind))
            answer = connection.getresponse()
            data = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 300:
            try:
                told = json.loads(data)
            except ValueError:
                told = {"message": data.decode(errors="replace")}
            raise Refused(answer.status, told)
        return data

    def get(self, path: str) -> Object:
        """GET, decoded."""
        return json.loads(self.request("GET", path))

    def create(self, path: str, body: Object) -> Object:
        """POST to a collection."""
        return json.loads(self.request("POST", path, body))

    def patch(self, path: str, body: Any, kind: str = "application/merge-patch+json") -> Object:
        """PATCH one object or its subresource."""
        return json.loads(self.request("PATCH", path, body, kind))

    def apply(self, path: str, body: Object) -> Object:
        """Server-side apply of one object at its own path."""
        return self.patch(f"{path}?fieldManager=test&force=true", body, "application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        """DELETE; what is gone already is fine."""
        try:
            self.request("DELETE", path)
        except Refused as error:
            if error.status != 404:
                raise

    def wait(self, path: str, ready: Callable[[Object], Any], seconds: float = 120) -> Object:
        """GET again and again until ``ready(object)``. Raises TimeoutError with the last that was seen."""
        give_up = time.monotonic() + seconds
        last: Object = {}
        while True:
            try:
                last = self.get(path)
            except Refused as error:
                if error.status not in (404, 429, 500, 503):
                    raise
                last = error.body
            except OSError as error:
                last = {"message": str(error)}
            else:
                if ready(last):
                    return last
            if time.monotonic() > give_up:
                raise TimeoutError(f"{path} after {seconds:.0f} s: {json.dumps(last)[:3000]}")
            time.sleep(0.1)


def _ask_plugin(plugin: Object) -> Object:
    """Who the plug-in of somebody's own kubeconfig says we are."""
    entries: list[dict[str, str]] = plugin.get("env") or []
    arguments: list[str] = plugin.get("args") or []
    env = {**os.environ, **{entry["name"]: entry["value"] for entry in entries}}
    words = [str(plugin["command"]), *arguments]
    told: dict[str, str] = json.loads(subprocess.run(words, env=env, check=True, capture_output=True).stdout)["status"]
    found = {"token": told["token"]} if "token" in told else {}
    for ours, theirs in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
        if theirs in told:
            found[f"{ours}-data"] = base64.b64encode(told[theirs].encode()).decode()
    return found


def default_kubeconfig() -> Path | None:
    """Somebody's own cluster, where ``MLPLATFORM_TEST_KUBECONFIG`` names one."""
    named = os.environ.get("MLPLATFORM_TEST_KUBECONFIG")
    return Path(named) if named else None
