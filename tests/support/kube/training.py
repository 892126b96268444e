"""A cluster for training jobs without machines: an API server in memory, nodes that act as kubelets do, and a clock."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlplatform.apis.names import LABEL_GROUP, LABEL_JOB_ATTEMPT, LABEL_RANK, TRAINING_API_VERSION, TRAINING_JOB
from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.controllers.trainingjob.resources import (
    DEVICE_TEMPLATES,
    FLAVORS,
    QUEUE_PRIORITIES,
    TOPOLOGIES,
    TRAINING_JOBS,
    WORKLOADS,
)
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.events import Recorder
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import NODES, PODS, Key, Object, being_deleted, uid_of
from mlplatform.kube.times import timestamp
from mlplatform.kube.wire import Transport
from mlplatform.render.training.environment import TrainingSettings
from tests.support.kube.fake import FakeServer
from tests.support.kube.faults import Killed

NAME = "job"
KEY = Key("default", NAME)


def group(name: str = "worker", replicas: int = 2, **more: Any) -> Object:
    template = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "localhost/train:1"}]}}
    return {"name": name, "replicas": replicas, "role": "worker", "template": template, **more}


def job(*groups: Object, name: str = NAME, framework: str = "torch", **spec: Any) -> Object:
    """A TrainingJob as the API server hands it out: with its defaults."""
    spec.setdefault("failurePolicy", {})
    return {
        "apiVersion": TRAINING_API_VERSION,
        "kind": TRAINING_JOB,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"framework": framework, "suspend": False, "groups": list(groups or [group()]), **spec},
    }


@dataclass
class TrainingCluster:
    """``room``: how many ranks the nodes hold. Each write of the operator is followed by ``watch``."""

    now: float = 1_700_000_000.0
    room: int = 10_000
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    #: Pods whose image cannot be pulled, by group.
    broken_images: set[str] = field(default_factory=set[str])
    #: Nodes on which nothing happens any more.
    silent: set[str] = field(default_factory=set[str])
    #: Nodes that nothing is scheduled to any more.
    lost: set[str] = field(default_factory=set[str])
    #: Ranks are on nodes that are called so, with their number.
    nodes: str = "node"
    #: Whether Kueue is there (its part is played by the test).
    kueue: bool = False
    #: Seconds that a status which only tells may wait.
    patience: float = 0.0
    #: The namespace that the operator looks at; "": all.
    watched: str = ""

    def __post_init__(self) -> None:
        self.fake = FakeServer(lambda: self.now)
        self.fake.register(TRAINING_JOBS)
        self.fake.register(DEVICE_TEMPLATES, status=False)
        self.fake.register(WORKLOADS)
        for kind in (FLAVORS, TOPOLOGIES, QUEUE_PRIORITIES):
            self.fake.register(kind, status=False)
        self.client = Client(self.fake, sleep=lambda _: None)
        self.operator = self.new_operator()
        self.deaths = 0
        self.fake.after.append(lambda request: self._check() if request.writes else None)

    def new_operator(self, transport: Transport | None = None) -> Manager:
        client = Client(transport or self.fake, sleep=lambda _: None)
        now: Callable[[], float] = lambda: self.now  # noqa: E731
        recorder = Recorder(client, "training", "training-0", now=now)
        parts = Parts(client, recorder, Metrics(), now=now, clock=lambda: self.now, patience=self.patience)
        return Manager(client, parts, [TrainingJobs(self.settings, kueue=self.kueue)], Settings(namespace=self.watched))

    def _check(self) -> None:
        """No two attempts of a rank live at once."""
        seen: dict[tuple[str, str, str], str] = {}
        for stored in self.fake.store.objects.get(PODS, {}).values():
            pod = stored.body
            labels = pod["metadata"]["labels"]
            if pod["status"].get("phase") in ("Succeeded", "Failed") or LABEL_RANK not in labels:
                continue
            place = (str(pod["metadata"].get("ownerReferences")), labels[LABEL_GROUP], labels[LABEL_RANK])
            assert place not in seen, (pod["metadata"]["name"], seen[place])
            seen[place] = pod["metadata"]["name"]

    # ------------------------------------------------------------------ what users do
    def submit(self, body: Object) -> Object:
        made = self.client.create(TRAINING_JOBS, body)
        self.run()
        return made

    def change(self, **spec: Any) -> None:
        self.client.patch(TRAINING_JOBS, KEY, {"spec": spec})
        self.run()

    def body(self) -> Object:
        return self.client.get(TRAINING_JOBS, KEY)

    @property
    def status(self) -> Object:
        return self.body().get("status") or {}

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def says(self, kind: str) -> tuple[str, str, str] | None:
        """(status, reason, message) of a condition."""
        for one in self.status.get("conditions", ()):
            if one["type"] == kind:
                return one["status"], one["reason"], one.get("message", "")
        return None

    def pods(self) -> list[Object]:
        found = self.fake.store.objects.get(PODS, {})
        return [copy.deepcopy(stored.body) for _, stored in sorted(found.items())]

    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods()]

    def pod(self, name: str) -> Object:
        return self.client.get(PODS, Key("default", name))

    def env(self, name: str) -> dict[str, str]:
        """The plain variables of a rank."""
        return {one["name"]: one.get("value", "") for one in self.pod(name)["spec"]["containers"][0]["env"]}

    # ------------------------------------------------------------------ what time and machines do
    def run(self, seconds: float = 0.0) -> None:
        """Time passes; then operator and machines work until nothing happens any more."""
        soon = min(seconds, 2 * self.patience)
        if soon:  # what waits to be written does not wait longer because time jumps here
            self._work(soon)
        self._work(seconds - soon)

    def _work(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)
        for loop in self.operator.loops:
            loop.wake_all()
        for _ in range(60):
            before = self.fake.store.version
            try:
                self.operator.settle()
            except Killed:
                self.deaths += 1
                self.operator = self.new_operator()
                continue
            self.machines()
            for loop in self.operator.loops:
                loop.wake_all()
            if self.fake.store.version == before:
                return
        raise AssertionError("it never comes to rest")

    def machines(self) -> None:
        """Scheduler and kubelets: bind, run, end what is deleted."""
        placed = sum(1 for pod in self.pods() if pod["spec"].get("nodeName") and not _ended(pod))
        for pod in self.pods():
            node = pod["spec"].get("nodeName")
            if node in self.silent or (node and not self._node(node)):
                continue
            if being_deleted(pod):
                self._terminate(pod)
            elif not node and placed < self.room:
                placed += 1
                self._bind(pod)
            elif not node:
                self._tell(pod, conditions=[_condition("PodScheduled", False, "0/2 nodes are available", self.now)])

    def _bind(self, pod: Object) -> None:
        labels = pod["metadata"]["labels"]
        node = f"{self.nodes}-{labels.get(LABEL_RANK, '0')}"
        if node in self.lost:
            node = f"spare-{node}"
        if not self._node(node):
            self._make_node(node)
        after = self._place(pod, node)
        name = after["spec"]["containers"][0]["name"]
        scheduled = _condition("PodScheduled", True, "", self.now)
        if labels.get(LABEL_GROUP) in self.broken_images:
            waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
            self._tell(after, conditions=[scheduled], containerStatuses=[{"name": name, "state": {"waiting": waiting}}])
            return
        running = {"name": name, "state": {"running": {"startedAt": timestamp(self.now)}}}
        ready = _condition("Ready", True, "", self.now)
        self._tell(after, phase="Running", conditions=[scheduled, ready], containerStatuses=[running])

    def _place(self, pod: Object, node: str) -> Object:
        """What the scheduler does."""
        with self.fake.store.lock:
            stored = self.fake.store.find(PODS, Key("default", pod["metadata"]["name"]))
            assert stored is not None
            after = copy.deepcopy(stored.body)
            after["spec"]["nodeName"] = node
            self.fake.store.put(PODS, stored, after)
        return after

    def _make_node(self, name: str) -> None:
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        body: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        self.client.replace_status(NODES, {**self.client.create(NODES, body), "status": ready})

    def _terminate(self, pod: Object, code: int = 143) -> None:
        if pod["spec"].get("nodeName") and not _ended(pod):
            self._end(pod, code)
        meta = pod["metadata"]
        if meta.get("deletionGracePeriodSeconds"):
            self.client.delete(PODS, Key("default", meta["name"]), uid=uid_of(pod), grace_period=0)

    def _end(self, pod: Object, code: int, reason: str = "", **more: Any) -> None:
        name = pod["spec"]["containers"][0]["name"]
        ended = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
        ended["finishedAt"] = timestamp(self.now)
        conditions = [one for one in pod["status"].get("conditions", ()) if one["type"] != "Ready"]
        conditions += more.pop("conditions", [])
        self._tell(
            pod,
            phase="Failed" if code or more else "Succeeded",
            conditions=conditions,
            containerStatuses=[{"name": name, "state": {"terminated": ended}}],
            **more,
        )

    def _tell(self, pod: Object, **status: Any) -> None:
        current = self.client.get(PODS, Key("default", pod["metadata"]["name"]))
        current["status"] = {**current["status"], **status}
        self.client.replace_status(PODS, current)

    def _node(self, name: str) -> Object | None:
        try:
            return self.client.get(NODES, Key("", name))
        except ObjectNotFound:
            return None

    def of(self, group: str, rank: int) -> Object:
        """The newest pod of a rank."""
        found = [
            pod
            for pod in self.pods()
            if (pod["metadata"]["labels"][LABEL_GROUP], pod["metadata"]["labels"][LABEL_RANK]) == (group, str(rank))
        ]
        return max(found, key=lambda pod: int(pod["metadata"]["labels"][LABEL_JOB_ATTEMPT]))

    def end(self, group: str, rank: int, code: int = 0, reason: str = "", **more: Any) -> None:
        """A rank's container ends by itself. ``more``: of the pod's status."""
        self._end(self.of(group, rank), code, reason, **more)

    def finish(self, pod: Object, code: int, reason: str = "") -> None:
        """The container of a pod ends by itself."""
        self._end(pod, code, reason)

    def delete_pod(self, name: str) -> None:
        self.client.delete(PODS, Key("default", name))

    def end_all(self) -> None:
        for pod in self.pods():
            if pod["status"].get("phase") == "Running":
                self._end(pod, 0)

    def report(self, **progress: Any) -> None:
        """What the progress endpoint writes."""
        self.client.patch(TRAINING_JOBS, KEY, {"status": {"progress": progress}}, subresource="status")

    def lose_node(self, name: str, fenced: bool = False) -> None:
        """A node is silent; with ``fenced`` somebody vouches that it is off."""
        self.silent.add(name)
        self.lost.add(name)
        status = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        self.client.patch(NODES, Key("", name), status, subresource="status")
        if fenced:
            taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "off"}
            self.client.patch(NODES, Key("", name), {"spec": {"taints": [taint]}})


def _ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _condition(kind: str, is_so: bool, message: str, now: float) -> Object:
    return {
        "type": kind,
        "status": "True" if is_so else "False",
        "message": message,
        "lastTransitionTime": timestamp(now),
    }
