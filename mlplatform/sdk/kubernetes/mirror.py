"""Follows the runs of a namespace and keeps what became of them in the store, where it stays when they are deleted.

The objects are the truth, the store a copy: whatever was missed is made up for at the next look, and looking twice
changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.errors import MlPlatformError, NotFound
from mlplatform.core.model import AttemptRecord, RunRecord, TaskKey, TaskRecord
from mlplatform.core.records import Batch
from mlplatform.engine.ports import Tracker
from mlplatform.engine.records import run_event, task_event
from mlplatform.kube.cache import BY_OWNER, Change
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import Key, Object, uid_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from mlplatform.kube.queue import Queue
from mlplatform.render.names import pod_name, task_hash
from mlplatform.sdk.kubernetes.history import Whole, whole
from mlplatform.sdk.kubernetes.tracked import track, with_known_ids

_log = logging.getLogger(__name__)

#: Seconds between two looks at one run: a large run changes many times a second.
PAUSE = 0.3


class Store(Protocol):
    """What the mirror needs of a run store."""

    def create_run(self, run: RunRecord, document: bytes) -> None: ...
    def get_run(self, run_id: str) -> RunRecord: ...
    def apply(self, batch: Batch) -> None: ...
    def tasks(self, run_id: str) -> list[TaskRecord]: ...
    def attempts(self, run_id: str) -> list[AttemptRecord]: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store holds of one run."""

    run: RunRecord
    tasks: Mapping[TaskKey, TaskRecord] = field(default_factory=dict[TaskKey, TaskRecord])
    attempts: Mapping[TaskKey, AttemptRecord] = field(default_factory=dict[TaskKey, AttemptRecord])


class Mirror:
    """One namespace. ``logs`` is the folder in which logs of attempts are kept; ``ended`` is told of each attempt that
    has a new record and is over, and of its pod's run; ``tracker`` of what becomes of runs, where this is the one that
    tracks them."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        store: Callable[[], Store],
        logs: Path,
        clock: Callable[[], float],
        ended: Callable[[PipelineRun, AttemptRecord], None] = lambda run, attempt: None,
        tracker: Tracker | None = None,
    ) -> None:
        self._namespace = namespace
        self._store = store
        self._logs = logs
        self._clock = clock
        self._ended = ended
        self._tracker = tracker
        self._client = client
        self._queue: Queue[Key] = Queue()
        self._runs = Informer(client, PIPELINE_RUNS, namespace, on_change=self._changed)
        self._chunks = Informer(client, RECORDS, namespace, on_change=self._changed_chunk)
        self._threads: list[threading.Thread] = []
        #: What the store holds of runs that live: compared with, so that only changes are written.
        self._kept: dict[str, _Known] = {}
        self._lock = threading.Lock()

    @property
    def trouble(self) -> str:
        """Why the objects cannot be read at the moment; empty: they can."""
        return self._runs.trouble or self._chunks.trouble

    @property
    def synced(self) -> bool:
        """Whether everything there is has been listed once."""
        return self._runs.synced.is_set() and self._chunks.synced.is_set()

    def find(self, key: Key, uid: str) -> Object:
        """A run's object, which may be newer than what was seen yet. Raises NotFound, KubernetesError."""
        body = self._runs.cache.get(key)
        if body is None or uid_of(body) != uid:
            try:
                body = self._client.get(PIPELINE_RUNS, key)
            except ObjectNotFound:
                body = None
        if body is None or uid_of(body) != uid:
            raise NotFound(f"there is no run {key.name} of that pod")
        return body

    def start(self) -> None:
        for target in (self._runs.run, self._chunks.run, self._work):
            thread = threading.Thread(target=target, daemon=True, name=f"mirror {target.__qualname__}")
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._runs.stop()
        self._chunks.stop()
        self._queue.close()
        for thread in self._threads:
            thread.join(5.0)

    def caught_up(self, seconds: float) -> bool:
        """Wait until everything there is has been copied once (False: it took longer)."""
        end = time.monotonic() + seconds
        for informer in (self._runs, self._chunks):
            if self._threads and not informer.synced.wait(max(0.0, end - time.monotonic())):
                return False
        while len(self._queue) or self._queue.busy:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def refresh(self) -> None:
        """List everything and copy it, here and now. Raises KubernetesError, StoreError."""
        self._chunks.refresh()
        self._runs.refresh()
        for key in self._runs.cache.all_keys():
            self.look(key)

    # ------------------------------------------------------------------ what changed
    def _changed(self, change: Change) -> None:
        if change.kind != "deleted":  # history stays
            self._queue.add(change.key)

    def _changed_chunk(self, change: Change) -> None:
        for owner in change.meta.owner_references or ():
            if owner.kind == PIPELINE_RUNS.kind:
                self._queue.add(Key(change.key.namespace, owner.name))

    def _work(self) -> None:
        while (key := self._queue.get()) is not None:
            try:
                if not self.synced:
                    self._queue.add_after(key, PAUSE)
                    continue
                self.look(key)
                self._queue.forget(key)
                time.sleep(PAUSE if len(self._queue) < 2 else 0.0)
            except MlPlatformError as error:
                _log.warning("%s cannot be copied: %s", key, error)
                self._queue.retry(key)
            except Exception:  # noqa: BLE001 - one odd object must not end the copying of all others
                _log.exception("%s cannot be copied", key)
                self._queue.retry(key, 10.0)
            finally:
                self._queue.done(key)

    # ------------------------------------------------------------------ copying
    def look(self, key: Key) -> None:
        """Copy what is new of one run. Raises StoreError."""
        body = self._runs.cache.get(key)
        if body is not None:
            self.take(body)

    def take(self, body: Object) -> str:
        """Copy one run as it is in ``body``; returns its id. Raises StoreError."""
        found = whole(body, self._chunks.cache.indexed(BY_OWNER, uid_of(body)), self._clock())
        with self._lock:
            self._write(found.source, found)
        return found.run.run_id

    def _write(self, run: PipelineRun, found: Whole) -> None:
        run_id = found.run.run_id
        store = self._store()
        known = self._kept.get(run_id) or self._known(store, run_id)
        if known is None and run.deleting:
            return
        found = with_known_ids(found, known.run if known else None, known.tasks if known else {})
        if self._tracker is not None:
            found = track(self._tracker, found, known.run if known else None, known.tasks if known else {})
        if known is None:
            store.create_run(replace(found.run, tags=dict(found.run.tags)), found.document)
            known = _Known(found.run)
        tasks, attempts = known.tasks, known.attempts
        new_tasks = [task for task in found.tasks if tasks.get(task.key) != task]
        here = [replace(attempt, directory=str(self._place(run_id, run.name, attempt)))
                for attempt in found.attempts]  # fmt: skip
        new_attempts = [attempt for attempt in here if attempts.get(attempt.key) != attempt]
        changed = _told(found.run) != _told(known.run) or found.run.mlflow_run_id != known.run.mlflow_run_id
        if new_tasks or new_attempts or changed:
            now = self._clock()
            events: list[tuple[float, str, Mapping[str, Any]]] = [
                (now, "task", task_event(task))
                for task in new_tasks
                if task.key not in tasks or _seen(tasks[task.key]) != _seen(task)
            ]
            if changed:
                events.append((now, "run", run_event(found.run)))
            store.apply(Batch(run_id, found.run if changed else None, new_tasks, new_attempts, events=events))
        finished = found.run.state.finished
        self._kept[run_id] = _Known(
            found.run,
            {**tasks} | {task.key: task for task in new_tasks},
            {**attempts} | {attempt.key: attempt for attempt in new_attempts},
        )
        if finished:
            del self._kept[run_id]  # a finished run is rarely looked at again; the store knows it
        for attempt in new_attempts:
            if attempt.state.finished:
                self._ended(run, attempt)

    def _known(self, store: Store, run_id: str) -> _Known | None:
        try:
            run = store.get_run(run_id)
        except NotFound:
            return None
        tasks = {task.key: task for task in store.tasks(run_id)}
        newest: dict[TaskKey, AttemptRecord] = {}
        for attempt in store.attempts(run_id):
            if attempt.key not in newest or newest[attempt.key].attempt < attempt.attempt:
                newest[attempt.key] = attempt
        return _Known(run, tasks, newest)

    def _place(self, run_id: str, name: str, attempt: AttemptRecord) -> Path:
        """Where its log is kept; that of a rank of a training job in a folder called like its pod."""
        folder, pod = self.folder(run_id, attempt.key, attempt.attempt), attempt.directory
        return folder if pod in ("", pod_name(name, attempt.key, attempt.attempt)) else folder / pod

    def folder(self, run_id: str, key: TaskKey, attempt: int) -> Path:
        """Where the log of an attempt is kept."""
        return self._logs / run_id / f"{task_hash(key)}-{attempt}"


def _told(run: RunRecord) -> Any:
    """What of a run's record the objects decide. Tags, notes and archiving belong to the store once it has them."""
    return replace(run, tags={}, note="", archived=False, context={}, mlflow_run_id="", mlflow_experiment_id="")


def _seen(task: TaskRecord) -> Any:
    return task.state, task.attempt, task.started_at, task.finished_at, task.waiting_for, task.error
