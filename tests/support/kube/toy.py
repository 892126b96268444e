"""A small controller for the framework's tests: a ``Batch`` makes so many pods and counts those that are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.framework.model import Caches, Controller, Delete, EventNote, Owned, Plan, Ref, Refusal
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import PODS, SERVICES, Key, Object, Resource, being_deleted, key_of, uid_of
from mlplatform.kube.wire import Transport
from tests.support.kube.fake import FakeServer

BATCHES = Resource("test.mlplatform.dev", "v1", "batches", "Batch")
FINALIZER = "test.mlplatform.dev/result"


@dataclass(frozen=True)
class Seen:
    batch: Object
    pods: list[Object]


class Batches:
    """``spec.pods`` pods called NAME-0, NAME-1 ..., a Service, results in ``status.done`` (pod name: its message)."""

    name = "batch"
    resource = BATCHES
    finalizer = FINALIZER
    owned: Iterable[Owned] = (Owned(PODS, selector="batch"), Owned(SERVICES, selector="batch"))

    def observe(self, caches: Caches, key: Key) -> Seen | None:
        batch = caches.get(BATCHES, key)
        if batch is None or being_deleted(batch):
            return None
        return Seen(batch, caches.owned_by(PODS, batch))

    def plan(self, observed: Seen, now: float) -> Plan:
        batch = observed.batch
        name = batch["metadata"]["name"]
        if batch["spec"].get("bug"):
            raise ZeroDivisionError("a bug in a plan")
        done: dict[str, str] = dict((batch.get("status") or {}).get("done") or {})
        there = {pod["metadata"]["name"]: pod for pod in observed.pods}
        finished = {n: pod for n, pod in there.items() if pod["status"].get("phase") == "Succeeded"}
        done |= {n: pod["status"].get("message", "") for n, pod in finished.items()}
        wanted = [f"{name}-{number}" for number in range(batch["spec"]["pods"])]
        labels = {"batch": name}
        ends = len(done) == len(wanted)
        conditions = [_condition("Done", ends, "Counted", f"{len(done)} done")]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "None"},
        }
        return Plan(
            apply=[service],
            create=[self._pod(n, labels) for n in wanted if n not in there and n not in done],
            status={"done": done, "conditions": conditions},
            release=[Ref(PODS, key_of(pod), uid_of(pod)) for pod in finished.values()],
            delete=[Delete(Ref(PODS, key_of(pod), uid_of(pod))) for pod in finished.values() if not being_deleted(pod)],
            events=[EventNote("Done", f"all {len(done)} pods are done")] if ends else [],
        )

    def refused(self, observed: Seen, now: float, refusals: Sequence[Refusal]) -> Plan:
        plan = self.plan(observed, now)
        status = dict(plan.status or {})
        words = "; ".join(str(refusal.error) for refusal in refusals)
        status["conditions"] = [*status["conditions"], _condition("Refused", True, "Refused", words)]
        return Plan(status=status, release=plan.release, delete=plan.delete)

    def _pod(self, name: str, labels: dict[str, str]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "finalizers": [FINALIZER]},
            "spec": {
                "restartPolicy": "Never",
                "schedulerName": "nobody",
                "containers": [{"name": "main", "image": "localhost/none:1"}],
            },
        }


def _condition(kind: str, status: bool, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": str(status), "reason": reason, "message": message}


#: The kind's definition, for a real API server.
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{BATCHES.plural}.{BATCHES.group}"},
    "spec": {
        "group": BATCHES.group,
        "scope": "Namespaced",
        "names": {"plural": BATCHES.plural, "singular": "batch", "kind": "Batch", "listKind": "BatchList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def batch(name: str, pods: int = 2, namespace: str = "default", **spec: Any) -> Object:
    return {
        "apiVersion": BATCHES.api_version,
        "kind": "Batch",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"pods": pods, **spec},
    }


def server(now: Callable[[], float] = lambda: 1_700_000_000.0) -> FakeServer:
    fake = FakeServer(now)
    fake.register(BATCHES)
    return fake


def manager(
    transport: Transport,
    controllers: Sequence[Controller[Any]] = (Batches(),),
    settings: Settings | None = None,
    **parts: Any,
) -> Manager:
    """One process of an operator. Nothing runs until ``start`` or ``settle``."""
    client = Client(transport, sleep=lambda _: None)
    parts.setdefault("now", lambda: 1_700_000_000.0)
    shared = Parts(client, Recorder(client, "test", "test-0", now=parts["now"]), Metrics(), **parts)
    return Manager(client, shared, controllers, settings or Settings())


def finish_pods(client: Client, namespace: str = "default") -> int:
    """What a kubelet would do: every pod succeeds with its name as message. Returns how many did."""
    finished = 0
    for pod in client.list(PODS, namespace).items:
        if pod["status"].get("phase") == "Pending" and not being_deleted(pod):
            pod["status"] |= {"phase": "Succeeded", "message": f"result of {pod['metadata']['name']}"}
            client.replace_status(PODS, pod)
            finished += 1
    return finished
