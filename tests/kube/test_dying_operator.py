"""The PipelineRun operator dies before and after its writes, on a real API server: the end is always the same.

Every kind of write is tried, its first and its last; with MLPLATFORM_ALL_FAULTS=1 every single one. The pods are
scheduled and started by a real scheduler and kwok; how they end is up to the test.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlplatform.apis.names import ANNOTATION_TASK
from mlplatform.apis.pipelinerun import Ttl
from mlplatform.kube.errors import Conflict, ObjectNotFound
from mlplatform.kube.metrics import describe
from mlplatform.kube.objects import CLAIMS, CONFIG_MAPS, NAMESPACES, PODS, Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.kube.transport import connect
from mlplatform.kube.wire import Request
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import Arena, make_namespace, on_kwok, prepare, until
from tests.support.kube.faults import Killed, Mortal
from tests.unit.controllers.pipelinerun.documents import task

TEXT = {"parameterType": "STRING"}
FOREVER = {"mlplatform.test/forever": "true"}
Kind = tuple[str, str]


def everything() -> str:
    """A claim that is made and removed, a request too large for its pod, a retry, results that fill a record."""

    def constant(value: Any) -> dict[str, Any]:
        return {"runtimeValue": {"constant": value}}

    name = {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "name"}}
    work = {
        "inputDefinitions": {"parameters": {"word": {**TEXT, "isOptional": True}}},
        "outputDefinitions": {"parameters": {"value": TEXT}},
    }
    components = {
        "comp-work": {"executorLabel": "exec-work", **work},
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"pvc_name_suffix": TEXT}},
            "outputDefinitions": {"parameters": {"name": TEXT}},
        },
        "comp-drop": {"executorLabel": "exec-drop", "inputDefinitions": {"parameters": {"pvc_name": TEXT}}},
    }
    tasks = {
        "make": task("comp-make", inputs={"parameters": {"pvc_name_suffix": constant("-x")}}),
        "large": task(after=("make",), inputs={"parameters": {"word": constant("x" * 30_000)}}),
        "flaky": task(retryPolicy={"maxRetryCount": 1, "backoffDuration": "30s"}),
        "drop": task("comp-drop", after=("make", "large"), inputs={"parameters": {"pvc_name": name}}),
    }
    images = {"exec-work": "alpine", "exec-make": "argostub/createpvc", "exec-drop": "argostub/deletepvc"}
    executors = {
        label: {"container": {"image": image, "command": ["work"], "args": ["{{$}}"]}}
        for label, image in images.items()
    }
    data = {
        "pipelineInfo": {"name": "everything"},
        "schemaVersion": "2.1.0",
        "components": components,
        "deploymentSpec": {"executors": executors},
        "root": {"dag": {"tasks": tasks}},
    }
    return on_kwok(json.dumps(data), exec_work=FOREVER)


class Life:
    """One run in a namespace of its own; its first operator may die at a write. Time passes when nothing else does."""

    def __init__(self, cluster: Cluster, die_at: int = 0, moment: str = "before", kind: Kind | None = None) -> None:
        client = connect(str(cluster.kubeconfig))
        self.arena = Arena(cluster, client, f"life-{uuid.uuid4().hex[:8]}")
        make_namespace(client, self.arena.namespace)
        self.clock = 1_900_000_000.0
        self.started: list[str] = []
        self.died = False
        self.mortal = Mortal(client.transport, die_at, moment, lambda request: self._counts(request, kind))
        self.operator = self.arena.operator(self.mortal, now=lambda: self.clock)

    @staticmethod
    def _counts(request: Request, kind: Kind | None) -> bool:
        return "/events" not in request.path and (kind is None or describe(request) == kind)

    def settle(self) -> None:
        try:
            self.operator.settle()
        except Killed:
            self.died = True
            self.operator = self.arena.operator(self.arena.client.transport, now=lambda: self.clock)
            self.operator.settle()

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.operator.loops[0].wake_all()

    def live(self) -> dict[str, Any]:
        """To the very end: what the tasks came to, how often each was tried, what is left."""
        key = self.arena.submit("run-a", everything(), ttl=Ttl(after_finished=1000))
        for _ in range(60):
            self.settle()
            if self.arena.body(key).get("status", {}).get("finishedAt"):
                break
            if not self._pods_end():
                self.pass_time(40.0)
        self.settle()
        found = {"tasks": self.arena.tasks(key), "started": sorted(self.started)}
        held = [pod for pod in self.arena.pods() if pod["metadata"].get("finalizers")]
        self.pass_time(2000.0)
        self.settle()
        client, place = self.arena.client, self.arena.namespace
        client, place = self.arena.client, self.arena.namespace
        # a deleted claim stays a moment: its protection is taken off by a controller of the cluster's
        claims = [one for one in client.list(CLAIMS, place).items if not one["metadata"].get("deletionTimestamp")]
        maps = [one for one in client.list(CONFIG_MAPS, place).items if one["metadata"]["name"] != "kube-root-ca.crt"]
        found["left"] = [len(held), len(client.list(PIPELINE_RUNS, place).items), len(claims), len(maps)]
        if not self.died:
            until(lambda: not client.list(PODS, place).items)  # the garbage collector's part
        client.delete(NAMESPACES, Key("", place))
        return found

    def _pods_end(self) -> bool:
        """Those that run end; those that do not yet are waited for. False: there are none."""
        if not self.arena.pods("Pending", "Running"):
            return False
        until(lambda: all(pod["status"].get("phase") == "Running" for pod in self.arena.pods("Pending", "Running")))
        for pod in self.arena.pods("Running"):
            self._end(pod)
        return True

    def _end(self, pod: Object) -> None:
        name = pod["metadata"]["annotations"][ANNOTATION_TASK]
        attempt = pod["metadata"]["name"].rpartition("-")[2]
        good = (name, attempt) != ("flaky", "1")
        told: dict[str, Any] = {"mlplatform": 1, "state": "SUCCEEDED" if good else "FAILED", "finished_at": self.clock}
        told |= {"parameters": {"value": name * 3000}} if good else {"error": {"code": "TASK_FAILED", "message": "no"}}
        ended = {"exitCode": 0 if good else 1, "message": json.dumps(told)}
        [container] = pod["status"]["containerStatuses"]
        status = {
            "phase": "Succeeded" if good else "Failed",
            "containerStatuses": [{**container, "ready": False, "state": {"terminated": ended}}],
        }
        try:
            self.arena.client.replace_status(PODS, {**pod, "status": {**pod["status"], **status}})
        except (Conflict, ObjectNotFound):
            return
        self.started.append(f"{name}:{attempt}")


def chosen(written: Counter[Kind]) -> list[tuple[Kind, int]]:
    """At which writes to die: of each kind the first and the last, or all."""
    every = bool(os.environ.get("MLPLATFORM_ALL_FAULTS"))
    return [
        (kind, number)
        for kind, count in sorted(written.items())
        for number in (range(1, count + 1) if every else sorted({1, count}))
    ]


@pytest.mark.timeout(2400)
def test_dying_before_or_after_a_write_changes_nothing(api_server: Cluster) -> None:
    prepare(api_server)
    first = Life(api_server)
    wanted = first.live()
    assert wanted["started"] == ["flaky:1", "flaky:2", "large:1"]
    assert {name: task["state"] for name, task in wanted["tasks"].items()} == dict.fromkeys(
        ("make", "large", "flaky", "drop"), "SUCCEEDED"
    )
    assert wanted["left"] == [0, 0, 0, 0]
    written: Counter[Kind] = Counter((write.verb, write.resource) for write in first.mortal.written)
    runs = "pipelineruns.pipelines.mlplatform.dev"
    assert set(written) == {
        ("create", "pods"), ("patch", "pods"), ("create", "configmaps"), ("delete", "configmaps"),
        ("create", "persistentvolumeclaims"), ("delete", "persistentvolumeclaims"),
        ("create", "taskrecords.pipelines.mlplatform.dev"), ("patch", f"{runs}/status"), ("delete", runs),
    }  # fmt: skip

    def dying(case: tuple[Kind, int, str]) -> str:
        kind, number, moment = case
        life = Life(api_server, number, moment, kind)
        found = life.live()
        life.arena.client.transport.close()
        assert life.died or kind[1].endswith("/status"), f"nobody died {moment} {kind} {number}"
        return "" if found == wanted else f"{moment} {kind} {number}: {found}"

    cases = [(kind, number, moment) for kind, number in chosen(written) for moment in ("before", "after")]
    with ThreadPoolExecutor(12) as pool:
        assert [wrong for wrong in pool.map(dying, cases) if wrong] == []
    print(f"{sum(written.values())} writes of {len(written)} kinds; died {len(cases)} times")
