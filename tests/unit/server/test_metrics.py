"""Numbers of runs under names that are the same in all of them."""

from __future__ import annotations

from mlplatform.core.model import Artifact, TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.server.metrics import metrics_of


def task(path: str, outputs: Values, iteration: tuple[int, ...] = (), group: bool = False) -> TaskRecord:
    key = TaskKey(tuple(path.split("/")), iteration)
    return TaskRecord(key, TaskState.SUCCEEDED, outputs=outputs, is_group=group)


def test_numbers_that_tasks_logged_or_returned() -> None:
    metrics = Artifact("m", "/m", "system.Metrics", {"loss": 0.1, "epochs": 3, "name": "best", "good": True})
    model = Artifact("model", "/model", "system.Model", {"size": 7})
    tasks = [
        task("train", Values({"Output": 0.5, "text": "no", "flag": True}, {"m": metrics, "model": model}), (3,)),
        task("loop/many", Values({}, {"ms": (metrics, metrics)})),
        task("group", Values({"Output": 1.0}), group=True),
        task("wild", Values({"Output": float("inf")})),
    ]
    assert metrics_of(tasks) == {
        "train[3]/Output": 0.5,
        "train[3]/loss": 0.1,
        "train[3]/epochs": 3.0,
        "loop/many/loss": 0.1,
        "loop/many/epochs": 3.0,
    }


def test_what_was_logged_in_mlflow_yields_to_what_the_platform_knows() -> None:
    metrics = Artifact("m", "/m", "system.Metrics", {"loss": 0.1})
    tasks = [task("train", Values({"Output": 0.5}, {"m": metrics}), (3,)), task("other", Values({"loss": 0.75}))]
    logged = {
        "train[3]": {"loss": 9.0, "accuracy": 0.9, "nan": float("nan")},
        "other": {"loss": 2.0, "inf": float("inf")},
    }
    assert metrics_of(tasks, logged) == {
        "train[3]/loss": 0.1,
        "train[3]/accuracy": 0.9,
        "train[3]/Output": 0.5,
        "other/loss": 0.75,
    }
    assert metrics_of(tasks, logged, returned=False) == {
        "train[3]/loss": 0.1,
        "train[3]/accuracy": 0.9,
        "other/loss": 2.0,
    }
