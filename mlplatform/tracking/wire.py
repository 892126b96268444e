"""Requests of tasks and what they are answered, in MLflow's form."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mlplatform.tracking.ids import Caller
from mlplatform.tracking.upstream import Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the task; ``file``: the body is this file."""

    status: int
    body: bytes = b"{}"
    content_type: str = "application/json"
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a task. ``blob``: where a large body was put."""

    caller: Caller
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    blob: Path | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def json(self) -> Json:
        """The body as an object. Raises ValueError."""
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value  # pyright: ignore[reportUnknownVariableType]


def reply(value: Json, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def refuse(message: str, code: str = "RESOURCE_DOES_NOT_EXIST", status: int = 404) -> Answer:
    return reply({"error_code": code, "message": message}, status)


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def run_of(body: Mapping[str, Any]) -> str:
    """The run a request is about. Raises KeyError."""
    return str(body.get("run_id") or body["run_uuid"])


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that mean something to MLflow; never those that say who called us."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name == "content-type" or name.startswith("x-mlflow-")}
