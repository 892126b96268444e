"""Objects of a cluster as the records that a run on one machine has."""

from __future__ import annotations

from collections.abc import Sequence

from mlplatform.apis.codec import encode
from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import ErrorStatus, PipelineRun, PipelineRunSpec, PipelineRunStatus, TaskStatus
from mlplatform.apis.taskrecords import TaskRecordsSpec
from mlplatform.apis.times import told_time
from mlplatform.core.model import TaskError, TaskKey, TaskRecord
from mlplatform.core.states import RunState, TaskState
from mlplatform.sdk.kubernetes.history import Whole, run_id_of
from mlplatform.sdk.kubernetes.history import whole as whole_of
from tests.support.pipelines import chain

NOW = 1_800_000_000.0


def whole(run: PipelineRun, chunks: Sequence[TaskRecordsSpec], now: float) -> Whole:
    """Read from the objects as the API server would have them."""
    body = pipeline_run_object(run.name, run.namespace, run.spec, uid=run.uid)
    body["metadata"]["creationTimestamp"] = told_time(run.created_at)
    body["status"] = encode(run.status)
    return whole_of(body, [{"spec": encode(chunk)} for chunk in chunks], now)


def a_run(uid: str = "6f1c", created: float = NOW, **status: object) -> PipelineRun:
    spec = PipelineRunSpec(document=chain(3).text(), experiment="e")
    status = {"started_at": "2027-01-15T08:00:00.000Z", **status}
    return PipelineRun("first", "team", uid, created_at=created, spec=spec, status=PipelineRunStatus(**status))  # pyright: ignore[reportArgumentType]


def ended(number: int, **more: object) -> TaskStatus:
    given: dict[str, object] = {
        "state": TaskState.SUCCEEDED,
        "attempt": 1,
        "pod": f"first-{number}-1",
        "outputs": {"parameters": {"Output": number + 1}, "artifacts": {}},
        "started_at": "2027-01-15T08:00:01.000Z",
        "finished_at": "2027-01-15T08:00:02.500Z",
        **more,
    }
    return TaskStatus(path=(f"t{number}",), **given)  # pyright: ignore[reportArgumentType]


def names() -> list[str]:
    return list(chain(3).tasks)


def table(run: PipelineRun, *chunks: TaskRecordsSpec) -> dict[str, TaskRecord]:
    return {task.key.name: task for task in whole(run, chunks, NOW).tasks}


def test_a_run_that_just_began_has_the_tasks_of_its_document() -> None:
    found = whole(a_run(state=RunState.RUNNING), [], NOW)
    assert [task.state for task in found.tasks] == [TaskState.QUEUED, TaskState.PENDING, TaskState.PENDING]
    assert (found.run.state, found.run.experiment, found.run.parameters) == (RunState.RUNNING, "e", {})
    assert found.run.context["kubernetes"] == {"namespace": "team", "name": "first", "uid": "6f1c"}
    assert found.document == chain(3).text().encode()


def test_records_and_status_together_are_the_run() -> None:
    first, second, third = names()
    done = [TaskStatus(path=(first,), state=TaskState.SUCCEEDED, attempt=1, pod="p", finished_at="2027-01-15T08:00:02Z",
                       outputs={"parameters": {"Output": 1}, "artifacts": {}})]  # fmt: skip
    failed = TaskStatus(
        path=(second,), state=TaskState.FAILED, attempt=1, failures=1, pod="q", final=True,
        error=ErrorStatus("TASK_FAILED", "no", "Traceback", "mend it"),
    )  # fmt: skip
    run = a_run(tasks=(failed,), state=RunState.FAILED)
    found = table(run, TaskRecordsSpec("first", 0, tuple(done)))
    assert (found[first].state, found[first].outputs.parameters) == (TaskState.SUCCEEDED, {"Output": 1})
    assert (found[second].state, found[second].error) == (
        TaskState.FAILED,
        TaskError("TASK_FAILED", "no", "Traceback", "mend it"),
    )
    assert found[third].state is TaskState.SKIPPED
    attempts = whole(run, [TaskRecordsSpec("first", 0, tuple(done))], NOW).attempts
    assert [(attempt.key, attempt.attempt, attempt.state) for attempt in attempts] == [
        (TaskKey((first,)), 1, TaskState.SUCCEEDED),
        (TaskKey((second,)), 1, TaskState.FAILED),
    ]


def test_the_last_word_on_a_task_counts() -> None:
    first = names()[0]
    old = TaskStatus(path=(first,), state=TaskState.FAILED, attempt=1, failures=1, pod="p", final=True)
    new = TaskStatus(path=(first,), state=TaskState.SUCCEEDED, attempt=2, pod="p2",
                     outputs={"parameters": {"Output": 5}, "artifacts": {}})  # fmt: skip
    chunks = [TaskRecordsSpec("first", 1, (new,)), TaskRecordsSpec("first", 0, (old,))]
    assert table(a_run(), *chunks)[first].outputs.parameters == {"Output": 5}


def test_what_a_task_waits_for_is_told() -> None:
    first = names()[0]
    waiting = TaskStatus(path=(first,), state=TaskState.RUNNING, attempt=1, pod="p", waiting_for="a node with a GPU")
    assert table(a_run(tasks=(waiting,)))[first].waiting_for == "a node with a GPU"


def test_ids_are_in_the_order_of_creation_and_of_the_object_not_of_its_name() -> None:
    one, two, later = a_run("u1"), a_run("u2"), a_run("u1", NOW + 1)
    assert len({run_id_of(run) for run in (one, two, later)}) == 3
    assert max(run_id_of(one), run_id_of(two)) < run_id_of(later)
    assert run_id_of(one) == run_id_of(a_run("u1", state=RunState.FAILED))


def test_a_document_that_cannot_be_read_leaves_what_the_status_says() -> None:
    status = PipelineRunStatus(state=RunState.FAILED, error=ErrorStatus("INVALID_PIPELINE", "no"))
    run = PipelineRun("bad", "team", "u", created_at=NOW, spec=PipelineRunSpec(document="{"), status=status)
    found = whole(run, [], NOW)
    assert (found.run.state, found.run.name, found.tasks) == (RunState.FAILED, "bad", ())
    assert found.run.error is not None
    assert found.run.error.code == "INVALID_PIPELINE"


def test_tags_are_labels_of_ones_own_and_what_fits_no_label() -> None:
    body = pipeline_run_object("r", "team", PipelineRunSpec(document=chain(1).text()), uid="u")
    body["metadata"] |= {
        "creationTimestamp": "2027-01-15T08:00:00Z",
        "labels": {"team": "red", "pipelines.mlplatform.dev/recurring-run": "x"},
        "annotations": {"pipelines.mlplatform.dev/tags": '{"why": "a b"}'},
    }
    found = whole_of(body, [], NOW)
    assert dict(found.run.tags) == {"team": "red", "why": "a b"}
    assert found.run.created_at == NOW
