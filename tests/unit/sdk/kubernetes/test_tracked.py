"""What MLflow is told of a cluster's runs: once, in order, and before it is kept."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.core.states import RunState
from mlplatform.engine.ports import TrackingEnvironment
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from mlplatform.sdk.kubernetes.assembly import Cluster
from mlplatform.store import open_store
from mlplatform.store.runstore import SqlRunStore
from tests.support.kube.fake import FakeServer
from tests.support.pipelines import chain

TIMES = [f"2027-01-15T08:00:{second:02}.000Z" for second in range(10)]


class Told:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.broken = False

    def _say(self, words: str) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.said.append(words)

    def run_started(self, run: RunRecord) -> str:
        self._say("run")
        return f"mlflow-{run.run_id}"

    def task_environment(self, run: RunRecord, key: TaskKey, attempt: int) -> TrackingEnvironment:
        return TrackingEnvironment({})

    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        return {"MLFLOW_RUN_ID": run.run_id}

    def task_finished(self, run: RunRecord, task: TaskRecord) -> str:
        assert run.mlflow_run_id
        self._say(f"{task.key} {task.state} {task.attempt}")
        return f"mlflow-{task.key}" if task.key.name == "t0" else ""

    def run_finished(self, run: RunRecord) -> None:
        self._say(f"run {run.state}")

    def ui_url(self, run: RunRecord) -> str:
        return ""

    def close(self) -> None:
        self.said.append("closed")


class Site:
    def __init__(self, folder: Path) -> None:
        self.fake = FakeServer()
        self.fake.register(PIPELINE_RUNS, RECORDS)
        self.client = Client(self.fake)
        self.store: SqlRunStore = open_store(str(folder / "runs.db"))
        self.folder = folder
        self.told = Told()
        self.cluster = self.opened()
        self.run_id = self.cluster.service.submit({"document": chain(2).text(), "name": "My run"})
        self.tasks = list(chain(2).tasks)

    def opened(self) -> Cluster:
        made = Cluster(self.client, "default", lambda: self.store, self.folder / "logs", environ={}, tracker=self.told)
        made.logs.ended = lambda pod, folder: None  # pyright: ignore[reportAttributeAccessIssue]
        return made

    def status(self, state: str, *tasks: dict[str, Any]) -> None:
        place = self.store.get_run(self.run_id).context["kubernetes"]
        body = self.client.get(PIPELINE_RUNS, Key(place["namespace"], place["name"]))
        told: dict[str, Any] = {"state": state, "startedAt": TIMES[0], "tasks": list(tasks)}
        if state in ("SUCCEEDED", "FAILED"):
            told["finishedAt"] = TIMES[9]
        self.client.replace_status(PIPELINE_RUNS, {**body, "status": told})

    def task(self, index: int, state: str, attempt: int = 1) -> dict[str, Any]:
        told: dict[str, Any] = {"path": [self.tasks[index]], "state": state, "attempt": attempt}
        told |= {"pod": "p", "startedAt": TIMES[1]}
        if state == "SUCCEEDED":
            told["outputs"] = {"parameters": {"Output": index + 1}, "artifacts": {}}
        return {**told, "finishedAt": TIMES[1 + attempt]} if state in ("SUCCEEDED", "FAILED") else told

    def look(self) -> None:
        self.cluster.mirror.refresh()


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    made = Site(tmp_path)
    yield made
    made.cluster.close()
    made.store.close()


def test_a_run_is_told_as_it_goes_and_nothing_twice(site: Site) -> None:
    first, second = site.tasks
    site.look()
    assert site.told.said == []  # it has not begun
    site.status("RUNNING", site.task(0, "RUNNING"))
    for _ in range(2):
        site.look()
    assert site.told.said == ["run"]
    assert site.store.get_run(site.run_id).mlflow_run_id == f"mlflow-{site.run_id}"
    site.status("RUNNING", site.task(0, "SUCCEEDED"), site.task(1, "RUNNING"))
    for _ in range(2):
        site.look()
    site.status("SUCCEEDED", site.task(0, "SUCCEEDED"), site.task(1, "SUCCEEDED", 2))
    for _ in range(2):
        site.look()
    assert site.told.said == ["run", f"{first} SUCCEEDED 1", f"{second} SUCCEEDED 2", "run SUCCEEDED"]
    assert site.store.get_run(site.run_id).mlflow_run_id == f"mlflow-{site.run_id}"


def test_another_process_goes_on_where_this_one_died(site: Site) -> None:
    site.status("RUNNING", site.task(0, "SUCCEEDED"))
    site.look()
    site.cluster = site.opened()
    site.look()
    assert site.told.said == ["run", f"{site.tasks[0]} SUCCEEDED 1"]


def test_what_could_not_be_told_is_told_later(site: Site) -> None:
    site.status("SUCCEEDED", site.task(0, "SUCCEEDED"), site.task(1, "SUCCEEDED"))
    site.told.broken = True
    with pytest.raises(OSError, match="full"):
        site.look()
    assert site.store.get_run(site.run_id).state is RunState.PENDING  # nothing is kept that was not told
    site.told.broken = False
    site.look()
    assert site.told.said[0] == "run"
    assert site.told.said[-1] == "run SUCCEEDED"
    assert site.store.get_run(site.run_id).state is RunState.SUCCEEDED


def test_a_run_that_goes_on_is_told_anew(site: Site) -> None:
    site.status("FAILED", site.task(0, "FAILED"))
    site.look()
    site.status("RUNNING", site.task(0, "RUNNING", 2))
    site.look()
    site.status("SUCCEEDED", site.task(0, "SUCCEEDED", 2), site.task(1, "SUCCEEDED"))
    site.look()
    words = [word.partition(" ")[2] if word.startswith("run ") else word for word in site.told.said]
    assert words[0] == "run"
    assert words.count("run") == 2
    assert words[-1] == "SUCCEEDED"
