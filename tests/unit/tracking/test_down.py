"""MLflow away, slow, or refusing: no task waits or fails, nothing is lost, nothing comes twice, order is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.tracking.client import MlflowTracker
from mlplatform.tracking.door import ask
from mlplatform.tracking.queue import Queue
from tests.unit.tracking.conftest import Mlflow, Switch, eventually, run_record, task_record
from tests.unit.tracking.rest import Task

pytestmark = pytest.mark.timeout(300)


def test_down_for_a_while_then_everything_in_order(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow, switch: Switch, tmp_path: Path
) -> None:
    tracker = make_tracker(tracking_uri=switch.url)
    run = run_record("down", experiment="was down")
    began = time.monotonic()
    parent = tracker.run_started(run)
    task = Task(tracker.task_environment(run, TaskKey(("train",)), 1).env)
    own = task.create_run("first")
    for step in range(50):
        task.metric(own, "loss", step, step)
    child = task.create_run("second")
    task.metric(child, "deep", 1.0, 0)
    task.put(own, "sub/file.txt", b"content")
    model = task.create_model(own, "net")
    assert task.get_run(own)["data"]["metrics"][0]["value"] == 49, "what was logged can be read back"
    metrics = Artifact("m", "/x", "system.Metrics", {"accuracy": 0.9, "note": "fine"})
    finished = task_record(outputs=Values({}, {"m": metrics}))
    assert tracker.task_finished(run, finished) == own
    tracker.run_finished(
        run_record("down", experiment="was down", state=RunState.SUCCEEDED, finished_at=1_790_000_009.0)
    )
    assert time.monotonic() - began < 20, "nothing of this waits for MLflow"
    assert not tracker.flush(0.5)
    assert users_server.runs("was down") == []

    switch.open()
    assert tracker.flush(90.0)
    runs = {r["name"]: r for r in users_server.runs("was down")}
    assert set(runs) == {"run down", "first", "second"}
    assert runs["run down"]["params"] == {"epochs": "3", "lr": "0.5", "layers": "[1, 2]", "flag": "true"}
    assert runs["run down"]["status"] == runs["first"]["status"] == runs["second"]["status"] == "FINISHED"
    assert runs["run down"]["end"] == 1_790_000_009_000
    assert runs["first"]["parent"] == runs["run down"]["id"] != parent, "a user's own server makes up its own ids"
    assert runs["second"]["parent"] == runs["first"]["id"] == tracker.real_run_id(own)
    assert users_server.history(runs["first"]["id"], "loss") == [(i, float(i)) for i in range(50)]
    assert runs["first"]["metrics"]["accuracy"] == 0.9
    assert users_server.artifact(runs["first"], "sub/file.txt") == b"content"
    models = users_server.call("logged-models/search", {"experiment_ids": [users_server.experiments()["was down"]]})
    found = models["models"]
    assert [m["info"]["name"] for m in found] == ["net"]
    assert found[0]["info"]["model_id"] != model
    assert found[0]["info"]["source_run_id"] == runs["first"]["id"]
    assert list((tmp_path / "mlflow" / "blobs").iterdir()) == []


def test_ids_of_a_users_server_are_translated_both_ways(
    make_tracker: Callable[..., MlflowTracker], switch: Switch
) -> None:
    tracker = make_tracker(tracking_uri=switch.url)
    switch.open()
    run = run_record("both", experiment="both ways")
    tracker.run_started(run)
    task = Task(tracker.task_environment(run, TaskKey(("train",)), 1).env)
    own = task.create_run("mine")
    task.metric(own, "m", 1.0, 0)
    experiment = task.get_run(own)["info"]["experiment_id"]
    found = task.call("POST", "runs/search", {"experiment_ids": [experiment], "filter": "attributes.run_name = 'mine'"})
    assert [(r["info"]["run_id"], r["info"]["experiment_id"]) for r in found["runs"]] == [(own, experiment)]
    assert tracker.real_run_id(own) not in ("", own)


def test_a_read_that_needs_a_server_that_is_down_fails_at_once(
    make_tracker: Callable[..., MlflowTracker], switch: Switch
) -> None:
    tracker = make_tracker(tracking_uri=switch.url)
    run = run_record("reads")
    tracker.run_started(run)
    task = Task(tracker.task_environment(run, TaskKey(("t",)), 1).env)
    own = task.create_run("mine")
    assert eventually(lambda: _trouble(tracker), 30.0)
    began = time.monotonic()
    status, answer = task.request("POST", "runs/search", {"experiment_ids": ["0"]})
    assert (status, answer["error_code"]) == (409, "TEMPORARILY_UNAVAILABLE"), "not a code MLflow's client repeats"
    assert time.monotonic() - began < 10
    assert task.get_run(own)["info"]["run_name"] == "mine"


def _trouble(tracker: MlflowTracker) -> bool:
    status = ask(tracker._folder, "status", 10.0)
    return any(server["trouble"] for server in status["servers"].values())


def test_one_bad_value_stops_nothing(make_tracker: Callable[..., MlflowTracker], users_server: Mlflow) -> None:
    tracker = make_tracker(tracking_uri=users_server.url)
    run = run_record("bad", experiment="bad values")
    tracker.run_started(run)
    task = Task(tracker.task_environment(run, TaskKey(("train",)), 1).env)
    own = task.create_run("mine")
    task.call("POST", "runs/log-parameter", {"run_id": own, "key": "p", "value": "first"})
    task.call("POST", "runs/log-parameter", {"run_id": own, "key": "p", "value": "changed"})
    task.call("POST", "runs/set-tag", {"run_id": own, "key": "x" * 300, "value": "name too long"})
    task.call(
        "POST",
        "runs/log-batch",
        {"run_id": own, "params": [{"key": "bad\u0000", "value": "1"}, {"key": "good", "value": "v" * 9000}]},
    )
    task.metric(own, "after", 1.0, 0)
    assert tracker.flush(60.0)
    run_ = users_server.run(tracker.real_run_id(own))
    assert run_["params"]["p"] == "first"
    assert len(run_["params"]["good"]) == 6000
    assert run_["params"]["good"].endswith("cut by mlplatform]")
    assert run_["metrics"]["after"] == 1.0
    queue = Queue(tracker._folder)
    reasons = [reason for _, reason in queue.rejections()]
    queue.close()
    assert len(reasons) >= 2, "what was refused is kept with its reason"


def test_states_and_children_end_with_their_task(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow
) -> None:
    tracker = make_tracker(tracking_uri=users_server.url)
    run = run_record("states", experiment="states")
    tracker.run_started(run)
    states = {"a": TaskState.FAILED, "b": TaskState.CANCELLED, "c": TaskState.CACHED}
    for name, state in states.items():
        task = Task(tracker.task_environment(run, TaskKey((name,), (2,)), 1).env)
        own = task.create_run("")
        task.call("POST", "runs/update", {"run_id": own, "status": "FINISHED"})
        task.create_run(f"left open {name}")
        assert tracker.task_finished(run, task_record(name, (2,), state=state)) == own
    assert tracker.task_finished(run, task_record("quiet")) == "", "a task with nothing to show gets no run"
    ended = run_record("states", experiment="states", state=RunState.CANCELLED, finished_at=1_790_000_009.0)
    tracker.run_finished(ended)
    tracker.run_finished(ended)
    assert tracker.flush(60.0)
    found = {r["name"]: r["status"] for r in users_server.runs("states")}
    assert found == {
        "run states": "KILLED",
        "a[2]": "FAILED",
        "b[2]": "KILLED",
        "c[2]": "FINISHED",
        "left open a": "FAILED",
        "left open b": "KILLED",
        "left open c": "FINISHED",
    }
    resumed = run_record("states", experiment="states")
    tracker.run_started(resumed)
    assert tracker.flush(60.0)
    assert {r["name"]: r["status"] for r in users_server.runs("states")}["run states"] == "RUNNING"


def test_a_retried_attempt_goes_on_in_the_same_run(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow
) -> None:
    tracker = make_tracker(tracking_uri=users_server.url)
    run = run_record("retry", experiment="retry")
    tracker.run_started(run)
    for attempt in (1, 2):
        task = Task(tracker.task_environment(run, TaskKey(("t",)), attempt).env)
        own = task.env["MLPLATFORM_MLFLOW_RUN_ID"]
        task.metric(own, "loss", attempt, attempt)
    tracker.task_finished(run, task_record("t", attempt=2))
    assert tracker.flush(60.0)
    runs = [r for r in users_server.runs("retry") if r["parent"]]
    assert len(runs) == 1
    assert users_server.history(runs[0]["id"], "loss") == [(1, 1.0), (2, 2.0)]
    assert runs[0]["tags"]["mlplatform.attempts"] == "2"


def test_tokens_open_nothing_else(make_tracker: Callable[..., MlflowTracker]) -> None:
    tracker = make_tracker()
    run = run_record("tokens")
    tracker.run_started(run)
    env = dict(tracker.task_environment(run, TaskKey(("t",)), 1).env)
    good = Task(env)
    own = good.create_run("x")
    token = env["MLFLOW_TRACKING_TOKEN"]
    for wrong in ("", "x", "a.b", token[:-1] + ("0" if token[-1] != "0" else "1"), "admin." + "0" * 32):
        status, _ = Task({**env, "MLFLOW_TRACKING_TOKEN": wrong}).request("GET", f"runs/get?run_id={own}")
        assert status == 401
        status, _ = good.raw("POST", "/mlplatform/status", b"{}", wrong)
        assert status == 401
    assert good.raw("POST", "/mlplatform/status", b"{}", token)[0] == 401, "a task's token does not command"


def test_no_import_of_mlflow_and_a_light_one_of_ours() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import mlplatform.tracking.client as c; "
        "print(time.perf_counter() - t, 'mlflow' in sys.modules, 'http.server' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    seconds, *loaded = answer.split()
    assert loaded == ["False", "False"]
    assert float(seconds) < 1.0


def test_the_environment_of_a_task(make_tracker: Callable[..., MlflowTracker]) -> None:
    theirs = {
        "MLFLOW_TRACKING_URI": "http://user:secret-in-uri@127.0.0.1:9/base",
        "MLFLOW_TRACKING_TOKEN": "their-token",
        "NO_PROXY": "example.org",
        "UNRELATED": "x",
    }
    tracker = make_tracker(environment_of=lambda run_id: theirs)
    run = run_record("env", experiment="Default")
    tracker.run_started(run)
    env = tracker.task_environment(run, TaskKey(("t",), (1, 2)), 1)
    assert env.hook is not None
    assert env.hook.name == "userhook.py"
    assert env.env["MLFLOW_TRACKING_URI"].startswith("http://127.0.0.1:")
    assert env.env["MLFLOW_EXPERIMENT_ID"] == "0"
    assert env.env["NO_PROXY"] == "example.org,127.0.0.1"
    assert json.loads(env.env["MLPLATFORM_MLFLOW_REPLACED"])["MLFLOW_TRACKING_TOKEN"] == "their-token"
    assert "their-token" not in repr(env)
    for path in tracker._folder.rglob("*"):
        if path.is_file() and path.parent.name != "servers":
            assert b"their-token" not in path.read_bytes(), f"a secret in {path}"
            assert b"secret-in-uri" not in path.read_bytes(), f"a secret in {path}"
    servers = list((tracker._folder / "servers").iterdir())
    assert [oct(path.stat().st_mode & 0o777) for path in servers] == ["0o600"]


def test_their_own_way_where_we_have_none(make_tracker: Callable[..., MlflowTracker]) -> None:
    tracker = make_tracker(environment_of=lambda run_id: {"MLFLOW_TRACKING_URI": "databricks"})
    run = run_record("dbx")
    assert len(tracker.run_started(run)) == 32
    environment = tracker.task_environment(run, TaskKey(("t",)), 1)
    assert (dict(environment.env), environment.hook) == ({}, None)


def test_ranks_of_all_attempts_log_into_the_job_itself(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow
) -> None:
    tracker = make_tracker(tracking_uri=users_server.url)
    run = run_record("ranks", experiment="of ranks")
    reserved = tracker.run_started(run)
    for attempt in (1, 2):
        env = tracker.rank_environment(run)
        assert env["MLFLOW_RUN_ID"] == reserved
        rank = Task(env)
        rank.metric(reserved, "loss", 1.0 / attempt, attempt)
        # what mlflow.end_run() says when a rank ends: how the job ended is not for ranks to say
        rank.call("POST", "runs/update", {"run_id": reserved, "status": "FAILED", "end_time": 1})
    assert tracker.flush(90.0)
    (found,) = users_server.runs("of ranks")
    assert (found["status"], found["parent"]) == ("RUNNING", "")
    assert users_server.history(found["id"], "loss") == [(1, 1.0), (2, 0.5)]
    tracker.run_finished(run_record("ranks", experiment="of ranks", state=RunState.SUCCEEDED, finished_at=2e9))
    assert tracker.flush(90.0)
    (found,) = users_server.runs("of ranks")
    assert (found["name"], found["status"]) == ("run ranks", "FINISHED")
