"""One operator process: its controllers over shared informers, from start to graceful stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mlplatform.controllers.framework.loop import Loop, Parts
from mlplatform.controllers.framework.model import Controller, Owned
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.cache import Change, Indexer, by_label
from mlplatform.kube.client import Client
from mlplatform.kube.informer import Informer
from mlplatform.kube.leases import Shards, Timing, shard_of
from mlplatform.kube.objects import Key, Resource

_log = logging.getLogger(__name__)

#: Workers get so long to finish the key they have when the process is asked to stop (seconds).
STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Sharing:
    """How replicas share the keys. One shard is leader election."""

    namespace: str
    identity: str
    group: str = "mlplatform-operator"
    shards: int = 8
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """``namespace``: the only one that is looked at (empty: all). ``resync``: seconds between looks at everything."""

    namespace: str = ""
    workers: int = 4
    resync: float = 600.0
    sharing: Sharing | None = None


class Manager:
    """Runs controllers. :meth:`start`, then :meth:`stop`; tests drive :meth:`refresh` and :meth:`settle` instead."""

    def __init__(
        self, client: Client, parts: Parts, controllers: Iterable[Controller[Any]], settings: Settings
    ) -> None:
        self.settings = settings
        self.shards = self._sharing(client, parts, settings.sharing)
        if self.shards is not None:
            parts = replace(parts, owns=self.shards.owns, may_write=self.shards.may_write)
        self.parts = parts
        self.informers: dict[tuple[Resource, str], Informer] = {}
        self.loops: list[Loop[Any]] = []
        for controller in controllers:
            self._add(client, controller)
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._started = False

    def start(self, timeout: float | None = None) -> None:
        """Fill the caches, then begin to work. Raises KubernetesError where they are not filled in ``timeout`` seconds.

        Returns early, having begun nothing, where :meth:`stop` was called meanwhile.
        """
        self.parts.recorder.start()
        for informer in self.informers.values():
            self._thread(informer.run, f"cache {informer.resource.plural}")
        end = None if timeout is None else time.monotonic() + timeout
        for informer in self.informers.values():
            while not informer.synced.wait(0.1):
                if self._stopping.is_set():
                    return
                if end is not None and time.monotonic() > end:
                    raise KubernetesError(f"The cache of {informer.resource.name} is not filled: {informer.trouble}")
        if self.shards is not None:
            self._thread(self.shards.run, "leases")
        for loop in self.loops:
            loop.wake_all()
            loop.start(self.settings.workers)
        self._thread(self._resync, "resync")
        self._started = True

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """Finish the keys that are worked on, hand the shards over, close the watches. False: some did not finish."""
        self._stopping.set()
        end = time.monotonic() + timeout
        for loop in self.loops:
            loop.queue.close()
        finished = False not in [loop.stop(max(0.0, end - time.monotonic())) for loop in self.loops]
        if self.shards is not None:
            self.shards.stop()
            if finished and self._started:
                self.shards.leave()
        for informer in self.informers.values():
            informer.stop()
        self.parts.recorder.stop()
        for thread in self._threads:
            thread.join(max(0.5, end - time.monotonic()))
        return finished

    # What a probe asks

    def ready(self) -> str:
        """What is missing; empty: nothing."""
        missing = [
            f"{one.resource.name}: {one.trouble or 'not listed yet'}"
            for one in self.informers.values()
            if not one.synced.is_set()
        ]
        return "; ".join(missing)

    def alive(self) -> str:
        """What is broken for good; empty: nothing."""
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"threads ended: {', '.join(dead)}" if dead and not self._stopping.is_set() else ""

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics = self.parts.metrics
        for loop in self.loops:
            metrics.queue_depth.labels(loop.controller.name).set(len(loop.queue))
            metrics.busy_workers.labels(loop.controller.name).set(loop.queue.busy)
        for informer in self.informers.values():
            metrics.cached_objects.labels(informer.resource.name).set(len(informer.cache))
            metrics.lists.labels(informer.resource.name).set(informer.lists)
        metrics.dropped_events.set(self.parts.recorder.dropped)
        if self.shards is not None:
            metrics.shards.set(len(self.shards.owned))

    # One step at a time, in the caller's thread

    def refresh(self) -> None:
        """List everything anew, in the place of watches."""
        for informer in self.informers.values():
            informer.refresh()

    def settle(self, rounds: int = 1000) -> int:
        """Refresh and work, until there is nothing to do now. Returns how many keys were looked at."""
        looked = 0
        for _ in range(rounds):
            self.refresh()
            before = looked
            for loop in self.loops:
                while loop.process_one():
                    looked += 1
            if looked == before:
                self.parts.recorder.flush()
                return looked
        raise AssertionError(f"not settled after {rounds} rounds")

    # How it is put together

    def _add(self, client: Client, controller: Controller[Any]) -> None:
        owned = {one.resource: one for one in controller.owned}
        kinds = [owned.get(controller.resource, Owned(controller.resource))]
        kinds += [one for resource, one in owned.items() if resource != controller.resource]
        mine = {one.resource: self._informer(client, one) for one in kinds}
        self.loops.append(Loop(controller, mine, self.parts))

    def _informer(self, client: Client, owned: Owned) -> Informer:
        """One informer for a kind and selector, whoever asks for it; with the indexes of the first."""
        place = (owned.resource, owned.selector)
        if place not in self.informers:
            indexers: dict[str, Indexer] = {name: by_label(label) for name, label in owned.indexes.items()}
            self.informers[place] = Informer(
                client,
                owned.resource,
                self.settings.namespace if owned.resource.namespaced else "",
                labels=owned.selector,
                indexers=indexers,
                chance=self.parts.chance,
                on_change=lambda change: self._changed(place, change),
                on_version=lambda _: self._reached(place),
            )
        return self.informers[place]

    def _changed(self, place: tuple[Resource, str], change: Change) -> None:
        for loop in self._loops_of(place):
            loop.changed(place[0], change)

    def _reached(self, place: tuple[Resource, str]) -> None:
        for loop in self._loops_of(place):
            loop.reached(place[0])

    def _loops_of(self, place: tuple[Resource, str]) -> list[Loop[Any]]:
        informer = self.informers[place]
        return [loop for loop in self.loops if loop.uses(informer)]

    def _sharing(self, client: Client, parts: Parts, sharing: Sharing | None) -> Shards | None:
        if sharing is None:
            return None

        def gained(shards: set[int]) -> None:
            for loop in self.loops:
                loop.wake_all(lambda key: shard_of(key, sharing.shards) in shards)

        def losing(shards: set[int]) -> bool:
            def theirs(key: Key) -> bool:
                return shard_of(key, sharing.shards) in shards

            return all(loop.queue.wait_idle(theirs, 0.0) for loop in self.loops)

        return Shards(
            client,
            namespace=sharing.namespace,
            group=sharing.group,
            identity=sharing.identity,
            count=sharing.shards,
            gained=gained,
            losing=losing,
            timing=sharing.timing,
            clock=parts.clock,
            now=parts.now,
        )

    def _resync(self) -> None:
        while not self._stopping.wait(self.settings.resync * (0.9 + 0.2 * self.parts.chance())):
            for loop in self.loops:
                loop.wake_all()

    def _thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
