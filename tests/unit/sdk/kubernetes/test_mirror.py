"""Objects of a cluster as the history that a server keeps."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidParameters, InvalidPipeline, NotFound
from mlplatform.core.queries import RunQuery
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.load import loads
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key, owner_reference
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from mlplatform.sdk.kubernetes.assembly import Cluster
from mlplatform.store import open_store
from mlplatform.store.runstore import SqlRunStore
from tests.support.kube.fake import FakeServer
from tests.support.pipelines import chain

AT = ("2027-01-15T08:00:01.000Z", "2027-01-15T08:00:02.000Z")


class Site:
    """A server's part on a cluster that is not there, with a real store."""

    def __init__(self, folder: Path) -> None:
        self.fake = FakeServer()
        self.fake.register(PIPELINE_RUNS, RECORDS)
        self.client = Client(self.fake)
        self.store: SqlRunStore = open_store(str(folder / "runs.db"))
        self.cluster = Cluster(self.client, "default", lambda: self.store, folder / "logs", environ={})
        self.fetched: list[tuple[Key, Path]] = []
        self.cluster.logs.ended = lambda pod, folder: self.fetched.append((pod, folder))  # pyright: ignore[reportAttributeAccessIssue]

    def submit(self, **more: Any) -> str:
        return self.cluster.service.submit({"document": chain(3).text(), "name": "My run", **more})

    def body(self, run_id: str) -> dict[str, Any]:
        place = self.store.get_run(run_id).context["kubernetes"]
        return self.client.get(PIPELINE_RUNS, Key(place["namespace"], place["name"]))

    def status(self, run_id: str, **status: Any) -> None:
        self.client.replace_status(PIPELINE_RUNS, {**self.body(run_id), "status": status})

    def record(self, run_id: str, index: int, *tasks: dict[str, Any]) -> None:
        run = self.body(run_id)
        meta = {
            "name": f"{run['metadata']['name']}-tasks-{index}",
            "namespace": "default",
            "ownerReferences": [owner_reference(run)],
        }
        spec = {"run": run["metadata"]["name"], "index": index, "tasks": list(tasks)}
        self.client.create(RECORDS, {"metadata": meta, "spec": spec})

    def look(self) -> None:
        self.cluster.mirror.refresh()

    def states(self, run_id: str) -> list[TaskState]:
        return [task.state for task in self.store.tasks(run_id)]


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    made = Site(tmp_path)
    yield made
    made.cluster.close()
    made.store.close()


def task(site: Site, run_id: str, at: int, state: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "path": [list(chain(3).tasks)[at]],
        "state": state,
        "attempt": 1,
        "pod": "p",
        "startedAt": AT[0],
        **more,
    }
    if state != "RUNNING":
        given["finishedAt"] = AT[1]
    if state == "SUCCEEDED":
        given["outputs"] = {"parameters": {"Output": at + 1}, "artifacts": {}}
    return given


def test_a_run_that_is_submitted_is_there_at_once(site: Site) -> None:
    run_id = site.submit(tags={"team": "red"}, experiment="e")
    run = site.store.get_run(run_id)
    assert (run.name, run.state, run.experiment, dict(run.tags)) == ("My run", RunState.PENDING, "e", {"team": "red"})
    body = site.body(run_id)
    assert body["metadata"]["name"].startswith("my-run-")
    assert body["spec"]["displayName"] == "My run"
    assert site.store.tasks(run_id) == []


def test_what_happens_to_it_is_kept_once(site: Site) -> None:
    run_id = site.submit()
    site.status(run_id, state="RUNNING", startedAt=AT[0], tasks=[task(site, run_id, 0, "RUNNING")])
    site.look()
    assert site.states(run_id) == [TaskState.RUNNING, TaskState.PENDING, TaskState.PENDING]
    before = site.store.last_event()
    site.look()
    assert site.store.last_event() == before
    site.record(run_id, 0, task(site, run_id, 0), task(site, run_id, 1))
    failed = task(site, run_id, 2, "FAILED", failures=1, final=True, error={"code": "TASK_FAILED", "message": "no"})
    site.status(run_id, state="FAILED", startedAt=AT[0], finishedAt=AT[1], tasks=[failed],
                error={"code": "TASK_FAILED", "message": "task failed: no"})  # fmt: skip
    site.look()
    assert site.states(run_id) == [TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.FAILED]
    run = site.store.get_run(run_id)
    assert (run.state, run.error and run.error.message) == (RunState.FAILED, "task failed: no")
    kinds = [(event.kind, event.body["state"]) for event in site.store.events(run_id=run_id)]
    assert kinds.count(("run", "FAILED")) == 1
    assert kinds.count(("task", "RUNNING")) == 1
    before = site.store.last_event()
    site.look()
    assert site.store.last_event() == before
    assert len(site.fetched) == 3
    assert site.fetched[0][1] != site.fetched[1][1]


def test_history_outlives_the_object(site: Site) -> None:
    run_id = site.submit()
    place = site.body(run_id)["metadata"]
    site.client.delete(PIPELINE_RUNS, Key("default", place["name"]))
    site.look()
    assert site.store.get_run(run_id).name == "My run"
    with pytest.raises(NotFound, match="history"):
        site.cluster.service.cancel(run_id)


def test_a_server_that_comes_back_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    run_id = site.submit()
    site.status(run_id, state="RUNNING", startedAt=AT[0], tasks=[task(site, run_id, 0, "RUNNING")])
    site.look()
    events = site.store.last_event()
    again = Cluster(site.client, "default", lambda: site.store, tmp_path / "logs", environ={})
    again.mirror.refresh()
    assert site.store.last_event() == events
    again.close()


def test_cancel_and_resume_change_the_object(site: Site) -> None:
    run_id = site.submit()
    site.cluster.service.cancel(run_id)
    assert site.body(run_id)["spec"]["cancel"] is True
    site.cluster.service.resume(run_id, env={}, interpreter={})
    spec = site.body(run_id)["spec"]
    assert (spec.get("cancel"), spec["resume"]) == (None, 1)
    site.cluster.service.delete(run_id)
    assert site.store.run_page(RunQuery()) == []
    assert site.client.list(PIPELINE_RUNS, "default").items == []


def test_a_platforms_part_goes_beside_its_pipeline(site: Site) -> None:
    task = next(iter(chain(1).tasks))
    document = json.loads(chain(1).text())
    component = document["root"]["dag"]["tasks"][task]["componentRef"]["name"]
    label = document["components"][component]["executorLabel"]
    settings = {"deploymentSpec": {"executors": {label: {"podMetadata": {"labels": {"a": "b"}}}}}}
    text = chain(1).text() + "\n---\n" + json.dumps({"platforms": {"kubernetes": settings}})
    run_id = site.submit(document=text)
    spec = site.body(run_id)["spec"]
    assert "document" not in spec
    assert spec["pipelineSpec"]["root"]["dag"]["tasks"].keys() == {task}
    assert spec["platformSpec"] == {"platforms": {"kubernetes": settings}}
    stored = site.store.document(site.store.get_run(run_id).spec_digest)
    assert loads(stored) == loads(text)


def test_what_is_wrong_is_told_before_anything_is_made(site: Site) -> None:
    with pytest.raises(InvalidPipeline):
        site.submit(document="{}")
    with pytest.raises(InvalidParameters):
        site.submit(parameters={"nobody": 1})
    assert site.client.list(PIPELINE_RUNS, "default").items == []
