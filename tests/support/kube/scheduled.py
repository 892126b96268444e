"""Training jobs whose pods the real scheduler places on kwok's nodes, for tests of where they go and of what goes wrong
there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import NODES, PODS, Key, Object
from mlplatform.kube.ours import TRAINING_JOBS
from tests.cluster.addons import kwok_node
from tests.cluster.cluster import Cluster
from tests.support.kube.training import group

GPU = "nvidia.com/gpu"
#: kwok's nodes are tainted, so that nobody else's pods go there; and ranks stay until they are taken away.
OURS = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}
FOREVER = {"mlplatform.test/forever": "true"}
PATIENCE = 120.0


@dataclass
class Site:
    """``word``: in the names of everything that belongs to no namespace."""

    cluster: Cluster
    client: Client
    namespace: str
    word: str
    nodes: list[str] = field(default_factory=list[str])
    #: Seconds by which the operator's clock is ahead.
    ahead: float = 0.0
    operators: list[Manager] = field(default_factory=list[Manager])

    def node(self, name: str, product: str, taints: Iterable[Object] = (), gpus: int = 0, **more: Any) -> None:
        """An NVIDIA machine; ``more``: its memory in MiB, labels, other resources."""
        body = kwok_node(self.named(name), gpus=gpus)
        labels = {f"{GPU}.product": self.named(product), f"{GPU}.memory": str(more.get("memory", 16384))}
        body["metadata"]["labels"] |= labels | more.get("labels", {})
        body["spec"]["taints"] = [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}, *taints]
        for kind in ("capacity", "allocatable"):
            body["status"][kind] |= more.get("room", {})
        self.client.create(NODES, body)
        self.nodes.append(name)

    def named(self, word: str) -> str:
        return f"{word}-{self.word}"

    def submit(self, body: Object, namespace: str = "") -> Key:
        key = Key(namespace or self.namespace, body["metadata"]["name"])
        body["metadata"]["namespace"] = key.namespace
        body["spec"].setdefault("preemption", {"gracePeriodSeconds": 1})
        self.client.create(TRAINING_JOBS, body)
        return key

    def pods(self, key: Key) -> list[Object]:
        return [
            pod
            for pod in self.client.list(PODS, key.namespace).items
            if pod["metadata"]["labels"].get("training.mlplatform.dev/job") == key.name
        ]

    def places(self, key: Key) -> list[str]:
        """Where each rank is, by the node's name here; "": nowhere."""
        found = [pod["spec"].get("nodeName", "").removesuffix(f"-{self.word}") for pod in self.pods(key)]
        return sorted(found)

    def running(self, key: Key) -> list[str]:
        """Where its ranks are, once all of them run."""
        self.wait(key, lambda: self.status(key).get("phase") == "Running")
        return self.places(key)

    def operator(self, namespace: str) -> Manager:
        """One for a namespace, at work."""
        now: Callable[[], float] = lambda: time.time() + self.ahead  # noqa: E731
        recorder = Recorder(self.client, "training", "training-test", now=now)
        parts = Parts(self.client, recorder, Metrics(), now=now, width=4)
        operator = Manager(self.client, parts, [TrainingJobs()], Settings(namespace=namespace))
        operator.start(60)
        self.operators.append(operator)
        return operator

    def later(self, seconds: float) -> None:
        """The operators' clocks go on."""
        self.ahead += seconds
        for operator in self.operators:
            for loop in operator.loops:
                loop.wake_all()

    def await_nodes(self) -> None:
        for name in self.nodes:
            path = f"/api/v1/nodes/{self.named(name)}"
            self.cluster.api.wait(path, lambda node: node["status"].get("phase") == "Running")

    def told(self, key: Key, words: str) -> str:
        """What ``Placed`` says, once it has ``words``."""

        def placed() -> str:
            found = [one for one in self.status(key).get("conditions", ()) if one["type"] == "Placed"]
            return found[0].get("message", "") if found and found[0]["status"] == "False" else ""

        self.wait(key, lambda: words in placed())
        return placed()

    def remove(self, *keys: Key) -> None:
        for key in keys:
            self.client.delete(TRAINING_JOBS, key)
        for key in keys:
            self.wait(key, lambda key=key: not self.pods(key))

    def status(self, key: Key) -> Object:
        return self.client.get(TRAINING_JOBS, key).get("status") or {}

    def wait(self, key: Key, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                raise AssertionError(f"{json.dumps(self.status(key), indent=1)}\n{self.places(key)}")
            time.sleep(0.05)


def ranks(replicas: int, accelerator: Object | None = None, tolerates: Sequence[Object] = (), **more: Any) -> Object:
    given = {"accelerator": accelerator} if accelerator is not None else {}
    body = group(replicas=replicas, **given, **more)
    body["template"]["metadata"] = {"annotations": dict(FOREVER)}
    body["template"]["spec"]["tolerations"] = [OURS, *tolerates]
    return body
