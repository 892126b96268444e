"""Names: fitting, the same every time, one for each attempt."""

from __future__ import annotations

import re

import pytest

from mlplatform.core.model import TaskKey
from mlplatform.render.names import claim_name, pod_name, records_name, run_label, task_hash, workspace_name

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
KEY = TaskKey(("for-loop-1", "train"), (3,))


@pytest.mark.parametrize("run", ["a", "r" * 63, "r" * 253, "with.dots.in-it", "x" * 40 + ".y"])
@pytest.mark.parametrize("attempt", [1, 12, 1000])
def test_a_pods_name_is_a_label(run: str, attempt: int) -> None:
    name = pod_name(run, KEY, attempt)
    assert LABEL.fullmatch(name), name
    assert name.endswith(f"-{task_hash(KEY)}-{attempt}")
    assert LABEL.fullmatch(run_label(run))


def test_every_attempt_has_its_own() -> None:
    keys = [KEY, TaskKey(("for-loop-1", "train"), (4,)), TaskKey(("for-loop-1",), (3,)), TaskKey(("train",))]
    runs = ["r" * 100 + "a", "r" * 100 + "b", "short"]
    names = {pod_name(run, key, attempt) for run in runs for key in keys for attempt in (1, 2)}
    assert len(names) == len(runs) * len(keys) * 2


def test_what_else_a_run_has() -> None:
    assert records_name("run-a", 3) == "run-a-tasks-0003"
    assert workspace_name("run-a") == "run-a-workspace"
    assert claim_name("run-a", KEY, "-data") == f"run-a-{task_hash(KEY)}-data"
    assert len(records_name("r" * 253, 12)) <= 253
