"""Pods of tasks that end as a test says, at once: for what the controller does, not what tasks compute."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlplatform.apis.names import ANNOTATION_TASK
from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.apis.times import told_time
from mlplatform.controllers.framework.manager import Manager
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.controllers.pipelinerun.lookups import ServerLookups
from mlplatform.kube.client import Client
from mlplatform.kube.objects import PODS, Key, Object, key_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.kube.wire import Transport
from mlplatform.render.settings import PodSettings
from mlplatform.sdk.kubernetes.reading import read_objects, records_of
from tests.support.kube.fake import FakeServer
from tests.support.kube.toy import manager

RUN = Key("default", "run-a")
START = 1_700_000_000.0

#: (task and iteration, attempt, request) -> output parameters, or an exception that is the task's failure.
Act = Callable[[str, int, dict[str, Any]], dict[str, Any]]


class Gone(Exception):
    """The pod is lost with its node."""


def message(state: str, at: float, **more: Any) -> str:
    return json.dumps({"mlplatform": 1, "state": state, "finished_at": at, **more})


@dataclass
class Stage:
    """A fake API server, an operator (or several lives of one), and pods that act."""

    act: Act
    spec: PipelineRunSpec
    clock: list[float] = field(default_factory=lambda: [START])
    started: list[str] = field(default_factory=list[str])
    key: Key = RUN
    #: What the kubelet tells of every image; whether pods find earlier results as they were.
    digest: str = "sha256:" + "a" * 64
    stale: str = ""

    def __post_init__(self) -> None:
        self.fake = FakeServer(lambda: self.clock[0])
        for resource in (PIPELINE_RUNS, RECORDS, TRAINING_JOBS):
            self.fake.register(resource)
        self.client = Client(self.fake)
        self.client.create(PIPELINE_RUNS, pipeline_run_object(self.key.name, self.key.namespace, self.spec))
        self.operator = self.start()

    def start(self, transport: Transport | None = None) -> Manager:
        """A new process of the operator."""
        lookups = ServerLookups(Client(transport or self.fake), lambda: self.clock[0])
        controllers = (PipelineRuns(PodSettings(), lookups=lookups),)
        return manager(transport or self.fake, controllers, now=lambda: self.clock[0])

    def again(self, name: str, spec: PipelineRunSpec | None = None, namespace: str = "default") -> Object:
        """Another run, to its end."""
        self.submit(name, spec, namespace)
        return self.play()

    def submit(self, name: str, spec: PipelineRunSpec | None = None, namespace: str = "default") -> None:
        self.key, self.spec = Key(namespace, name), spec or self.spec
        self.clock[0] += 10
        self.client.create(PIPELINE_RUNS, pipeline_run_object(name, namespace, self.spec))

    def pods(self) -> list[Object]:
        return [
            pod for pod in self.client.list(PODS).items if pod["status"].get("phase") in (None, "Pending", "Running")
        ]

    def finish(self, pod: Object) -> None:
        """Let a pod run to its end."""
        task = pod["metadata"]["annotations"][ANNOTATION_TASK]
        attempt = int(pod["metadata"]["name"].rpartition("-")[2])
        env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
        request = json.loads((env["MLPLATFORM_REQUEST"] or "").replace("$$", "$"))
        self.started.append(f"{task}:{attempt}")
        at = self.clock[0]
        status: dict[str, Any] = {"phase": "Succeeded"}
        ended: dict[str, Any] = {"exitCode": 0, "startedAt": told_time(at)}
        if pod["metadata"].get("deletionTimestamp"):
            status["phase"], ended["exitCode"], ended["message"] = "Failed", 143, message("TERMINATED", at)
        else:
            earlier = request.get("reuse")
            try:
                if earlier and not self.stale:
                    told = {name: earlier[name] for name in ("parameters", "artifacts")}
                    cached = {name: earlier[name] for name in ("source", "image")}
                    ended["message"] = message("CACHED", at, cached=cached, **told)
                else:
                    more = {"note": self.stale} if earlier else {}
                    given = self.act(task, attempt, request)
                    peers, artifacts = given.pop("peers", []), given.pop("artifacts", {})
                    more |= {"peers": peers, "artifacts": artifacts}
                    ended["message"] = message("SUCCEEDED", at, parameters=given, **more)
            except Gone:
                status |= {"phase": "Failed", "reason": "NodeLost"}
                ended = {}
            except ValueError as failure:
                error = {"code": "TASK_FAILED", "message": str(failure)}
                status["phase"], ended["exitCode"] = "Failed", 1
                ended["message"] = message("FAILED", at, error=error)
        if ended:
            image = f"registry/work@{self.digest}"
            status["containerStatuses"] = [{"name": "main", "imageID": image, "state": {"terminated": ended}}]
        fresh = self.client.get(PODS, key_of(pod))
        self.client.replace_status(PODS, {**fresh, "status": {**fresh["status"], **status}})

    def look(self, seconds: float = 0.0) -> None:
        """Time passes, and the operator looks at its run."""
        self.clock[0] += seconds
        self.operator.loops[0].wake_all()
        self.operator.settle()

    def play(self, pick: Callable[[list[Object]], list[Object]] = lambda pods: pods, rounds: int = 200) -> Object:
        """Until the run has ended: settle, let the picked pods end, and so on. Time passes where nothing else does."""
        for _ in range(rounds):
            self.operator.settle()
            body = self.body()
            if body.get("status", {}).get("finishedAt"):
                return body
            chosen = pick(self.pods())
            for pod in chosen:
                self.finish(pod)
            if not chosen:
                self.clock[0] += 60.0
                self.operator.loops[0].wake_all()
        raise AssertionError(f"the run does not end: {self.body().get('status')}")

    def body(self) -> Object:
        return self.client.get(PIPELINE_RUNS, self.key)

    def records(self) -> dict[str, dict[str, Any]]:
        """State, attempts and outputs of every task and group, as a client sees them."""
        mine = [item for item in self.client.list(RECORDS).items if item["spec"]["run"] == self.key.name]
        found = records_of(read_objects(self.body(), mine), self.clock[0])
        return {
            str(task.key): {
                "state": str(task.state),
                "attempts": task.attempt,
                "outputs": dict(task.outputs.parameters),
            }
            for task in found.tasks
        }
