"""The last value of each metric, beside the outbox, and who may read it."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

from mlplatform.core.model import TaskKey
from mlplatform.core.states import TaskState
from mlplatform.tracking.ids import reserved_run_id
from mlplatform.tracking.latest import MOST, keep_latest, latest_metrics, logged_metrics
from mlplatform.tracking.queue import Queue
from tests.unit.tracking.conftest import task_record


def metric(key: str, value: Any, step: int = 0, timestamp: int = 1) -> dict[str, Any]:
    return {"key": key, "value": value, "step": step, "timestamp": timestamp}


def keep(queue: Queue, run: str, *metrics: dict[str, Any]) -> None:
    with queue.transaction() as db:
        keep_latest(db, run, metrics)


def test_the_largest_step_then_the_latest_time_then_the_largest_value(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    keep(queue, "a", metric("loss", 3.0, 2), metric("loss", 2.0, 3), metric("loss", 9.0, 1))
    keep(queue, "a", metric("loss", 7.0, 1, 99))
    assert latest_metrics(tmp_path, ["a"]) == {"a": {"loss": 2.0}}
    keep(queue, "a", metric("loss", 1.0, 3, 2))
    keep(queue, "a", metric("loss", 8.0, 3, 1))
    assert latest_metrics(tmp_path, ["a"]) == {"a": {"loss": 1.0}}
    keep(queue, "a", metric("loss", 0.5, 3, 2))
    assert latest_metrics(tmp_path, ["a"]) == {"a": {"loss": 1.0}}
    keep(queue, "a", metric("loss", 1.5, 3, 2))
    for _ in range(2):  # told again after a crash
        keep(queue, "a", metric("loss", 1.5, 3, 2), metric("accuracy", 0.5))
    assert latest_metrics(tmp_path, ["a", "b"]) == {"a": {"accuracy": 0.5, "loss": 1.5}}


def test_numbers_that_are_none(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    keep(queue, "a", metric("nan", "NaN"), metric("inf", "-Infinity"), metric("wrong", "seven"), metric("none", None))
    found = latest_metrics(tmp_path, ["a"])["a"]
    assert math.isnan(found.pop("nan"))
    assert found == {"inf": -math.inf, "none": 0.0}
    keep(queue, "a", metric("nan", 0.25, 1))
    assert latest_metrics(tmp_path, ["a"])["a"]["nan"] == 0.25


def test_a_run_with_very_many_metrics_keeps_the_first(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    keep(queue, "a", *(metric(f"m{number:04}", number) for number in range(MOST + 50)))
    keep(queue, "a", metric("m0000", 7.0, 1), metric("late", 1.0))
    keep(queue, "b", metric("late", 1.0))
    found = latest_metrics(tmp_path, ["a", "b"])
    assert len(found["a"]) == MOST
    assert (found["a"]["m0000"], found["a"][f"m{MOST - 1:04}"], "late" in found["a"]) == (7.0, MOST - 1, False)
    assert found["b"] == {"late": 1.0}


def test_reading_makes_and_needs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"
    assert latest_metrics(folder, ["a"]) == {}
    assert not folder.exists()
    queue = Queue(folder)
    keep(queue, "a", metric("loss", 1.0))
    assert latest_metrics(folder, ["a"]) == {"a": {"loss": 1.0}}, "while somebody has it open"
    queue.close()
    assert latest_metrics(folder, ["a"]) == {"a": {"loss": 1.0}}, "and while nobody has"
    (folder / "queue.db").write_bytes(b"no database" * 1000)
    assert latest_metrics(folder, ["a"]) == {}


def test_an_outbox_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with queue.transaction() as db:
        db.execute("INSERT INTO params VALUES ('a', 'rate', '1')")
        db.execute("DROP TABLE latest")
        db.execute("PRAGMA user_version=1")
    queue.close()
    assert latest_metrics(tmp_path, ["a"]) == {}
    for _ in range(2):
        queue = Queue(tmp_path)
        keep(queue, "a", metric("loss", 1.0))
        assert [tuple(row) for row in queue.rows("SELECT * FROM params")] == [("a", "rate", "1")]
        queue.close()
    assert latest_metrics(tmp_path, ["a"]) == {"a": {"loss": 1.0}}
    with sqlite3.connect(tmp_path / "queue.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_by_task_and_of_the_run_a_result_was_reused_from(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    keep(queue, reserved_run_id("r1", "loop/train", (2, 0)), metric("loss", 0.5))
    keep(queue, reserved_run_id("r1", "plain"), metric("loss", 0.25))
    train = TaskKey(("loop", "train"), (2, 0))
    tasks = [
        task_record(key=train),
        task_record("silent"),
        task_record("group", is_group=True),
        task_record("renamed", state=TaskState.CACHED, cached_from="r1:plain"),
    ]
    assert logged_metrics(tmp_path, "r1", tasks[:3]) == {"loop/train[2][0]": {"loss": 0.5}}
    again = [task_record(key=train, state=TaskState.CACHED, cached_from="r1:loop/train[2][0]"), *tasks[1:]]
    assert logged_metrics(tmp_path, "r2", again) == {"loop/train[2][0]": {"loss": 0.5}, "renamed": {"loss": 0.25}}
    assert logged_metrics(tmp_path, "r2", []) == {}
