"""The cluster of ``tests.support.kube.training`` on a real API server: validation, defaults, garbage collection,
finalizers and protection of claims are the real ones. Scheduler and kubelets are played by the test, and the clock of
the operator is the test's own, so that hours pass at once.

What tests call the namespace ``default`` is a namespace of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists, Conflict, ObjectNotFound
from mlplatform.kube.objects import (
    CLAIMS,
    CONFIG_MAPS,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Key,
    Object,
    being_deleted,
    controller_of,
    key_of,
    labels_of,
    uid_of,
    version_of,
)
from mlplatform.kube.wire import Answer, Request, Stream, Transport
from mlplatform.render.training.names import read_labels
from tests.support.kube.faults import Killed
from tests.support.kube.training import TrainingCluster

#: Nobody's: the real scheduler leaves these pods alone.
_NOBODY: Final = "mlplatform-test"
_OWNED: Final = (PODS, SERVICES, SECRETS, CONFIG_MAPS, CLAIMS)
_PATIENCE: Final = 60.0
#: Where the clock in memory begins: deadlines that the server keeps need one that is right.
_LONG_AGO: Final = 1_700_000_000.0


class OwnNamespace:
    """``default`` of whoever speaks through it is ``namespace`` of the server. Lists are kept until something of their
    kind is written: nobody else changes anything but the garbage collector, which is waited for."""

    def __init__(self, below: Transport, namespace: str) -> None:
        self._below = below
        self._namespace = namespace
        self._lists: dict[tuple[str, str], Answer] = {}
        #: By kind, the version that it had at the last write; "": not known.
        self._newest: dict[str, str] = {}
        #: Grows with each write that may have changed something.
        self.changes = 0
        self._versions: dict[str, str] = {}

    def send(self, request: Request) -> Answer:
        place = (request.path, json.dumps(dict(request.query), sort_keys=True))
        if not request.writes and place in self._lists:
            return self._lists[place]
        answer = self._below.send(self._there(self._at_once(request)))
        answer = Answer(answer.status, answer.body.replace(self._namespace.encode(), b"default"), answer.headers)
        if request.writes:
            self._wrote(request, answer)
        elif answer.status == 200 and b'List"' in answer.body[:200]:
            self._lists[place] = answer
        return answer

    def stream(self, request: Request) -> Stream:
        return self._below.stream(self._there(request))

    def close(self) -> None:
        """The server's connection is shared."""

    def stale(self) -> None:
        self._lists.clear()

    def _at_once(self, request: Request) -> Request:
        """A list that is as new as our last write: for the very newest the server waits until its store says so."""
        newest = self._newest.get(_kind(request.path), "0")
        if request.method != "GET" or "resourceVersion" in request.query or not newest or not _lists(request.path):
            return request
        query = {**request.query, "resourceVersion": newest, "resourceVersionMatch": "NotOlderThan"}
        return replace(request, query=query)

    def _there(self, request: Request) -> Request:
        path = request.path.replace("/namespaces/default/", f"/namespaces/{self._namespace}/")
        own = f'"namespace":"{self._namespace}"'.encode()
        body = request.body and request.body.replace(b'"namespace":"default"', own)
        return replace(request, path=path, body=body)

    def _wrote(self, request: Request, answer: Answer) -> None:
        kind = _kind(request.path)
        for place in [one for one in self._lists if request.method == "DELETE" or _kind(one[0]) == kind]:
            del self._lists[place]
        if answer.status >= 300:
            return
        body: Object = json.loads(answer.body)
        uid, version = uid_of(body), version_of(body)
        going = request.method == "DELETE" or not uid or being_deleted(body)  # and gone at a version that is not told
        self._newest[_kind(request.path)] = "" if going else version
        if request.method == "DELETE" or not uid or self._versions.get(uid) != version:
            self.changes += 1
        self._versions[uid] = version


def _lists(path: str) -> bool:
    """Whether a path is of a collection."""
    return path.rpartition("/")[2] == _kind(path)


def _kind(path: str) -> str:
    parts = path.split("/")
    parts = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[4 if parts[1] == "apis" else 3 :]
    return parts[0] if parts else ""


@dataclass
class RealTrainingCluster(TrainingCluster):
    """``transport``: to the real server, as somebody who may do everything."""

    transport: Transport | None = None
    namespace: str = ""
    made_nodes: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        assert self.transport is not None
        self.now = self.now if self.now > _LONG_AGO else float(int(time.time()))
        # without the namespace's whole name, which is another one in answers
        self.nodes = f"node-{self.namespace.rpartition('-')[2]}"
        self.wire = OwnNamespace(self.transport, self.namespace)
        self.fake = self.wire  # pyright: ignore[reportAttributeAccessIssue]
        self.watched = "default"
        self.client = Client(self.wire)
        self.operator = self.new_operator(self.wire)
        self.deaths = 0

    # ------------------------------------------------------------------ what users do
    def submit(self, body: Object) -> Object:
        spec = body["spec"]
        return super().submit({**body, "spec": {**spec, "groups": [_unscheduled(one) for one in spec["groups"]]}})

    def change(self, **spec: Any) -> None:
        if "groups" in spec:
            spec["groups"] = [_unscheduled(one) for one in spec["groups"]]
        super().change(**spec)

    def pods(self) -> list[Object]:
        return sorted(self.client.list(PODS, "default").items, key=lambda pod: key_of(pod).name)

    # ------------------------------------------------------------------ what time and machines do
    def run(self, seconds: float = 0.0) -> None:
        self.now = round(self.now + seconds, 3)
        end = time.monotonic() + _PATIENCE
        while True:
            before = self.wire.changes
            for loop in self.operator.loops:
                loop.wake_all()
            try:
                self.operator.settle()
            except Killed:
                self.deaths += 1
                self.operator = self.new_operator()
                continue
            try:
                self.machines()
            except (Conflict, ObjectNotFound):  # the garbage collector was there first
                self.wire.stale()
                continue
            self._one_attempt()
            if self.wire.changes == before:
                if not self._going():
                    return
                assert time.monotonic() < end, "it never comes to rest"
                time.sleep(0.05)
                self.wire.stale()

    def _one_attempt(self) -> None:
        """No two attempts of a rank live at once."""
        seen: dict[tuple[str, str], str] = {}
        for pod in self.pods():
            rank, owner = read_labels(labels_of(pod)), controller_of(pod) or {}
            if rank is not None and pod["status"].get("phase") not in ("Succeeded", "Failed"):
                place = (str(owner.get("uid")), f"{rank.group}-{rank.rank}")
                assert place not in seen, (key_of(pod).name, seen[place])
                seen[place] = key_of(pod).name

    def _going(self) -> bool:
        """Whether the server itself has still something to take away."""
        jobs = self.client.list(TRAINING_JOBS, "default").items
        known = {uid_of(job) for job in jobs}
        if any(being_deleted(job) for job in jobs):
            return True
        for kind in _OWNED:
            for body in self.client.list(kind, "default").items:
                owner = controller_of(body)
                if kind == PODS and body["spec"].get("nodeName") in self.silent:
                    continue
                orphan = owner is not None and owner["kind"] == TRAINING_JOBS.kind and owner["uid"] not in known
                if orphan or (kind == CLAIMS and being_deleted(body)):
                    return True
        return False

    def _place(self, pod: Object, node: str) -> Object:
        name = key_of(pod).name
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": "default"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = f"/api/v1/namespaces/default/pods/{name}/binding"
        answer = self.wire.send(Request("POST", path, body=json.dumps(binding, separators=(",", ":")).encode()))
        assert answer.status < 300, answer.body
        return self.client.get(PODS, Key("default", name))

    def _make_node(self, name: str) -> None:
        self.made_nodes.add(name)
        try:
            super()._make_node(name)
        except AlreadyExists:
            pass

    def clear(self) -> None:
        """Take away everything, so that the next test may begin."""
        self.wire.stale()
        for kind in (TRAINING_JOBS, *_OWNED):
            for body in self.client.list(kind, "default").items:
                self._take(lambda k=kind, b=body: self._remove(k, b))
        for name in self.made_nodes:
            self._take(lambda n=name: self.client.delete(NODES, Key("", n)))
        # The server takes claims away when it has seen that no pod has them: the next test must not find them there.
        end = time.monotonic() + _PATIENCE
        while self.client.list(CLAIMS, "default").items:
            assert time.monotonic() < end, "claims do not go"
            time.sleep(0.02)
            self.wire.stale()

    def _remove(self, kind: Any, body: Object) -> None:
        finalizers: list[str] = body["metadata"].get("finalizers") or []
        if kind == PODS and finalizers:
            self.client.remove_finalizer(PODS, body, finalizers[0])
        self.client.delete(kind, key_of(body), grace_period=0 if kind == PODS else None)

    def _take(self, what: Callable[[], object]) -> None:
        try:
            what()
        except (ObjectNotFound, Conflict):
            pass


def _unscheduled(group: Object) -> Object:
    template: Object = group["template"]
    spec: Object = {**template["spec"], "schedulerName": _NOBODY}
    return {**group, "template": {**template, "spec": spec}}
