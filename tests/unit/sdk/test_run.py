"""The run object over a real service: what waits, what does not, what failures look like, who can attach."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlplatform as ml
from mlplatform.core.errors import InvalidInput, NotFound, RunCancelled, TaskFailed
from mlplatform.core.states import RunState, TaskState
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.run import Run, StoppedWaiting
from tests.unit.sdk.run_cases import failing, gated, looped, start

LIMIT = 120.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = open_home(tmp_path_factory.mktemp("runs") / "home")
    yield place
    LocalClient(place).stop()


@pytest.fixture(scope="module")
def failed(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return start(home, failing(), tmp_path_factory.mktemp("failed")).wait(check=False, timeout=LIMIT)


@pytest.fixture(scope="module")
def loop(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return start(home, looped(), tmp_path_factory.mktemp("loop")).wait(timeout=LIMIT)


def test_a_task_is_had_before_its_run_has_ended(home: Home, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = start(home, gated(gate), tmp_path)
    load = run.task("load")
    assert dict(load.outputs) == {"Output": 6}
    assert load.log == "loading 3\n"
    assert not run.state.finished
    assert run.task("double-it").state is TaskState.PENDING
    assert run.task("double-it").why() == "waits for the tasks before it"
    waiting = run.task("wait")
    assert waiting.inputs["x"] == 6
    with pytest.raises(TimeoutError, match="goes on"):
        run.wait(timeout=0.2)
    assert run.state is RunState.RUNNING
    gate.touch()
    assert dict(run.outputs) == {"result": 14}
    assert run.output == 14
    assert waiting.tail() == "waiting for gate"
    assert [(attempt.number, attempt.state) for attempt in waiting.attempts] == [(1, TaskState.SUCCEEDED)]
    assert [task.name for task in run.tasks] == ["load", "wait", "double-it"]
    assert run.task("double_it").duration is not None, "a function's name names its task"
    assert repr(run) == f"<run {run.run_id} {run.name!r} succeeded>"


def test_ctrl_c_stops_the_waiting_not_the_run(home: Home, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = start(home, gated(gate, "interrupted"), tmp_path)
    run.task("load").wait(LIMIT)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(StoppedWaiting, match="goes on") as caught:
        run.wait(timeout=LIMIT)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert run.run_id in str(caught.value)
    gate.touch()
    assert run.output == 14


def test_cancelling(home: Home, tmp_path: Path) -> None:
    run = start(home, gated(tmp_path / "never", "cancelled"), tmp_path)
    assert run.task("load").outputs["Output"] == 6
    assert run.cancel() is run
    with pytest.raises(RunCancelled):
        run.wait(timeout=LIMIT)
    with pytest.raises(InvalidInput, match="did not run"):
        _ = run.task("double-it").outputs
    assert run.wait(check=False).state is RunState.CANCELLED


def test_a_failure_begins_with_the_users_traceback(failed: Run) -> None:
    with pytest.raises(TaskFailed) as caught:
        failed.wait()
    error = caught.value
    lines = str(error).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "return int(text) // by" in str(error)
    assert "mlplatform/launcher" not in str(error)
    assert "ZeroDivisionError: integer division or modulo by zero" in lines
    assert error.task == "divide"
    assert "replay()" in error.hint
    assert "resume()" in error.hint
    with pytest.raises(TaskFailed):
        _ = failed.outputs
    with pytest.raises(TaskFailed):
        _ = failed.task("divide").outputs
    assert failed.task("load").outputs["Output"] == 6
    assert failed.task("divide").log.startswith("text 6\n")
    assert "failed: ZeroDivisionError" in failed.task("divide").why()
    assert error._render_traceback_() == lines


def test_artifacts(failed: Run) -> None:
    data = failed.task("prepare").artifact("data")
    assert data.path.read_text() == "6"
    assert (data.type, data.metadata["rows"], data.size) == ("system.Dataset", 6, 1)
    assert failed.task("prepare").outputs["data"].digest == data.digest
    assert failed.task("divide").inputs["data"].uri == data.uri
    with pytest.raises(NotFound, match="no artifact 'dta'"):
        failed.task("prepare").artifact("dta")
    with pytest.raises(KeyError, match="nothing called"):
        _ = failed.task("prepare").outputs["dta"]
    data.path.rename(data.path.with_name("moved"))
    with pytest.raises(ml.MlPlatformError, match="no longer at"):
        _ = data.path
    Path(data.uri).with_name("moved").rename(data.uri)


def test_loops(loop: Run) -> None:
    square = loop.task("square")
    assert [task.outputs["Output"] for task in square.iterations] == [1, 4, 9]
    assert loop.task("square", 1).outputs["Output"] == 4
    assert loop.task("for-loop-1/square[2]").log == "item 3\n"
    with pytest.raises(InvalidInput, match="runs 3 times"):
        _ = square.outputs
    with pytest.raises(InvalidInput, match="is in 1 loops, not in 2"):
        loop.task("square", 1, 2)
    assert loop.task("for-loop-1").state is TaskState.SUCCEEDED
    assert loop.task("square", 7).record is None


@pytest.mark.parametrize(
    ("name", "hint"), [("laod", "Did you mean 'load'?"), ("zzz", "There is"), ("divide[1]", "in 0 loops")]
)
def test_names_that_mean_nothing(failed: Run, name: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        failed.task(name)
    assert hint in str(caught.value)


def test_attaching(home: Home, failed: Run) -> None:
    for reference in (failed.run_id, failed.run_id[:16], failed.name):
        assert ml.run(reference, home=home.root) == failed
    with pytest.raises(NotFound):
        ml.run("no-such-run", home=home.root)
    attached = Run(home, failed.run_id)
    assert attached.state is RunState.FAILED
    assert hash(attached) == hash(failed)
    assert attached.report()["state"] == "FAILED"
    assert attached.parameters == {}
    assert attached.experiment == "Default"
    assert attached.tag(owner="me").tags == {"owner": "me"}


def test_a_table_of_runs(home: Home, failed: Run, loop: Run) -> None:
    table = ml.runs(home=home.root)
    assert list(table.columns[:7]) == ["run_id", "name", "state", "experiment", "pipeline", "created", "seconds"]
    assert {failed.run_id, loop.run_id} <= set(table["run_id"])
    assert set(ml.runs(state="failed", home=home.root)["run_id"]) == {failed.run_id}
    assert list(ml.runs(pipeline="looped", limit=1, home=home.root)["run_id"]) == [loop.run_id]
    with pytest.raises(InvalidInput, match="no state"):
        ml.runs(state="done", home=home.root)


def test_nothing_ran_in_this_home(tmp_path: Path) -> None:
    assert len(ml.runs(home=tmp_path / "empty")) == 0
    with pytest.raises(NotFound, match="no run in"):
        ml.run(home=tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_deleting(home: Home, tmp_path: Path) -> None:
    run = start(home, looped(), tmp_path).wait(timeout=LIMIT)
    run.delete()
    assert repr(run) == f"<run {run.run_id} that is no longer there>"
    assert run._repr_mimebundle_() == {"text/plain": repr(run)}
