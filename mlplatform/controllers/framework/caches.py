"""What a controller sees of the informers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.controllers.framework.waiting import Waiting
from mlplatform.kube.cache import BY_NAMESPACE, BY_OWNER, Cache
from mlplatform.kube.objects import Key, Object, Resource, uid_of
from mlplatform.kube.watch import Meta


class InformerCaches:
    """One controller's view: the caches of the kinds that it names."""

    def __init__(self, caches: Mapping[Resource, Cache], waiting: Waiting | None = None) -> None:
        self._caches = dict(caches)
        self._waiting = waiting if waiting is not None else Waiting()

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self._caches[resource].get(key)

    def owned_by(self, resource: Resource, owner: Mapping[str, Any]) -> list[Object]:
        return self._caches[resource].indexed(BY_OWNER, uid_of(owner))

    def owned_meta(self, resource: Resource, owner: Mapping[str, Any]) -> list[Meta]:
        return self._caches[resource].indexed_meta(BY_OWNER, uid_of(owner))

    def indexed(self, resource: Resource, index: str, value: str) -> list[Object]:
        return self._caches[resource].indexed(index, value)

    def waiting(self, primary: Object) -> Mapping[str, Any] | None:
        return self._waiting.of(primary)

    def versions(self, resource: Resource, namespace: str) -> dict[str, tuple[str, bool]]:
        found = self._caches[resource].indexed_meta(BY_NAMESPACE, namespace)
        return {
            meta.name: (f"{meta.uid} {meta.resource_version}", meta.deletion_timestamp is not None) for meta in found
        }

    def cache(self, resource: Resource) -> Cache | None:
        """None: the kind is written but not watched."""
        return self._caches.get(resource)
