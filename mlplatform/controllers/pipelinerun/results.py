"""Results that are there: finished tasks of a namespace, found by their key in what the caches hold of its runs.

Nothing is written for them: a result is known as long as its run is there, so it goes with the run's time to live.
What is kept here is an index, which follows the caches and may be lost at any moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mlplatform.apis.codec import decode
from mlplatform.apis.objects import pipeline_run, task_records
from mlplatform.apis.pipelinerun import PipelineRun, TaskStatus
from mlplatform.controllers.framework.model import Caches
from mlplatform.controllers.pipelinerun.reuse import Entry, PartsOf
from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import TaskKey, Values
from mlplatform.core.values import JsonValue, child
from mlplatform.kube.objects import Key, Object, Resource
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from mlplatform.planning.accepting import Accepted, Rejected
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import Limits
from mlplatform.planning.taskstatus import facts_of, merged
from mlplatform.render.runview import run_view

_DONE: Final = ("SUCCEEDED", "CACHED")
#: Earlier runs that are looked at to say what changed, and how many of the same pipeline are compared.
_LOOKED_AT: Final = 40
_COMPARED: Final = 5
#: Larger runs are not built again for the sake of a word.
_LARGEST: Final = 2000

Built = tuple[PipelineRun, Accepted, Brain]
Place = tuple[Resource, str]
#: How a run's document is read.
Accept = Callable[[PipelineRun], Accepted | Rejected]


@dataclass
class _Space:
    """One namespace. ``keys``: key -> where, with when it ended; ``images``: name -> (when, digest)."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    seen: dict[Place, str] = field(default_factory=dict[Place, str])
    keys: dict[str, dict[Place, str]] = field(default_factory=dict[str, dict[Place, str]])
    held: dict[Place, list[str]] = field(default_factory=dict[Place, list[str]])
    images: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    begun: dict[str, str] = field(default_factory=dict[str, str])
    brains: dict[str, tuple[str, Built | None]] = field(default_factory=dict[str, "tuple[str, Built | None]"])


class Results:
    """The indexes of all namespaces. Threads share one."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._lock = threading.Lock()
        self._spaces: dict[str, _Space] = {}

    def of(self, caches: Caches, namespace: str) -> NamespaceResults:
        """Results of a namespace, as the caches have them when the first question is asked: most looks ask none."""
        with self._lock:
            space = self._spaces.setdefault(namespace, _Space())
        return NamespaceResults(space, caches, namespace, self._accept)


def _follow(space: _Space, caches: Caches, resource: Resource, namespace: str) -> None:
    there = {name: version for name, (version, going) in caches.versions(resource, namespace).items() if not going}
    for place in [place for place in space.seen if place[0] == resource and place[1] not in there]:
        _drop(space, place)
    for name, version in there.items():
        place = (resource, name)
        if space.seen.get(place) == version:
            continue
        body = caches.get(resource, Key(namespace, name))
        _drop(space, place)
        if body is not None:
            space.seen[place] = version
            _take(space, place, body)


def _drop(space: _Space, place: Place) -> None:
    space.seen.pop(place, None)
    for key in space.held.pop(place, ()):
        places = space.keys.get(key)
        if places is not None:
            places.pop(place, None)
            if not places:
                del space.keys[key]
    if place[0] == PIPELINE_RUNS:
        space.begun.pop(place[1], None)
        space.brains.pop(place[1], None)


def _take(space: _Space, place: Place, body: Object) -> None:
    if place[0] == PIPELINE_RUNS:
        space.begun[place[1]] = str(child(body, "status").get("startedAt") or "")
    held: list[str] = []
    for task in _tasks(place[0], body):
        name, _, digest = str(task.get("image") or "").rpartition("@")
        told = str(task.get("startedAt") or "")
        if digest and task.get("pod") and told >= space.images.get(name, ("", ""))[0]:
            space.images[name] = (told, digest)
        key = task.get("cacheKey")
        if key and digest and task.get("state") in _DONE:
            space.keys.setdefault(key, {})[place] = str(task.get("finishedAt") or "")
            held.append(key)
    space.held[place] = held


def _tasks(resource: Resource, body: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = child(body, "status" if resource == PIPELINE_RUNS else "spec").get("tasks")
    return found or []


class NamespaceResults:
    """One look at a namespace (``reuse.Known``)."""

    def __init__(self, space: _Space, caches: Caches, namespace: str, accept: Accept) -> None:
        self._space = space
        self._caches = caches
        self._namespace = namespace
        self._accept = accept
        self._followed = False

    def _follow(self) -> None:
        if self._followed:
            return
        with self._space.lock:
            for resource in (PIPELINE_RUNS, RECORDS):
                _follow(self._space, self._caches, resource, self._namespace)
        self._followed = True

    def find(self, key: str) -> list[Entry]:
        self._follow()
        with self._space.lock:
            places = sorted(self._space.keys.get(key, {}).items(), key=lambda one: (one[1], one[0][1]), reverse=True)
        found = (self._entry(key, place) for place, _ in places)
        return [entry for entry in found if entry is not None]

    def _entry(self, key: str, place: Place) -> Entry | None:
        body = self._caches.get(place[0], Key(self._namespace, place[1]))
        if body is None:
            return None
        run = body if place[0] == PIPELINE_RUNS else self._run(str(child(body, "spec").get("run") or ""))
        if run is None:
            return None
        for data in _tasks(place[0], body):
            if data.get("cacheKey") == key and data.get("state") in _DONE:
                try:
                    task = decode(TaskStatus, data, "task")
                    typed = pipeline_run({**run, "status": {}})
                except MlPlatformError:
                    return None
                name = typed.name
                source = task.cached_from or f"{name}:{TaskKey(task.path, task.iteration)}"
                digest = task.image.rpartition("@")[2]
                return Entry(source, name, digest, Values.from_json(dict(task.outputs)), typed.spec.store)
        return None

    def _run(self, name: str) -> Object | None:
        return self._caches.get(PIPELINE_RUNS, Key(self._namespace, name))

    def image(self, name: str) -> str:
        self._follow()
        return self._space.images.get(name, ("", ""))[1]

    def similar(self, run: PipelineRun, pipeline: str, parts_of: PartsOf) -> list[Mapping[str, JsonValue]]:
        self._follow()
        with self._space.lock:
            names = sorted(self._space.begun, key=lambda name: (self._space.begun[name], name), reverse=True)
        found: list[Mapping[str, JsonValue]] = []
        compared = 0
        for name in [name for name in names if name != run.name][:_LOOKED_AT]:
            built = self._brain(name)
            if built is None or built[1].pipeline.name != pipeline:
                continue
            try:
                found += list(parts_of(*built))
            except MlPlatformError:
                continue
            compared += 1
            if compared >= _COMPARED:
                break
        return found

    def _brain(self, name: str) -> Built | None:
        """An earlier run as its planner has it."""
        with self._space.lock:
            mark = self._space.seen.get((PIPELINE_RUNS, name), "")
            known = self._space.brains.get(name)
            if known is not None and known[0] == mark:
                return known[1]
        try:
            built = self._built(name)
        except MlPlatformError:
            built = None
        with self._space.lock:
            if len(self._space.brains) >= _LOOKED_AT:
                self._space.brains.clear()
            self._space.brains[name] = (mark, built)
        return built

    def _built(self, name: str) -> Built | None:
        body = self._run(name)
        if body is None:
            return None
        run = pipeline_run(body)
        accepted = self._accept(run)
        if isinstance(accepted, Rejected) or run.status.counts.total > _LARGEST or not run.status.started_at:
            return None
        chunks = sorted(map(task_records, self._caches.owned_by(RECORDS, body)), key=lambda chunk: chunk.index)
        history = merged([chunk.tasks for chunk in chunks], run.status.tasks)
        view = replace(run_view(run, accepted), tasks=facts_of(history))
        return run, accepted, Brain(accepted.pipeline, view, Limits(), 0.0)


__all__ = ["NamespaceResults", "Results"]
