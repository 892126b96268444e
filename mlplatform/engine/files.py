"""Small JSON objects in files that are replaced as a whole: what a process leaves for the one after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none or it is torn."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def write_json(path: Path, data: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace a file. ``durable``: it survives a power cut, too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
