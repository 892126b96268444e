"""A task of a run, by itself."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from mlplatform.core.model import TaskKey
from mlplatform.core.states import TaskState
from mlplatform.ir.load import loads
from mlplatform.sdk import run_task
from mlplatform.sdk.run_reading import Place, places
from mlplatform.sdk.run_task import Task
from tests.support.pipelines import Builder


class Known(Task):
    """A task that several ranks run, as far as anybody knows."""

    known: Any = None

    @property
    def record(self) -> Any:
        return self.known

    def _read(self) -> Any:
        return SimpleNamespace(run=None)


def task(state: TaskState, trains: bool = True) -> Known:
    made = Known(SimpleNamespace(client=SimpleNamespace(home=None)), Place(("train",), False, 0, trains), ())  # pyright: ignore[reportArgumentType]
    made.known = SimpleNamespace(key=TaskKey(("train",)), state=state)
    return made


@pytest.mark.parametrize(
    ("state", "trains", "asked", "there"),
    [
        (TaskState.RUNNING, True, 3, True),
        (TaskState.PENDING, True, 1, False),
        (TaskState.CACHED, True, 1, False),
        (TaskState.RUNNING, False, 1, False),
    ],
)
def test_a_job_that_is_just_being_made_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, state: TaskState, trains: bool, asked: int, there: bool
) -> None:
    answers = [None, None, "the job"]
    seen: list[object] = []

    def of_task(*_: object) -> object:
        seen.append(answers[len(seen)])
        return seen[-1]

    monkeypatch.setattr("mlplatform.sdk.training.backends.of_task", of_task)
    assert (task(state, trains).training is not None) is there
    assert len(seen) == asked


def test_one_that_never_comes_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplatform.sdk.training.backends.of_task", lambda *_: None)
    monkeypatch.setattr(run_task, "_COMING", 0.3)
    assert task(TaskState.RUNNING).training is None


def test_the_document_says_which_tasks_several_ranks_run() -> None:
    builder = Builder("p")
    for name in ("train", "plain"):
        builder.component(name, f"def {name}() -> int:\n    return 1\n", outputs={"Output": "NUMBER_INTEGER"})
        builder.task(name)
    plain = loads(builder.text())
    assert [place.trains for place in places(plain).values()] == [False, False]
    label = plain.components["comp-train"].executor_label
    training = {"training": {"framework": "python", "groups": [{"name": "worker"}]}}
    own = {"mlplatform": {"deploymentSpec": {"executors": {label: training}}}}
    whole = places(loads(f"{builder.text()}\n---\n{json.dumps({'platforms': own})}\n"))
    assert {place.path[0]: place.trains for place in whole.values()} == {"train": True, "plain": False}
