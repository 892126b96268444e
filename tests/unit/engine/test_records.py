"""Pure bookkeeping of the engine: ledger, facts, outcomes, resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidParameters, InvalidTransition, NotFound
from mlplatform.core.model import TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.engine.attempts import claim
from mlplatform.engine.ports import Exit
from mlplatform.engine.records import Ledger, facts_of, task_event
from mlplatform.engine.result import outcome
from mlplatform.engine.submission import keep_private, read_private, read_setup
from mlplatform.engine.why import find_task, sentence
from mlplatform.planning.model import RecordTask, StartTask, TaskFact

KEY = TaskKey(("a",))


def start(attempt: int = 1) -> StartTask:
    return StartTask(KEY, attempt, "comp-a", "exec-a", Values({"x": 1}))


def test_a_task_goes_from_start_to_success() -> None:
    ledger = Ledger()
    ledger.start(start(), 1.0)
    assert [r.state for r in ledger.take()] == [TaskState.QUEUED]
    ledger.fact(TaskFact(KEY, TaskState.SUCCEEDED, 1, outputs=Values({"y": 2}), finished_at=3.0), 4.0)
    (record,) = ledger.take()
    assert (record.state, record.outputs.parameters, record.finished_at) == (TaskState.SUCCEEDED, {"y": 2}, 3.0)
    assert ledger.take() == []


def test_a_failure_that_is_retried_is_recorded_as_retrying() -> None:
    ledger = Ledger()
    ledger.start(start(), 1.0)
    ledger.take()
    ledger.fact(TaskFact(KEY, TaskState.FAILED, 1, 1, error=TaskError("TASK_FAILED", "boom"), finished_at=2.0), 2.0)
    ledger.derived(RecordTask(KEY, TaskState.RETRYING, retry_at=5.0), 2.0)
    (record,) = ledger.take()
    assert (record.state, record.retry_at, record.failures) == (TaskState.RETRYING, 5.0, 1)
    assert record.error == TaskError("TASK_FAILED", "boom")
    assert facts_of([record])[KEY].state is TaskState.FAILED


def test_a_forbidden_change_is_not_taken() -> None:
    ledger = Ledger([TaskRecord(KEY, TaskState.SUCCEEDED, attempt=1)])
    ledger.put(TaskRecord(KEY, TaskState.RUNNING, attempt=1))
    with pytest.raises(InvalidTransition):
        ledger.take()


def test_deriving_a_finished_group_again_keeps_its_times() -> None:
    group = TaskRecord(KEY, TaskState.SUCCEEDED, is_group=True, started_at=1.0, finished_at=2.0)
    ledger = Ledger([group])
    ledger.derived(RecordTask(KEY, TaskState.RUNNING, is_group=True), 9.0)
    ledger.derived(RecordTask(KEY, TaskState.SUCCEEDED, is_group=True), 9.0)
    ledger.take()
    assert (ledger[KEY].started_at, ledger[KEY].finished_at) == (1.0, 2.0)


def test_facts_leave_out_what_the_planner_derives() -> None:
    records = [
        TaskRecord(TaskKey(("group",)), TaskState.RUNNING, is_group=True),
        TaskRecord(TaskKey(("skipped",)), TaskState.SKIPPED),
        TaskRecord(TaskKey(("never-started",)), TaskState.FAILED, attempt=0),
        TaskRecord(TaskKey(("queued",)), TaskState.QUEUED, attempt=2),
        TaskRecord(TaskKey(("hit",)), TaskState.CACHED, attempt=1),
    ]
    assert {key.name: fact.state for key, fact in facts_of(records).items()} == {
        "queued": TaskState.RUNNING,
        "hit": TaskState.CACHED,
    }


def test_an_outcome_keeps_lists_as_lists(tmp_path: Path) -> None:
    artifact = {"uri": "/x", "type": "system.Model", "metadata": {}, "digest": "sha256:1", "size": 1}
    result = {"state": "SUCCEEDED", "parameters": {"n": 1}, "artifacts": {"one": [artifact], "many": [artifact]}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    got = outcome(tmp_path, Exit(0), frozenset({"many"}))
    assert got.succeeded
    assert got.values.artifacts["one"].uri == "/x"  # type: ignore[union-attr]
    assert [a.name for a in got.values.artifacts["many"]] == ["many"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("exit_", "code", "text"),
    [
        (Exit(None, 9), "PROCESS_DIED", "SIGKILL"),
        (Exit(None, 11), "PROCESS_DIED", "SIGSEGV"),
        (Exit(3), "PROCESS_DIED", "status 3"),
        (Exit(None, lost=True), "LOST", "lost"),
        (None, "LOST", "lost"),
    ],
)
def test_a_process_without_a_result_says_how_it_died(tmp_path: Path, exit_: Exit | None, code: str, text: str) -> None:
    got = outcome(tmp_path, exit_, frozenset())
    assert not got.succeeded
    assert got.error is not None
    assert got.error.code == code
    assert text in got.error.message
    assert got.lost is (code == "LOST")


def test_a_claim_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    assert claim(path) is None
    assert claim(path) == {}
    path.write_text('{"pid": 7}')
    assert claim(path) == {"pid": 7}


def test_the_environment_is_kept_private_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    keep_private(path, {"A": "é", "B": "\udcff"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private(path) == {"A": "é", "B": "\udcff"}
    assert read_private(tmp_path / "none.json") == {}


def test_a_bad_setup_file_says_everything_without_its_values(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    path.write_text(json.dumps({"secrets": {"s": {"k": 1}, "t": "hidden-value"}, "volumes": {}}))
    with pytest.raises(InvalidParameters) as caught:
        read_setup(str(path))
    assert [f.path for f in caught.value.findings] == ["volumes", "secrets.s", "secrets.t"]
    assert "hidden-value" not in str(caught.value)


def test_find_task_by_path_name_and_iteration() -> None:
    records = [TaskRecord(TaskKey(("loop", "train"), (i,)), TaskState.SUCCEEDED) for i in range(2)] + [
        TaskRecord(TaskKey(("load",)), TaskState.SUCCEEDED)
    ]
    assert find_task(records, "load").key.name == "load"
    assert find_task(records, "train[1]").key.iteration == (1,)
    assert find_task(records, "loop/train[0]").key.iteration == (0,)
    with pytest.raises(NotFound, match="several"):
        find_task(records, "train")
    with pytest.raises(NotFound, match="there is no task"):
        find_task(records, "evaluate")


def test_why_is_one_sentence() -> None:
    assert sentence(TaskRecord(KEY, TaskState.SUCCEEDED, cache_note="parameter 'x' changed: 1 -> 2")) == (
        "ran because parameter 'x' changed: 1 -> 2"
    )
    assert task_event(TaskRecord(KEY, TaskState.QUEUED, waiting_for="resources"))["note"] == "resources"
