"""Where the server keeps what it collects."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlplatform.core.model import TaskKey


def log_folder(logs: Path, run_id: str, key: TaskKey, attempt: int) -> Path:
    """The folder of an attempt's log."""
    task = hashlib.sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return logs / run_id / f"{task}-{attempt}"
