"""Reads each version of an object once, for runs that live: of thousands of pods few change between two looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from mlplatform.controllers.framework.model import Caches
from mlplatform.kube.objects import Key, Object, Resource, uid_of, version_of

T = TypeVar("T")

#: Runs that are remembered at once. One that is forgotten is read anew.
_RUNS: Final = 500


class Reading:
    """One run is read by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Resource], dict[str, tuple[str, Any]]] = {}

    def owned(self, caches: Caches, resource: Resource, run: Object, read: Callable[[Object], T]) -> list[T]:
        """What ``read`` makes of the objects of a run, in the order of their names."""
        place = (uid_of(run), resource)
        known = self._known.get(place, {})
        fresh: dict[str, tuple[str, Any]] = {}
        for meta in caches.owned_meta(resource, run):
            found = known.get(meta.uid)
            if found is None or found[0] != meta.resource_version:
                body = caches.get(resource, Key(meta.namespace, meta.name))
                if body is None:
                    continue
                found = (version_of(body), read(body))
            fresh[meta.uid] = found
        if place not in self._known and len(self._known) >= 2 * _RUNS:
            self._known.clear()
        self._known[place] = fresh
        return [cast("T", found[1]) for found in fresh.values()]

    def forget(self, uid: str) -> None:
        """The run with that UID is over."""
        for place in [place for place in list(self._known) if place[0] == uid]:
            self._known.pop(place, None)
