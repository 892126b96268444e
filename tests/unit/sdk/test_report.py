"""The JSON object that tells of a run."""

from __future__ import annotations

import json

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.core.model import Artifact, RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.sdk.report import refusal, run_report, run_summary

DATA = Artifact("data", "/tmp/x", "system.Dataset", {"n": 2}, "sha256:0", 7)
RUN = RunRecord(
    "r1", "name", "pipe", RunState.FAILED, "sha256:1", parameters={"a": 2}, created_at=1.0, finished_at=3.5,
    outputs=Values({"x": 2, "y": 2.0, "z": "2"}, {"data": DATA, "many": (DATA, DATA)}),
    error=TaskError("TASK_FAILED", "boom", "trace", "do"), tags={"k": "v"},
)  # fmt: skip
TASK = TaskRecord(
    TaskKey(("loop", "t"), (3,)), TaskState.CACHED, attempt=0, outputs=Values({"Output": True}, {"data": DATA}),
    cached_from="r0:t", cache_note="nothing changed",
)  # fmt: skip


def test_a_run() -> None:
    report = run_report(RUN, [TASK], logs={TASK.key: "/l/task.log"}, mlflow_url="http://m")
    assert json.loads(json.dumps(report)) == report
    assert report["run_id"] == "r1"
    assert report["state"] == "FAILED"
    artifact = {
        "name": "data", "type": "system.Dataset", "uri": "/tmp/x", "metadata": {"n": 2},
        "digest": "sha256:0", "size": 7,
    }  # fmt: skip
    assert report["outputs"] == {"x": 2, "y": 2.0, "z": "2", "data": artifact, "many": [artifact, artifact]}
    assert [type(report["outputs"][name]) for name in "xyz"] == [int, float, str]
    assert report["error"] == {
        "code": "TASK_FAILED", "message": "boom", "traceback": "trace", "hint": "do", "findings": [],
    }  # fmt: skip
    assert (report["created_at"], report["finished_at"], report["mlflow_url"]) == (1.0, 3.5, "http://m")
    (task,) = report["tasks"]
    assert (task["name"], task["iteration"], task["state"], task["cached"]) == ("loop/t", [3], "CACHED", True)
    assert task["outputs"] == {"Output": True, "data": artifact}
    assert task["artifacts"] == {"data": artifact}
    assert task["log"] == "/l/task.log"
    assert task["why"] == "reused the result of r0:t: nothing changed"
    assert task["error"] is None


def test_a_summary_has_no_tasks() -> None:
    summary = run_summary(RUN)
    assert "tasks" not in summary
    assert "outputs" not in summary
    assert summary["tags"] == {"k": "v"}


def test_a_refusal() -> None:
    error = InvalidPipeline("bad", hint="h", findings=[Finding("a.b", "wrong", "c", "d")])
    assert refusal(error) == {
        "run_id": None, "state": "INVALID", "outputs": {}, "tasks": [],
        "error": {
            "code": "INVALID_PIPELINE", "message": "bad", "hint": "h", "retryable": False,
            "findings": [{"path": "a.b", "code": "c", "message": "wrong", "hint": "d"}],
        },
    }  # fmt: skip
