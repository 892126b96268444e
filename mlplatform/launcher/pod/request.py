"""What the pod was told about its task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, cast

VARIABLES = ("MLPLATFORM_REQUEST", "MLPLATFORM_REQUEST_FILE", "MLPLATFORM_TERMINATION_LOG", "MLPLATFORM_POD_BASE",
             "MLPLATFORM_SERVER")  # fmt: skip


def read_request(environ: Mapping[str, str]) -> dict[str, Any]:
    """The request. Raises ValueError, OSError."""
    text = environ.get("MLPLATFORM_REQUEST") or ""
    if not text:
        path = environ.get("MLPLATFORM_REQUEST_FILE") or ""
        if not path:
            raise ValueError("the pod was told nothing about its task")
        with open(path, encoding="utf-8") as file:
            text = file.read()
    data: Any = json.loads(text)
    if not isinstance(data, dict) or cast("dict[str, Any]", data).get("version") != 1:
        raise ValueError("this launcher does not know what it was told: it is of another version than the operator")
    return cast("dict[str, Any]", data)


def task_environment(environ: Mapping[str, str], home: str) -> dict[str, str]:
    """Variables for user code: the image's and the pod's, without what was meant for the launcher, with a home."""
    env = {name: value for name, value in environ.items() if name not in VARIABLES}
    current = env.get("HOME") or ""
    if not current or current == "/" or not os.access(current, os.W_OK):
        env["HOME"] = home
    env.setdefault("USER", "user")
    return env
