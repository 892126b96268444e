"""Runs on a real API server whose pods are kwok's: real scheduling, real status, no containers. And what must be true
of them whatever happens meanwhile: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlplatform.apis.names import LABEL_ATTEMPT, LABEL_RUN, LABEL_TASK
from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.controllers.framework.manager import Manager, Settings, Sharing
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.controllers.pipelinerun.lookups import ServerLookups
from mlplatform.core.values import child
from mlplatform.kube.cache import Change
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import NAMESPACES, PODS, SERVICE_ACCOUNTS, Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from mlplatform.kube.transport import connect
from mlplatform.kube.wire import Transport
from mlplatform.render.settings import PodSettings
from mlplatform.sdk.kubernetes.reading import read_objects, records_of
from tests.cluster.cluster import Cluster
from tests.support.kube.platform import apply_crds
from tests.support.kube.toy import manager

#: What pods of ``exec-work`` leave behind.
POOL = "mlplatform.test/pool"
RESULT = {"mlplatform": 1, "state": "SUCCEEDED", "parameters": {"value": 7}}


def on_kwok(document: str, seconds: float = 0.2, pool: str = "", **executors: dict[str, str]) -> str:
    """A pipeline whose pods go to kwok's nodes (those labelled ``pool``) and end after ``seconds`` with
    :data:`RESULT`. ``executors``: what annotations the pods of others get instead. Dead nodes are left at once."""
    usual = {"mlplatform.test/seconds": f"{seconds}s", "mlplatform.test/message": json.dumps(RESULT)}
    told = {"exec-work": usual, **{name.replace("_", "-"): notes for name, notes in executors.items()}}
    config = {
        name: {
            "podMetadata": {"annotations": notes},
            "nodeSelector": {"labels": {"type": "kwok", **({POOL: pool} if pool else {})}},
            "tolerations": [
                {"key": "kwok.x-k8s.io/node", "operator": "Exists"},
                *(
                    {
                        "key": f"node.kubernetes.io/{word}",
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": "1",
                    }
                    for word in ("unreachable", "not-ready")
                ),
            ],
        }
        for name, notes in told.items()
    }
    return f"{document}\n---\n" + json.dumps({"platforms": {"kubernetes": {"deploymentSpec": {"executors": config}}}})


@dataclass
class Seen:
    """What became of the pods of a namespace, all of them: (task, attempt) -> the UIDs that bore it."""

    uids: dict[tuple[str, str, str], set[str]] = field(default_factory=dict[tuple[str, str, str], set[str]])
    living: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])
    succeeded: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])
    wrong: list[str] = field(default_factory=list[str])

    def look(self, pod: Object, gone: bool) -> None:
        labels, uid = pod["metadata"]["labels"], pod["metadata"]["uid"]
        task = (labels.get(LABEL_RUN, ""), labels.get(LABEL_TASK, ""))
        self.uids.setdefault((*task, labels.get(LABEL_ATTEMPT, "")), set()).add(uid)
        living = self.living.setdefault(task, set())
        phase = pod["status"].get("phase")
        if gone or phase in ("Succeeded", "Failed"):
            living.discard(uid)
        else:
            living.add(uid)
            if len(living) > 1:
                self.wrong.append(f"{pod['metadata']['name']}: two attempts live at once")
        if phase == "Succeeded":
            self.succeeded.setdefault(task, set()).add(uid)


@dataclass
class Arena:
    """A namespace of a real API server. Operators are made by :meth:`operator`, and belong to who made them."""

    cluster: Cluster
    client: Client
    namespace: str
    seen: Seen = field(default_factory=Seen)

    def operator(
        self,
        transport: Transport | None = None,
        now: Callable[[], float] = time.time,
        sharing: Sharing | None = None,
        workers: int = 2,
    ) -> Manager:
        own = transport or connect(str(self.cluster.kubeconfig)).transport
        client = Client(own)
        controllers = (PipelineRuns(PodSettings(), client.last_lines, ServerLookups(client)),)
        settings = Settings(namespace=self.namespace, workers=workers, resync=600.0, sharing=sharing)
        return manager(own, controllers, settings=settings, now=now)

    @contextmanager
    def running(self, *operators: Manager) -> Generator[None]:
        """Operators at work."""
        try:
            for one in operators:
                one.start(120)
            yield
        finally:
            for one in operators:
                one.stop(30)

    def submit(self, name: str, document: str, **spec: Any) -> Key:
        self.client.create(
            PIPELINE_RUNS, pipeline_run_object(name, self.namespace, PipelineRunSpec(document=document, **spec))
        )
        return Key(self.namespace, name)

    def body(self, key: Key) -> Object:
        return self.client.get(PIPELINE_RUNS, key)

    def pods(self, *phases: str) -> list[Object]:
        found = self.client.list(PODS, self.namespace).items
        return [pod for pod in found if not phases or pod["status"].get("phase") in phases]

    def ended(self, keys: Iterable[Key], seconds: float = 240.0) -> list[Object]:
        """The runs, all of them over, their results recorded and their pods let go."""
        keys = list(keys)
        until(lambda: all(child(self.body(key), "status").get("finishedAt") for key in keys), seconds)
        until(lambda: not any(pod["metadata"].get("finalizers") for pod in self.pods()), seconds)
        return [self.body(key) for key in keys]

    def tasks(self, key: Key) -> dict[str, dict[str, Any]]:
        """State, attempts and outputs of every task and group, as a client sees them."""
        records = [one for one in self.client.list(RECORDS, self.namespace).items if one["spec"]["run"] == key.name]
        found = records_of(read_objects(self.body(key), records), time.time())
        return {
            str(task.key): {
                "state": str(task.state), "attempts": task.attempt, "outputs": dict(task.outputs.parameters),
            }
            for task in found.tasks
        }  # fmt: skip

    def nothing_lost_nothing_doubled(self, keys: Iterable[Key], tasks: int) -> None:
        """Of runs whose every task succeeds in the end."""
        for key in keys:
            status = self.body(key)["status"]
            assert status["state"] == "SUCCEEDED", status
            assert status["counts"] == {"total": tasks, "succeeded": tasks}
            found = self.tasks(key)
            leaves = [task for task in found.values() if task["outputs"]]
            assert len(leaves) == tasks
            assert {json.dumps(task["outputs"]) for task in leaves} == {json.dumps(RESULT["parameters"])}
            told: list[str] = []
            for one in self.client.list(RECORDS, self.namespace).items:
                if one["spec"]["run"] == key.name:
                    told += [json.dumps([task["path"], task.get("iteration")]) for task in one["spec"]["tasks"]]
            assert len(told) == len(set(told)), "a task is recorded once"
        assert self.seen.wrong == []
        assert [place for place, uids in self.seen.uids.items() if len(uids) > 1] == []
        assert [task for task, uids in self.seen.succeeded.items() if len(uids) > 1] == []


@contextmanager
def arena(cluster: Cluster) -> Generator[Arena]:
    """A namespace on ``cluster``, with the kinds and some nodes of kwok's there, every pod of it watched."""
    client = connect(str(cluster.kubeconfig))
    prepare(cluster)
    name = f"arena-{uuid.uuid4().hex[:8]}"
    make_namespace(client, name)
    found = Arena(cluster, client, name)
    own = connect(str(cluster.kubeconfig))

    def changed(change: Change) -> None:
        pod = informer.cache.get(change.key) or last.get(change.key)
        if pod is not None:
            last[change.key] = pod
            found.seen.look(pod, change.after is None)

    last: dict[Key, Object] = {}
    informer = Informer(own, PODS, name, labels=LABEL_RUN, on_change=changed)
    thread = threading.Thread(target=informer.run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        informer.stop()
        thread.join(10)
        client.delete(NAMESPACES, Key("", name))
        for pod in found.pods():  # nobody is left who would let them go
            if pod["metadata"].get("finalizers"):
                client.patch(PODS, Key(name, pod["metadata"]["name"]), {"metadata": {"finalizers": None}})
        own.transport.close()
        client.transport.close()


def prepare(cluster: Cluster, nodes: int = 3) -> None:
    """The kinds, and nodes for pods (those of earlier tests serve as well)."""
    apply_crds(cluster)
    there = {one["metadata"]["name"] for one in cluster.api.get("/api/v1/nodes?labelSelector=type%3Dkwok")["items"]}
    for number in range(nodes):
        if f"arena{number}-0" not in there:
            cluster.add_nodes(1, prefix=f"arena{number}", tainted=True)


def make_namespace(client: Client, name: str) -> None:
    """With the service account that pods need."""
    client.create(NAMESPACES, {"metadata": {"name": name}})
    try:
        client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
    except AlreadyExists:
        pass


def until(true: Callable[[], object], seconds: float = 240.0, every: float = 0.1) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every)
