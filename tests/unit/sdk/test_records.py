"""Finding tasks by what people call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.core.errors import NotFound
from mlplatform.core.model import AttemptRecord, TaskKey, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.home import open_home
from mlplatform.sdk.records import log_files, matching_tasks, open_records, read_report


def task(path: str, *iteration: int, group: bool = False) -> TaskRecord:
    return TaskRecord(TaskKey(tuple(path.split("/")), iteration), TaskState.SUCCEEDED, is_group=group)


TASKS = [
    task("load"),
    task("for-loop-1", group=True),
    *(task("for-loop-1/train", index) for index in range(3)),
    *(task("for-loop-1/for-loop-2/fit", index, inner) for index in range(2) for inner in range(2)),
    task("train"),
]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("load", ["load"]),
        ("train", ["train"]),
        ("for-loop-1/train", [f"for-loop-1/train[{i}]" for i in range(3)]),
        ("for-loop-1/train[1]", ["for-loop-1/train[1]"]),
        ("fit[1]", ["for-loop-1/for-loop-2/fit[1][0]", "for-loop-1/for-loop-2/fit[1][1]"]),
        ("fit[1][0]", ["for-loop-1/for-loop-2/fit[1][0]"]),
        ("for-loop-2[0]", ["for-loop-1/for-loop-2/fit[0][0]", "for-loop-1/for-loop-2/fit[0][1]"]),
        ("train[2]", ["for-loop-1/train[2]"]),
    ],
)
def test_names(reference: str, found: list[str]) -> None:
    assert [str(each.key) for each in matching_tasks(TASKS, reference)] == found


@pytest.mark.parametrize(
    ("reference", "hint"), [("laod", "Did you mean 'load'?"), ("load[3]", "Did you mean 'load'?"), ("zzz", "There is")]
)
def test_nothing_of_that_name(reference: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        matching_tasks(TASKS, reference)
    assert caught.value.hint.startswith(hint)


def test_the_log_of_the_last_attempt() -> None:
    key = TaskKey(("t",))
    attempts = [AttemptRecord(key, n, TaskState.FAILED, f"/r/t/{n}") for n in (2, 1)]
    assert log_files(attempts) == {key: "/r/t/2/task.log"}


def test_looking_makes_nothing(tmp_path: Path) -> None:
    home = open_home(tmp_path / "h")
    with pytest.raises(NotFound, match="no run in"), open_records(home):
        pass
    with pytest.raises(NotFound):
        read_report(home, "latest")
    assert not home.root.exists()
