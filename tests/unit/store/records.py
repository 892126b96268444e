"""Records for the store's tests."""

from __future__ import annotations

from typing import Any

from mlplatform.core.model import Artifact, CacheEntry, RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.store.writes import document_digest

DOCUMENT = b"pipelineInfo: {name: p}\n"


def run(number: int = 1, **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": f"run{number:06d}",
        "name": f"p-{number}",
        "pipeline": "p",
        "state": RunState.PENDING,
        "spec_digest": document_digest(DOCUMENT),
        "created_at": float(number),
    }
    return RunRecord(**{**fields, **changes})


def task(name: str = "train", *iteration: int, **changes: Any) -> TaskRecord:
    fields: dict[str, Any] = {"key": TaskKey((name,), iteration), "state": TaskState.SUCCEEDED}
    return TaskRecord(**{**fields, **changes})


def artifact(uri: str = "/a/model", **changes: Any) -> Artifact:
    return Artifact(**{"name": "model", "uri": uri, "digest": "sha256:" + "0" * 64, "size": 3, **changes})


def made(*items: Artifact) -> Values:
    return Values(artifacts={item.name: item for item in items})


def entry(number: int = 1, **changes: Any) -> CacheEntry:
    fields: dict[str, Any] = {
        "key": "k",
        "run_id": "run000001",
        "task": TaskKey(("train",), (number,)),
        "outputs": Values({"n": number}),
        "created_at": float(number),
        "identity": "i",
        "trace": ({"kind": "file", "path": "/data", "digest": "sha256:1"},),
    }
    return CacheEntry(**{**fields, **changes})
