"""Where records go and what runs the MLflow server: kept beside the queue, so that every process of a home agrees."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlplatform.tracking.queue import locked

_log = logging.getLogger(__name__)

#: The MLflow in the home folder.
HOME = "home"
#: Variables that say how a user's own MLflow server is reached.
CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True, slots=True)
class Target:
    """One MLflow that records go to. ``uri``: http(s), or a database we run a server for. ``env``: how to log in."""

    name: str
    uri: str
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def remote(self) -> bool:
        return self.uri.startswith(("http://", "https://"))


def usable(uri: str) -> bool:
    """Whether records can be brought to this tracking URI: an HTTP server, or a database."""
    scheme = urlsplit(uri).scheme.split("+")[0]
    return scheme in ("http", "https", *_DATABASES)


class Settings:
    """The settings folder of one home's tracking (``HOME/mlflow``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    # ------------------------------------------------------------------ servers
    def target(self, name: str) -> Target | None:
        """A server by the name :meth:`keep_target` gave it; None if what is needed to reach it was removed."""
        if name == HOME:
            return Target(HOME, f"sqlite:///{self.folder / 'mlflow.db'}")
        try:
            data = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Target(name, data["uri"], data.get("env") or {})

    def keep_target(self, uri: str, env: Mapping[str, str], name: str = "") -> Target:
        """Remember how to reach a user's own MLflow for as long as something is to be delivered there; ``name``: under
        the name it had before it was forgotten.

        What is needed to log in goes to a file only the user reads, nowhere else. Raises OSError.
        """
        kept = {key: env[key] for key in CREDENTIALS if env.get(key)}
        digest = hashlib.sha256(json.dumps([uri, sorted(kept.items())]).encode()).hexdigest()
        target = Target(name or "u" + digest[:15], uri, kept)
        path = self._path(target.name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_suffix(f".{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"uri": uri, "env": kept}, file)
            temporary.replace(path)
        return target

    def forget_target(self, name: str) -> None:
        """Nothing is to be delivered there any more: keep no credentials."""
        if name != HOME:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / "servers" / f"{name}.json"

    # ------------------------------------------------------------------ how to run a server
    def server_options(self) -> dict[str, Any]:
        """``python``: an interpreter that may have mlflow; ``maker``: ``module:function`` that makes an environment."""
        try:
            return json.loads((self.folder / "options.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @property
    def journal(self) -> str:
        """SQLite's journal mode for databases in this folder."""
        return self.server_options().get("journal", "wal")

    def keep_server_options(self, **options: str) -> None:
        with locked(self.folder / "options.lock"):
            known = self.server_options()
            new = {**known, **{key: value for key, value in options.items() if value}}
            if new != known:
                temporary = self.folder / f"options.{os.getpid()}"
                temporary.write_text(json.dumps(new), encoding="utf-8")
                temporary.replace(self.folder / "options.json")
