"""The gateway dies (SIGKILL) at durable steps of a run, one after the other: nothing is lost, nothing doubled.

Every sixth of about 170 steps; all of them with ``MLPLATFORM_ALL_FAULTS=1``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.states import RunState
from mlplatform.tracking import client, door
from mlplatform.tracking.client import MlflowTracker, TrackingOptions
from tests.unit.tracking.conftest import Mlflow, run_record, stop_gateway, task_record
from tests.unit.tracking.rest import Task

pytestmark = pytest.mark.timeout(600)


class _FirstGateway:
    """Gives variables to the first gateway that is started, and to no later one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
        self.started = 0
        original = door.spawn

        def spawn(*args: object, **kwargs: object) -> object:
            self.started += 1
            for name, value in variables.items():
                os.environ.pop(name, None)
                if self.started == 1:
                    os.environ[name] = value
            try:
                return original(*args, **kwargs)  # type: ignore[arg-type]
            finally:
                for name in variables:
                    os.environ.pop(name, None)

        monkeypatch.setattr(door, "spawn", spawn)


def _whole_run(tracker: MlflowTracker, name: str) -> None:
    """Every kind of operation once, told twice by the engine where an engine might."""
    run = run_record(name, experiment=f"fault {name}")
    tracker.run_started(run)
    tracker.run_started(run)
    task = Task(tracker.task_environment(run, TaskKey(("train",)), 1).env)
    own = task.create_run("own")
    child = task.create_run("child")
    for step in range(3):
        task.metric(own, "loss", step / 2, step)
    task.metric(child, "deep", 1, 0)
    task.put(own, "f.txt", b"content")
    task.create_model(own, "net")
    model = Artifact(
        "model",
        f"file:///x/{name}",
        "system.Model",
        {"registered_model_name": f"m-{name}"},
        digest="sha256:" + "a" * 64,
    )
    finished = task_record(outputs=Values({}, {"model": model}))
    tracker.task_finished(run, finished)
    tracker.task_finished(run, finished)
    tracker.run_finished(replace(run, state=RunState.SUCCEEDED, finished_at=1_790_000_009.0))
    assert tracker.flush(90.0)


def _check(server: Mlflow, name: str) -> None:
    runs = server.runs(f"fault {name}")
    assert sorted((r["name"], r["status"]) for r in runs) == [
        ("child", "FINISHED"),
        ("own", "FINISHED"),
        (f"run {name}", "FINISHED"),
    ]
    by_name = {r["name"]: r for r in runs}
    own = by_name["own"]
    assert by_name["child"]["parent"] == own["id"]
    assert own["parent"] == by_name[f"run {name}"]["id"]
    assert server.history(own["id"], "loss") == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert server.history(by_name["child"]["id"], "deep") == [(0, 1.0)]
    assert server.artifact(own, "f.txt") == b"content"
    experiment = server.experiments()[f"fault {name}"]
    models = server.call("logged-models/search", {"experiment_ids": [experiment]})["models"]
    assert sorted(m["info"]["name"] for m in models) == ["model", "net"]
    assert {m["info"]["status"] for m in models} == {"LOGGED_MODEL_READY"}
    assert sorted(o["model_id"] for o in own["outputs"]) == sorted(m["info"]["model_id"] for m in models)
    versions = server.call("model-versions/search", filter=f"name = 'm-{name}'")["model_versions"]
    assert [(v["version"], v["run_id"]) for v in versions] == [("1", own["id"])]


@pytest.mark.slow
def test_death_at_durable_steps(users_server: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LAZY", 0.2)
    log = tmp_path / "points"

    def once(number: int, variables: Mapping[str, str]) -> _FirstGateway:
        folder = tmp_path / f"home{number}"
        with pytest.MonkeyPatch.context() as patch:
            gateways = _FirstGateway(patch, variables)
            tracker = MlflowTracker(folder, TrackingOptions(tracking_uri=users_server.url))
            try:
                _whole_run(tracker, f"n{number}")
            finally:
                tracker.close()
                stop_gateway(folder)
        _check(users_server, f"n{number}")
        return gateways

    assert once(0, {"MLPLATFORM_TRACKING_FAULT_LOG": str(log)}).started == 1
    points = log.read_text().splitlines()
    assert {"before-write", "before-commit", "after-commit", "before-answer", "delivered"} <= set(points)
    assert {"experiment-made", "run-made", "model-made", "version-made"} <= set(points)
    died = 0
    numbers = range(1, len(points) + 1) if os.environ.get("MLPLATFORM_ALL_FAULTS") else range(1, len(points) + 1, 6)
    for number in numbers:
        died += once(number, {"MLPLATFORM_TRACKING_FAULT_AT": str(number)}).started > 1
    assert died > 0.8 * len(numbers), "the deaths have happened (how many steps there are differs a little by timing)"


def test_death_of_the_engine_between_telling_and_noting(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow, tmp_path: Path
) -> None:
    """A service that dies after each call, and one that takes over and tells all of it again."""
    folder = tmp_path / "mlflow"
    run = run_record("again", experiment="told again")
    metrics = Artifact("m", "/x", "system.Metrics", {"accuracy": 0.5})
    task = task_record(outputs=Values({}, {"m": metrics}))
    ended = replace(run, state=RunState.SUCCEEDED, finished_at=1_790_000_009.0)
    ids: set[str] = set()
    for told in range(1, 4):
        tracker = make_tracker(folder, tracking_uri=users_server.url)
        ids.add(tracker.run_started(run))
        if told > 1:
            ids.add(tracker.task_finished(run, task))
        if told > 2:
            tracker.run_finished(ended)
            tracker.flush(60.0)
            tracker.run_finished(ended)
            assert tracker.flush(60.0)
        tracker.close()
    assert len(ids) == 2
    runs = users_server.runs("told again")
    assert [(r["name"], r["status"]) for r in runs] == [("run again", "FINISHED"), ("train", "FINISHED")]
    assert users_server.history(runs[1]["id"], "accuracy") == [(0, 0.5)]
