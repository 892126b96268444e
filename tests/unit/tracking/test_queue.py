"""The outbox, the port and the processes around them, with many at once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.states import RunState
from mlplatform.tracking import door, environment
from mlplatform.tracking.client import MlflowTracker, TrackingOptions
from mlplatform.tracking.door import ask, bind, read_port, write_port
from mlplatform.tracking.queue import Place, Queue, add
from tests.unit.tracking.conftest import (
    Mlflow,
    eventually,
    free_port,
    gateway_pid,
    run_record,
    stop_gateway,
    task_record,
)
from tests.unit.tracking.rest import Task

pytestmark = pytest.mark.timeout(300)

_WRITER = """
import sys
from pathlib import Path
from mlplatform.tracking.queue import Place, Queue, add
queue = Queue(Path(sys.argv[1]))
for number in range(50):
    with queue.transaction() as db:
        add(db, Place("home", sys.argv[2], "r"), "touch", {"n": number})
"""


def test_six_processes_at_a_fresh_outbox(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(i)]) for i in range(6)]
    assert [writer.wait(60) for writer in writers] == [0] * 6
    queue = Queue(tmp_path)
    assert queue.pending() == 300
    seen: list[str] = []
    while ops := queue.head("home"):
        assert [op.body["n"] for op in ops] == list(range(50)), "a lane keeps its order"
        seen.append(ops[0].lane)
        queue.done(ops)
    assert sorted(seen) == [str(i) for i in range(6)]
    queue.close()


def test_an_aborted_transaction_leaves_nothing(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with pytest.raises(TypeError), queue.transaction() as db:  # noqa: PT012 - both writes belong to it
        add(db, Place("home", "l", "r"), "touch", {})
        add(db, Place("home", "l", "r"), "touch", {"not JSON": object()})
    assert queue.pending() == 0
    queue.close()


def test_bodies_nobody_names_are_swept(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    kept, lost, fresh = (queue.new_blob() for _ in range(3))
    for path in (kept, lost, fresh):
        path.write_bytes(b"x")
    for path in (kept, lost):
        os.utime(path, (1, 1))
    with queue.transaction() as db:
        add(db, Place("home", "l", "r"), "artifact", {}, str(kept))
    assert queue.sweep_blobs() == 1
    assert (kept.exists(), lost.exists(), fresh.exists()) == (True, False, True)
    queue.close()


def test_only_one_gateway_of_many_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlplatform.tracking.gateway", "--folder", str(tmp_path)]
    started = [subprocess.Popen(command) for _ in range(5)]
    assert eventually(lambda: sum(p.poll() is None for p in started) == 1 and gateway_pid(tmp_path), 30.0)
    left = next(p for p in started if p.poll() is None)
    assert ask(tmp_path, "status", 20.0)["pid"] == left.pid
    stop_gateway(tmp_path)
    left.wait(20)


def test_the_port_stays_through_deaths(make_tracker: Callable[..., MlflowTracker], tmp_path: Path) -> None:
    tracker = make_tracker()
    folder = tmp_path / "mlflow"
    run = run_record("port")
    tracker.run_started(run)
    env = tracker.task_environment(run, TaskKey(("t",)), 1).env
    assert gateway_pid(folder) == 0, "nothing runs until somebody calls"
    task = Task(env)
    own = task.create_run("x")
    first = gateway_pid(folder)
    assert first > 0
    os.kill(first, signal.SIGKILL)
    task.metric(own, "m", 1.0, 0)
    second = gateway_pid(folder)
    assert second not in (0, first)
    tracker.close()
    task.metric(own, "m", 2.0, 1)
    assert gateway_pid(folder) == second, "it outlives the service"
    again = make_tracker(folder)
    assert again.task_environment(run, TaskKey(("t",)), 1).env["MLFLOW_TRACKING_URI"] == env["MLFLOW_TRACKING_URI"]
    os.kill(second, signal.SIGKILL)
    task.metric(own, "m", 3.0, 2)
    assert [m["value"] for m in task.call("GET", f"metrics/get-history?run_id={own}&metric_key=m")["metrics"]] == [
        1,
        2,
        3,
    ]


def test_a_strangers_port_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_STRANGE", 0.3)
    stranger = bind(0)
    port = stranger.getsockname()[1]
    write_port(tmp_path, port)
    own = door.Door(tmp_path)
    assert own.url != f"http://127.0.0.1:{port}"
    assert read_port(tmp_path) == int(own.url.rpartition(":")[2])
    own.close()
    stranger.close()


def test_a_full_disk_loses_nothing(make_tracker: Callable[..., MlflowTracker], tmp_path: Path) -> None:
    tracker = make_tracker()
    queue = tracker._queue
    pages = queue.row("PRAGMA page_count")[0]  # type: ignore[index]
    queue.rows(f"PRAGMA max_page_count={pages}")
    run = run_record("full", parameters={"text": "x" * 5000, **{f"p{i}": "y" * 3000 for i in range(200)}})
    assert len(tracker.run_started(run)) == 32
    assert queue.row("SELECT count(*) FROM runs")[0] == 0  # type: ignore[index]
    queue.rows("PRAGMA max_page_count=1000000")
    tracker.run_finished(replace(run, state=RunState.SUCCEEDED, finished_at=1_790_000_009.0))
    assert [op.kind for op in queue.head("home")] == ["touch", "log", "log", "status"]


def test_a_trivial_task_writes_nothing(make_tracker: Callable[..., MlflowTracker]) -> None:
    tracker = make_tracker()
    run = run_record("trivial")
    tracker.run_started(run)
    before = tracker._queue.last_seq()
    for number in range(200):
        tracker.task_environment(run, TaskKey(("t",), (number,)), 1)
        assert tracker.task_finished(run, task_record("t", (number,))) == ""
    assert tracker._queue.last_seq() == before
    assert gateway_pid(tracker._folder) == 0


def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLPLATFORM_CACHE", str(tmp_path))
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "make_with_uv", lambda wanted: asked.append(tuple(wanted)) or "/made/python")
    with pytest.raises(EnvironmentFailed, match="not installed yet"):
        environment.server_python(["/nowhere/python"], "", install=False)
    assert asked == []
    assert environment.server_python(["/nowhere/python"], "", install=True) == "/made/python"
    assert asked == [environment.REQUIREMENTS]
    assert environment.server_python(["/nowhere", sys.executable], "", install=False) == sys.executable
    with pytest.raises(EnvironmentFailed, match="no_such_module"):
        environment.named_maker("no_such_module:make")


def test_two_servers_at_a_fresh_database(tmp_path: Path) -> None:
    script = Path(door.__file__).with_name("standalone") / "realserver.py"
    ports = [free_port(), free_port()]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    common = ["--backend", f"sqlite:///{tmp_path}/m.db", "--artifacts", str(tmp_path / "a"), "--nice", "0"]
    started = [
        subprocess.Popen(
            [sys.executable, str(script), *common, "--port", str(port), "--lock", str(tmp_path / "lock")],
            env=env,
            stderr=subprocess.DEVNULL,
        )
        for port in ports
    ]
    try:
        for port in ports:
            assert eventually(lambda port=port: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 120.0)
            assert Mlflow(f"http://127.0.0.1:{port}").experiments() == {"Default": "0"}
    finally:
        for process in started:
            process.terminate()
            process.wait(20)
    with sqlite3.connect(tmp_path / "m.db") as database:
        assert database.execute("SELECT count(*) FROM experiments").fetchone()[0] == 1


def test_a_models_folder_goes_to_mlflow_and_is_registered(home: tuple[MlflowTracker, Path], tmp_path: Path) -> None:
    """A folder saved by MLflow's own ``save_model``, and a pickle that stays where it is."""
    tracker, folder = home
    saved = tmp_path / "net"
    (saved / "data").mkdir(parents=True)
    (saved / "MLmodel").write_text("flavors: {}\n")
    (saved / "data" / "weights.bin").write_bytes(b"\0\1\2")
    run = run_record("models", experiment="models")
    tracker.run_started(run)
    digest = "sha256:" + "1" * 64
    ask_for = {"registered_model_name": "net", "registered_model_alias": "champion", "framework": "own"}
    outputs = Values(
        {},
        {
            "net": Artifact("net", saved.as_uri(), "system.Model", ask_for, digest),
            "pickle": Artifact("pickle", "s3://bucket/m.pkl?sig=secret", "system.Model", {}, digest),
        },
    )
    inputs = Values({"depth": 3}, {"rows": Artifact("rows", "/data/rows.csv", "system.Dataset", digest=digest)})
    own = tracker.task_finished(run, task_record(inputs=inputs, outputs=outputs))
    tracker.task_finished(run_record("later", experiment="models"), task_record(outputs=outputs))
    assert tracker.flush(120.0)
    server = Mlflow(ask(folder, "ui", 60.0)["url"])
    seen = server.run(own)
    assert seen["params"] == {"depth": "3"}
    assert [d["dataset"]["name"] for d in seen["inputs"]] == ["rows"]
    models = [server.call(f"logged-models/{o['model_id']}")["model"] for o in seen["outputs"]]
    by_name = {m["info"]["name"]: m for m in models}
    assert set(by_name) == {"net", "pickle"}
    where = by_name["net"]["info"]["artifact_uri"]
    assert server.artifact({"artifact_uri": where}, "data/weights.bin") == b"\0\1\2"
    pickle = {p["key"]: p["value"] for p in by_name["pickle"]["data"]["params"]}
    assert pickle["uri"] == "s3://bucket/m.pkl"
    assert pickle["digest"] == digest
    tags = {t["key"]: t["value"] for t in by_name["pickle"]["info"]["tags"]}
    assert tags["mlflow.model.isExternal"] == "true"
    versions = server.call("model-versions/search", filter="name = 'net'")["model_versions"]
    assert [(v["version"], v["run_id"]) for v in versions] == [("1", own)], "the same bytes are the same version"
    assert server.call("registered-models/alias", name="net", alias="champion")["model_version"]["version"] == "1"


def test_a_service_that_follows_another_at_once_keeps_its_port(tmp_path: Path) -> None:
    """The gateway that the first one left behind is still starting when the second one comes."""
    folder = tmp_path / "mlflow"
    options = TrackingOptions(tracking_uri=f"http://127.0.0.1:{free_port()}")
    urls: set[str] = set()
    for number in range(3):
        tracker = MlflowTracker(folder, options)
        run = run_record(f"n{number}")
        tracker.run_started(run)
        env = tracker.task_environment(run, TaskKey(("t",)), 1).env
        urls.add(env["MLFLOW_TRACKING_URI"])
        tracker.close()
    assert len(urls) == 1
    assert Task(env).create_run("x")
    stop_gateway(folder)


def test_a_gateway_leaves_when_idle_or_when_its_home_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    process = door.spawn(_made(gone))
    assert eventually(lambda: read_port(gone), 20.0), "it listens"
    assert ask(gone, "status", 20.0)["pid"] == process.pid
    shutil.rmtree(gone)
    assert process.wait(20) == 0
    monkeypatch.setenv("MLPLATFORM_TRACKING_IDLE_SECONDS", "0.1")
    assert door.spawn(_made(tmp_path / "idle")).wait(20) == 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_people_who_look_keep_the_server(home: tuple[MlflowTracker, Path]) -> None:
    """A browser talks to MLflow's own server, past the gateway: that counts as use, what the gateway does does not."""
    _, folder = home
    url = ask(folder, "ui", 120.0)["url"]
    used = folder / "server.used"
    used.unlink(missing_ok=True)
    ask(folder, "ui", 60.0)
    assert not used.exists()
    assert eventually(lambda: Mlflow(url).experiments() and used.exists(), 30.0)


def test_closing_leaves_a_gateway_for_what_waits(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"
    tracker = MlflowTracker(folder, TrackingOptions(tracking_uri=f"http://127.0.0.1:{free_port()}"))
    tracker.run_started(run_record("left"))
    began = time.monotonic()
    tracker.close()
    assert time.monotonic() - began < 5
    assert eventually(lambda: gateway_pid(folder), 20.0) > 0
    stop_gateway(folder)
