"""A job of this machine in MLflow, as its outbox hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.engine.training import tracked
from mlplatform.engine.training.tracked import Tracked, checkpoint_files


class _Tracker:
    def __init__(self) -> None:
        self.heard: list[tuple[str, RunRecord]] = []
        self.files: dict[str, bytes] = {}
        self.broken = False

    def run_started(self, run: RunRecord) -> str:
        if self.broken:
            raise OSError("the disk is full")
        self.heard.append(("started", run))
        return "id"

    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        return {"MLFLOW_RUN_ID": run.run_id}

    def keep_files(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        self.files |= files

    def run_finished(self, run: RunRecord) -> None:
        self.heard.append(("finished", run))


class _Core:
    def __init__(self) -> None:
        self.tracker = _Tracker()
        self.clock = self

    def now(self) -> float:
        return 9.0

    def stored(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def job(phase: str, **status: Any) -> dict[str, Any]:
    meta = {"name": "fit", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "spec": {"framework": "python"}, "status": {"phase": phase, "attempt": 1, **status}}


def test_one_run_from_the_first_rank_to_the_end() -> None:
    core = _Core()
    told = Tracked(cast(Any, core))
    assert told.variables(job("Starting")) == {"MLFLOW_RUN_ID": "training-u1"}
    assert told.variables(job("Starting", attempt=2)) == {"MLFLOW_RUN_ID": "training-u1"}
    for _ in range(3):
        told.ended(job("Complete", attempt=2, completionTime="2026-01-01T00:01:00Z"))
    assert [(what, run.state) for what, run in core.tracker.heard] == [
        ("started", RunState.RUNNING),
        ("started", RunState.RUNNING),
        ("started", RunState.SUCCEEDED),
        ("finished", RunState.SUCCEEDED),
    ]


def test_a_job_that_was_deleted_meanwhile_is_cancelled() -> None:
    core = _Core()
    Tracked(cast(Any, core)).ended(job("Running"), cancelled=True)
    what, run = core.tracker.heard[-1]
    assert (what, run.state, run.finished_at) == ("finished", RunState.CANCELLED, 9.0)


def test_trouble_with_tracking_is_nobodys_trouble() -> None:
    core = _Core()
    core.tracker.broken = True
    told = Tracked(cast(Any, core))
    assert told.variables(job("Starting")) == {}
    told.ended(job("Failed"))


def test_a_checkpoint_is_kept_with_the_run_or_pointed_at(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "weights").write_bytes(b"12345")
    (tmp_path / ".checkpoint.json").write_text(json.dumps({"files": {"parts/weights": {"size": 5, "sha256": "ab"}}}))
    status = {"checkpoint": {"step": 7, "uri": str(tmp_path), "time": "t"}}
    found = checkpoint_files(status)
    assert found["checkpoints/step-7/parts/weights"] == b"12345"
    page = json.loads(found["checkpoints/step-7/checkpoint.json"])
    assert page == {
        "step": 7,
        "uri": str(tmp_path),
        "time": "t",
        "files": {"parts/weights": {"size": 5, "sha256": "ab"}},
    }
    monkeypatch.setattr(tracked, "KEPT", 4)
    assert list(checkpoint_files(status)) == ["checkpoints/step-7/checkpoint.json"], "too large: only where it is"
    away = {"checkpoint": {"step": 7, "uri": "s3://bucket/step-7"}}
    assert json.loads(checkpoint_files(away)["checkpoints/step-7/checkpoint.json"])["uri"] == "s3://bucket/step-7"
    assert checkpoint_files({}) == {}
