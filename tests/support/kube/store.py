"""The objects of the API server in memory: versions, deletion, garbage collection, and what watches are told."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from mlplatform.kube.objects import Key, Object, Resource, being_deleted, key_of, metadata
from mlplatform.kube.times import timestamp
from tests.support.kube.apply import Ownership


@dataclass
class Stored:
    body: Object
    ownership: Ownership = field(default_factory=Ownership)


@dataclass
class Logged:
    version: int
    type: str
    resource: Resource
    body: Object
    before: Object | None


class Store:
    """All under one lock; ``changed`` wakes watches."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = 1000
        self.oldest = 1000
        self.objects: dict[Resource, dict[Key, Stored]] = {}
        self.log: list[Logged] = []

    def next_version(self) -> str:
        self.version += 1
        return str(self.version)

    def find(self, resource: Resource, key: Key) -> Stored | None:
        return self.objects.get(resource, {}).get(key)

    def add(self, resource: Resource, body: Object, ownership: Ownership) -> Object:
        meta = body["metadata"]
        meta.update(
            uid=str(uuid.uuid4()),
            creationTimestamp=timestamp(self.now()),
            generation=1,
            resourceVersion=self.next_version(),
        )
        self.objects.setdefault(resource, {})[key_of(body)] = Stored(body, ownership)
        self._tell("ADDED", resource, body, None)
        return body

    def put(self, resource: Resource, stored: Stored, body: Object) -> Object:
        """Replace an object, unless nothing changed. Without finalizers, one that is being deleted goes away."""
        before = stored.body
        if body == before:
            return before
        own = {"metadata", "status"}
        grows = {k: v for k, v in body.items() if k not in own} != {k: v for k, v in before.items() if k not in own}
        if grows:
            body["metadata"]["generation"] = int(before["metadata"].get("generation", 1)) + 1
        body["metadata"]["resourceVersion"] = self.next_version()
        stored.body = body
        if (
            being_deleted(body)
            and not metadata(body).get("finalizers")
            and not body["metadata"].get("deletionGracePeriodSeconds")
        ):
            self._drop(resource, body)
            return body
        self._tell("MODIFIED", resource, body, before)
        return body

    def delete(self, resource: Resource, stored: Stored, grace: int) -> tuple[Object, bool]:
        """Begin or finish a deletion. The object as it is then, and whether it is gone."""
        body = copy.deepcopy(stored.body)
        meta = body["metadata"]
        waits = bool(meta.get("finalizers"))
        if not waits and grace == 0:
            self._drop(resource, body)
            return body, True
        if being_deleted(body) and meta.get("deletionGracePeriodSeconds", 0) <= grace:
            return stored.body, False
        meta["deletionTimestamp"] = timestamp(self.now() + grace)
        meta["deletionGracePeriodSeconds"] = grace
        meta["generation"] = int(meta.get("generation", 1)) + 1
        meta["resourceVersion"] = self.next_version()
        before, stored.body = stored.body, body
        self._tell("MODIFIED", resource, body, before)
        return body, False

    def collect(self) -> None:
        """Delete what only owners that are gone owned, as the garbage collector does."""
        again = True
        while again:
            again = False
            uids = {s.body["metadata"]["uid"] for kept in self.objects.values() for s in kept.values()}
            for resource, kept in list(self.objects.items()):
                for stored in list(kept.values()):
                    owners = metadata(stored.body).get("ownerReferences") or []
                    if owners and not being_deleted(stored.body) and not any(owner["uid"] in uids for owner in owners):
                        self.delete(resource, stored, grace=0)
                        again = True

    def compact(self) -> None:
        """Forget the past: older versions are gone (410) from now on."""
        with self.lock:
            self.oldest = self.version
            self.log.clear()

    def _drop(self, resource: Resource, body: Object) -> None:
        del self.objects[resource][key_of(body)]
        last = copy.deepcopy(body)
        last["metadata"]["resourceVersion"] = self.next_version()
        self._tell("DELETED", resource, last, body)

    def _tell(self, type: str, resource: Resource, body: Object, before: Object | None) -> None:
        self.log.append(Logged(int(body["metadata"]["resourceVersion"]), type, resource, copy.deepcopy(body), before))
        self.changed.notify_all()
