"""Names of what belongs to a run, made from the run's and the task's: doing something twice is doing it once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from mlplatform.apis.names import ANNOTATION_KEY
from mlplatform.core.ids import slug
from mlplatform.core.model import TaskKey

#: A DNS-1123 label: a pod's name is its host name too.
_LONGEST: Final = 63
_HASH: Final = 10


def task_hash(key: TaskKey) -> str:
    """Ten characters that stand for a task of a run."""
    return hashlib.sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]


def shortened(name: str, limit: int) -> str:
    """A name that fits, still one of its own: the end of a long one gives way to a hash."""
    if len(name) <= limit and "." not in name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{slug(name, limit - 9)}-{digest}"


def pod_name(run: str, key: TaskKey, attempt: int) -> str:
    """``<run>-<task hash>-<attempt>``, at most 63 characters."""
    tail = f"-{task_hash(key)}-{attempt}"
    return shortened(run, _LONGEST - len(tail)) + tail


def run_label(run: str) -> str:
    """A run's name as the value of a label."""
    return shortened(run, _LONGEST)


def records_name(run: str, index: int) -> str:
    """The run's TaskRecords number ``index``."""
    tail = f"-tasks-{index:04d}"
    return shortened(run, 253 - len(tail)) + tail


def workspace_name(run: str) -> str:
    """The claim that all tasks of a run share."""
    return shortened(run, 240) + "-workspace"


def claim_name(run: str, key: TaskKey, suffix: str) -> str:
    """The claim of a CreatePVC task that gave only a suffix."""
    return f"{shortened(run, 180)}-{task_hash(key)}{suffix}"[:253]


def key_in(annotations: Mapping[str, Any]) -> TaskKey | None:
    """The task that annotations name."""
    try:
        path, iteration = json.loads(str(annotations.get(ANNOTATION_KEY) or ""))
        return TaskKey(tuple(str(word) for word in path), tuple(int(index) for index in iteration))
    except (ValueError, TypeError):
        return None
