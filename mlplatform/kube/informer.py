"""Keeps a cache up to date: one list, then watches, for as long as it runs.

A watch goes on where the last one ended, whatever ended it; only a version that the server has forgotten (410) costs a
new list. What a new list shows and the cache has not seen is told as changes, deletions too, so listeners never miss
one; several changes of one object may be told as one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.cache import Cache, Change, Indexer
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Gone
from mlplatform.kube.objects import Key, Resource
from mlplatform.kube.watch import Watch, meta_of

_log = logging.getLogger(__name__)

#: A watch lasts between these (seconds): a server that comes back should not meet all of them at once.
_WATCH_SECONDS: Final = (300, 600)
_BACK_OFF: Final = (0.25, 30.0)


class Informer:
    """One kind of object, in one namespace or in all.

    ``on_change`` is called for each change, after the cache has it; ``on_version`` whenever everything up to a resource
    version has been seen. Both from the thread that :meth:`run` has, and quick. ``chance`` gives numbers in [0, 1).
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        indexers: Mapping[str, Indexer] | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        on_change: Callable[[Change], None] = lambda _: None,
        on_version: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.cache = Cache(resource, indexers)
        self.synced = threading.Event()
        #: Everything up to here has been seen.
        self.version = 0
        self.trouble: str = ""
        self.lists = 0
        self._client = client
        self._labels, self._fields = labels, fields
        self._chance = chance
        self._on_change = on_change
        self._on_version = on_version
        self._failures = 0
        self._resume = ""
        self._watch: Watch | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until :meth:`stop`. Whatever the server does is tried again, later and later, up to half a minute."""
        while not self._stopping.is_set():
            try:
                if not self._resume:
                    self.refresh()
                self._follow()
            except Gone:
                _log.info("%s: the server has forgotten version %s: listing anew", self.resource.name, self._resume)
                self._resume = ""
            except KubernetesError as error:
                if self._stopping.is_set():
                    return
                self.trouble = str(error)
                wait = min(_BACK_OFF[1], _BACK_OFF[0] * 2**self._failures) * (0.5 + self._chance())
                self._failures = min(self._failures + 1, 10)
                _log.log(logging.WARNING if self._failures > 3 else logging.INFO, "%s; again in %.1f s", error, wait)
                self._stopping.wait(wait)

    def refresh(self) -> None:
        """List everything once, and tell what changed. Raises KubernetesError."""
        found: set[Key] = set()
        version = ""
        for page in self._client.pages(self.resource, self.namespace, labels=self._labels, fields=self._fields):
            version = page.resource_version
            for raw in page.items:
                meta = meta_of(raw)
                found.add(Key(meta.namespace, meta.name))
                self._tell(self.cache.put(meta, raw))
        for key in self.cache.all_keys():
            if key not in found:
                self._tell(self.cache.remove(key))
        self.lists += 1
        self._reached(version)
        self.synced.set()

    def stop(self) -> None:
        self._stopping.set()
        watch = self._watch
        if watch is not None:
            watch.close()

    def _follow(self) -> None:
        low, high = _WATCH_SECONDS
        seconds = int(low + (high - low) * self._chance())
        watch = self._client.watch(
            self.resource,
            self.namespace,
            resource_version=self._resume,
            labels=self._labels,
            fields=self._fields,
            seconds=seconds,
        )
        self._watch = watch
        with watch:
            if self._stopping.is_set():
                return
            for event in watch:
                if event.type == "DELETED":
                    self._tell(self.cache.remove(Key(event.meta.namespace, event.meta.name)))
                elif event.type != "BOOKMARK":
                    self._tell(self.cache.put(event.meta, event.raw))
                self._reached(event.meta.resource_version)
        self._watch = None

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._on_change(change)

    def _reached(self, version: str) -> None:
        self._resume = version
        self._failures, self.trouble = 0, ""
        if version.isdigit():
            self.version = int(version)
            self._on_version(self.version)
