"""A key waits until the caches have seen its own last write.

Without that, a cache that is a moment behind shows a finished task as not begun, and a plan made from it would begin it
again. A write is seen when the cache of its kind has reached the resource version that the server answered; a deletion
or a released finalizer, whose last version nobody is told, when the cached object has changed or is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import Key, Resource

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Version:
    """Seen when the cache has reached ``version``."""

    resource: Resource
    version: int

    def seen(self, informer: Informer) -> bool:
        return informer.version >= self.version


@dataclass(frozen=True, slots=True)
class _Object:
    """Seen when the object ``uid`` is not as it was at ``version`` any more."""

    resource: Resource
    key: Key
    uid: str
    version: str

    def seen(self, informer: Informer) -> bool:
        meta = informer.cache.meta(self.key)
        return meta is None or meta.uid != self.uid or meta.resource_version != self.version


class Expectations(Generic[K]):
    """What each key of one controller waits for. ``wake`` is called with a key that waits for nothing any more."""

    def __init__(self, informers: Mapping[Resource, Informer], wake: Callable[[K], None]) -> None:
        self._informers = informers
        self._wake = wake
        self._lock = threading.Lock()
        self._needs: dict[K, set[_Version | _Object]] = {}
        self._by_resource: dict[Resource, set[K]] = {}
        self._parked: set[K] = set()

    def wrote(self, owner: K, resource: Resource, version: str) -> None:
        """``owner`` waits until the cache of ``resource`` has reached ``version``."""
        if version.isdigit():
            self._need(owner, _Version(resource, int(version)))

    def will_change(self, owner: K, resource: Resource, key: Key, uid: str, version: str) -> None:
        """``owner`` waits until the object is not as it was at ``version``, or is gone."""
        self._need(owner, _Object(resource, key, uid, version))

    def park(self, owner: K) -> bool:
        """Does it still wait? Then ``wake`` is called later; otherwise go on."""
        with self._lock:
            if not self._needs.get(owner):
                return False
            self._parked.add(owner)
            return True

    def forget(self, owner: K) -> None:
        with self._lock:
            for need in self._needs.pop(owner, ()):
                self._by_resource.get(need.resource, set()).discard(owner)
            self._parked.discard(owner)

    def check(self, resource: Resource) -> None:
        """The cache of ``resource`` has moved on."""
        awake: list[K] = []
        with self._lock:
            waiting = self._by_resource.get(resource)
            if not waiting:
                return
            informer = self._informers[resource]
            for owner in list(waiting):
                needs = self._needs[owner]
                left = {need for need in needs if need.resource != resource or not need.seen(informer)}
                if len(left) == len(needs):
                    continue
                if not any(need.resource == resource for need in left):
                    waiting.discard(owner)
                if left:
                    self._needs[owner] = left
                    continue
                del self._needs[owner]
                if owner in self._parked:
                    self._parked.discard(owner)
                    awake.append(owner)
        for owner in awake:
            self._wake(owner)

    def _need(self, owner: K, need: _Version | _Object) -> None:
        informer = self._informers.get(need.resource)
        if informer is None:  # nobody looks at that kind, so nothing can be planned from it
            return
        with self._lock:
            if need.seen(informer):
                return
            self._needs.setdefault(owner, set()).add(need)
            self._by_resource.setdefault(need.resource, set()).add(owner)
