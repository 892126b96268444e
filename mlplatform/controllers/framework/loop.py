"""The loop of one controller: which keys are looked at, by whom, and when again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from mlplatform.controllers.framework.caches import InformerCaches
from mlplatform.controllers.framework.model import Controller, EventNote, Owned, Plan
from mlplatform.controllers.framework.waiting import Waiting
from mlplatform.controllers.framework.writing import NotOurs, Outcome, Writer
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.cache import BY_OWNER_NAME, Change, owner_name
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Conflict, ObjectNotFound
from mlplatform.kube.events import Recorder
from mlplatform.kube.expectations import Expectations
from mlplatform.kube.informer import Informer
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import Key, Object, Resource, uid_of
from mlplatform.kube.queue import Queue
from mlplatform.kube.watch import Meta

_log = logging.getLogger(__name__)

Seen = TypeVar("Seen")

#: With so many keys in the queue patience is twice as long. What only tells takes at most such a share of the time of
#: one worker: as long as a write takes, so many fewer are written a second. Patience grows to so many times what it is.
_CROWD: Final = 100
_TELLING: Final = 0.5
_MOST_PATIENT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What every loop of a process shares. ``chance`` gives numbers in [0, 1); ``width``: writes of a plan at once;
    ``patience``: seconds that a status which only tells may wait to be written with what follows, more while many wait
    for that, or for a worker, or while the server takes long for each."""

    client: Client
    recorder: Recorder
    metrics: Metrics
    owns: Callable[[Key], bool] = lambda _: True
    may_write: Callable[[Key], bool] = lambda _: True
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = lambda: 0.5
    width: int = 1
    patience: float = 0.0


class Loop(Generic[Seen]):
    """Runs one controller over the informers of its kinds."""

    def __init__(self, controller: Controller[Seen], informers: Mapping[Resource, Informer], parts: Parts) -> None:
        self.controller = controller
        self.queue: Queue[Key] = Queue(clock=parts.clock, chance=parts.chance)
        self._parts = parts
        self._informers = dict(informers)
        self._primary = informers[controller.resource].cache
        self._waiting = Waiting()
        self._pace = 0.0
        self._caches = InformerCaches({resource: one.cache for resource, one in informers.items()}, self._waiting)
        self._expectations: Expectations[Key] = Expectations(informers, self.queue.add)
        owned = tuple(controller.owned)
        self._writer = Writer(
            parts.client,
            controller.resource,
            (controller.resource, *(one.resource for one in owned)),
            finalizer=controller.finalizer,
            caches=self._caches,
            expectations=self._expectations,
            may_write=parts.may_write,
            width=parts.width,
        )
        self._owned: dict[Resource, Owned] = {one.resource: one for one in owned}
        self._threads: list[threading.Thread] = []

    @property
    def caches(self) -> InformerCaches:
        """What the controller sees."""
        return self._caches

    def uses(self, informer: Informer) -> bool:
        return self._informers.get(informer.resource) is informer

    # What informers tell

    def changed(self, resource: Resource, change: Change) -> None:
        """An object of a kind of ours changed: wake whom it concerns."""
        self._expectations.check(resource)
        new = change.kind == "added" and resource == self.controller.resource
        for key in self._concerned(resource, change):
            self.wake(key, new=new)

    def reached(self, resource: Resource) -> None:
        """A cache of ours has seen everything up to some version."""
        self._expectations.check(resource)

    def wake(self, key: Key, *, new: bool = False) -> None:
        if self._parts.owns(key):
            self.queue.add(key, new=new)

    def hurry(self, key: Key) -> None:
        """Somebody needs its status: what waits is written at the next look, which is now."""
        self._waiting.hurry(key)
        self.wake(key)

    def wake_all(self, picks: Callable[[Key], bool] = lambda _: True) -> None:
        """Every primary, and the owner of everything owned (whose primary may be gone)."""
        keys = set(self._primary.all_keys())
        for resource in self._owned:
            cache = self._informers[resource].cache
            for key in cache.all_keys():
                meta = cache.meta(key)
                keys.update(self._owners(resource, meta) if meta else ())
        for key in sorted(keys):
            if picks(key):
                self.wake(key)

    # Working

    def start(self, workers: int) -> None:
        for number in range(workers):
            thread = threading.Thread(target=self._work, name=f"{self.controller.name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout: float) -> bool:
        """Hand out no more keys and let the workers finish theirs. False: some did not in time."""
        self.queue.close()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        alive = any(thread.is_alive() for thread in self._threads)
        if not alive:
            self._writer.close()
        return not alive

    def process_one(self, timeout: float | None = 0.0) -> bool:
        """Look at the next key. False: there was none."""
        key = self.queue.get(timeout)
        if key is None:
            return False
        began = self._parts.clock()
        result = "error"
        try:
            result = self._process(key)
        finally:
            self.queue.done(key)
            name = self.controller.name
            self._parts.metrics.reconciles.labels(name, result).inc()
            self._parts.metrics.reconcile_seconds.labels(name).observe(self._parts.clock() - began)
        return True

    def _work(self) -> None:
        while self.process_one(None):
            pass

    def _process(self, key: Key) -> str:
        try:
            return self._reconcile(key)
        except NotOurs as error:
            _log.info("%s", error)
            return "lost"
        except (Conflict, ObjectNotFound) as error:
            wait = self.queue.retry(key, error.retry_after)
            _log.debug("%s %s: %s; again in %.1f s", self.controller.name, key, error, wait)
            return "conflict"
        except KubernetesError as error:
            wait = self.queue.retry(key, error.retry_after)
            _log.warning("%s %s: %s; again in %.1f s", self.controller.name, key, error, wait)
            return "error"
        except Exception:  # noqa: BLE001 - one object that nobody thought of must not stop the others
            wait = self.queue.retry(key)
            _log.exception("%s %s: a bug; again in %.1f s", self.controller.name, key, wait)
            return "bug"

    def _reconcile(self, key: Key) -> str:
        if not self._parts.owns(key):
            self._forget(key)
            return "not ours"
        if self._expectations.park(key):
            return "waits"
        primary = self._primary.get(key)
        self._release_orphans(key, uid_of(primary) if primary else "")
        if primary is None:
            self._forget(key)
            return "gone"
        observed = self.controller.observe(self._caches, key)
        if observed is None:
            self.queue.forget(key)
            return "nothing"
        now = self._parts.now()
        plan = self.controller.plan(observed, now)
        outcome = self._writer.make(key, primary, plan)
        told = plan
        if outcome.refusals:
            told = self.controller.refused(observed, now, tuple(outcome.refusals))
        again = self._status(key, primary, told, outcome)
        self._writer.finish(key, told, outcome)
        if again is None and (outcome.writes or outcome.refusals):
            self._say(primary, told.events)
        self._again(key, told, outcome)
        if again is not None:
            self.queue.add_after(key, again)
        return "refused" if outcome.refusals else "written" if outcome.writes else "same"

    def _status(self, key: Key, primary: Object, plan: Plan, outcome: Outcome) -> float | None:
        """Write it, or let it wait: so many seconds at most. None: it does not wait."""
        if plan.status is not None and plan.may_wait and not outcome.refusals and self._parts.patience:
            if not self._writer.differs(primary, plan.status):
                self._waiting.done(key)
                return None
            now = self._parts.clock()
            left = self._waiting.wait(key, primary, plan.status, now) + self._patience() - now
            if left > 0:
                return left
        if plan.status is not None:
            began = self._parts.clock()
            if self._writer.status(key, primary, plan.status, outcome):
                self._pace += 0.1 * (self._parts.clock() - began - self._pace)
        self._waiting.done(key)
        return None

    def _patience(self) -> float:
        """How long (s) a status may wait just now: longer while keys queue up here, and until all that wait can be
        written in their share of a worker's time."""
        patience = self._parts.patience
        crowd = len(self.queue) / _CROWD + len(self._waiting) * self._pace / _TELLING / patience
        return patience * min(_MOST_PATIENT, 1.0 + crowd)

    def _again(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        if outcome.refusals and plan.requeue_after is None:
            self.queue.retry(key, max(refusal.error.retry_after for refusal in outcome.refusals))
            return
        self.queue.forget(key)
        if plan.requeue_after is not None:
            self.queue.add_after(key, plan.requeue_after)

    def _say(self, primary: Object, events: Iterable[EventNote]) -> None:
        for note in events:
            regarding: Mapping[str, Any] = primary
            if note.regarding is not None:
                ref = note.regarding
                regarding = {
                    "apiVersion": ref.resource.api_version,
                    "kind": ref.resource.kind,
                    "metadata": {"namespace": ref.key.namespace, "name": ref.key.name, "uid": ref.uid},
                }
            self._parts.recorder.record(regarding, note.type, note.reason, note.message, note.action)

    def _release_orphans(self, key: Key, uid: str) -> None:
        """A primary that is gone (or was another one of that name) records nothing any more: what it left may go.

        The cache of primaries may be behind the others, so the server itself is asked first.
        """
        finalizer = self.controller.finalizer
        left = (
            [(resource, body) for resource in self._owned for body in self._left(resource, key, uid)]
            if finalizer
            else []
        )
        if not left:
            return
        try:
            there = uid_of(self._parts.client.get(self.controller.resource, key))
        except ObjectNotFound:
            there = ""
        if there != uid:
            raise Conflict(f"{self.controller.resource.name} {key} is another one than in the cache", status=409)
        for resource, body in left:
            self._writer.release_orphan(key, resource, body)

    def _left(self, resource: Resource, key: Key, uid: str) -> Iterable[Object]:
        """What a former primary named ``key`` has left with our finalizer on it."""
        cache = self._informers[resource].cache
        for meta in cache.indexed_meta(BY_OWNER_NAME, owner_name(self.controller.resource, key)):
            owner = next(one for one in meta.owner_references or () if one.controller)
            if owner.uid != uid and self.controller.finalizer in (meta.finalizers or ()):
                body = cache.get(Key(meta.namespace, meta.name))
                if body is not None:
                    yield body

    def _forget(self, key: Key) -> None:
        self.queue.forget(key)
        self._expectations.forget(key)
        self._writer.forget(key)
        self._waiting.done(key)

    def _concerned(self, resource: Resource, change: Change) -> set[Key]:
        if resource == self.controller.resource and resource not in self._owned:
            return {change.key}
        found: set[Key] = {change.key} if resource == self.controller.resource else set()
        for meta in (change.before, change.after):
            found.update(self._owners(resource, meta) if meta else ())
        return found

    def _owners(self, resource: Resource, meta: Meta) -> Iterable[Key]:
        """The keys of the primaries that an owned object belongs to."""
        owned, primary = self._owned[resource], self.controller.resource
        if owned.label:
            name = (meta.labels or {}).get(owned.label)
            return (Key(meta.namespace, name),) if name else ()
        group = primary.group
        return [
            Key(meta.namespace if primary.namespaced else "", owner.name)
            for owner in meta.owner_references or ()
            if owner.controller and owner.kind == primary.kind and owner.api_version.rpartition("/")[0] == group
        ]
