"""The training jobs of one namespace, as whoever shows them has them: watched, with the logs of their ranks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mlplatform.apis.names import LABEL_JOB, LABEL_MANAGED, MANAGER
from mlplatform.core.errors import KubernetesError, NotFound
from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.core.values import child
from mlplatform.engine.ports import Tracker
from mlplatform.kube.cache import Change, by_label
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, ObjectNotFound
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import NODES, PODS, RESOURCE_QUOTAS, Key, Object
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.places import nodes_view, quotas_view, waiting_view
from mlplatform.planning.training.tracked import tracked_run
from mlplatform.planning.training.view import RankView, rank_of_pod
from mlplatform.render.training.names import pod_name
from mlplatform.sdk.kubernetes.logs import Logs
from mlplatform.sdk.records import LOG_NAME

#: Seconds that a first look waits for the caches.
_FILL: Final = 10.0
#: Logs of so many ranks of a group are kept while they run; those of others once somebody has looked at them.
KEPT_RANKS: Final = 8


class ClusterJobs:
    """Threads share one. ``folder``: where logs are kept. Nothing is watched before somebody looks. ``tracker``: is
    told of the jobs, by this process and by no other."""

    def __init__(self, client: Client, namespace: str, folder: Path, tracker: Tracker | None = None) -> None:
        self.namespace = namespace
        self._client = client
        self._folder = folder
        self._lock = threading.Lock()
        self._marks: dict[str, int] = {}
        self._tracker = tracker
        self._tracked: dict[str, RunRecord] = {}
        self._threads: list[threading.Thread] = []
        self._jobs = Informer(client, TRAINING_JOBS, namespace, on_change=self._changed)
        self._pods = Informer(
            client,
            PODS,
            namespace,
            labels=f"{LABEL_MANAGED}={MANAGER},{LABEL_JOB}",
            indexers={LABEL_JOB: by_label(LABEL_JOB)},
            on_change=self._changed_pod,
        )
        self._logs = Logs(client, self._container)

    def start(self) -> None:
        """Begin to watch, if that was not begun yet."""
        with self._lock:
            if self._threads:
                return
            self._threads = [
                threading.Thread(target=informer.run, name=f"training {informer.resource.plural}", daemon=True)
                for informer in (self._jobs, self._pods)
            ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._jobs.stop()
        self._pods.stop()
        self._logs.close()

    # ------------------------------------------------------------------ what there is
    def bodies(self) -> list[Object]:
        """All jobs, by name. Raises KubernetesError where they cannot be read."""
        self._filled()
        found = (self._jobs.cache.get(key) for key in sorted(self._jobs.cache.all_keys()))
        return [body for body in found if body is not None]

    def body(self, name: str) -> Object:
        """Raises NotFound, KubernetesError."""
        self._filled()
        found = self._jobs.cache.get(Key(self.namespace, name))
        if found is None:
            raise NotFound(f"there is no training job {name!r} in namespace {self.namespace}")
        return found

    def ranks(self, name: str) -> list[RankView]:
        self._filled()
        found = (rank_of_pod(pod) for pod in self._pods.cache.indexed(LABEL_JOB, name))
        return [rank for rank in found if rank is not None]

    def marks(self) -> Mapping[str, int]:
        """A number for each job that is another one once something of it changed."""
        self.start()
        with self._lock:
            return dict(self._marks)

    def log(self, name: str, rank: RankKey) -> tuple[Path, bool]:
        """(its file, whether it has ended). While the rank runs, its file grows."""
        body = self.body(name)
        pod = Key(self.namespace, pod_name(name, rank))
        folder = self._place(str(body["metadata"].get("uid") or ""), pod.name)
        seen = self._pods.cache.get(pod)
        view = rank_of_pod(seen) if seen is not None else None
        if view is not None:
            self._keep(pod, folder, view)
        return folder / LOG_NAME, view is None or view.state in ("Succeeded", "Failed")

    # ------------------------------------------------------------------ what can be asked
    def suspend(self, name: str, on: bool) -> None:
        """Raises NotFound, KubernetesError."""
        self._ask(name, lambda key: self._client.patch(TRAINING_JOBS, key, {"spec": {"suspend": on}}))

    def delete(self, name: str) -> None:
        """Raises NotFound, KubernetesError."""
        self._ask(name, lambda key: self._client.delete(TRAINING_JOBS, key))

    def _ask(self, name: str, what: Callable[[Key], object]) -> None:
        try:
            what(Key(self.namespace, name))
        except ObjectNotFound:
            raise NotFound(f"there is no training job {name!r} in namespace {self.namespace}") from None

    def cluster(self) -> dict[str, Any]:
        """Nodes, who waits, quotas. What may not be read is left out, and said. Raises KubernetesError."""
        notes: list[str] = []
        own = self._client.list(PODS, self.namespace).items
        nodes = self._allowed(lambda: self._client.list(NODES).items, notes, "nodes")
        others = self._allowed(lambda: self._client.list(PODS).items, notes, "pods of other namespaces")
        quotas = self._allowed(lambda: self._client.list(RESOURCE_QUOTAS, self.namespace).items, notes, "quotas")
        return {
            "namespace": self.namespace,
            "nodes": nodes_view(nodes or (), own if others is None else others, self.namespace),
            "waiting": waiting_view(own),
            "quotas": quotas_view(quotas or ()),
            "notes": notes,
        }

    def _allowed(self, read: Callable[[], list[Object]], notes: list[str], what: str) -> list[Object] | None:
        try:
            return read()
        except Forbidden:
            notes.append(f"This server may not list {what} of the cluster, so they are not counted here.")
            return None

    # ------------------------------------------------------------------ watching
    def _filled(self) -> None:
        self.start()
        end = time.monotonic() + _FILL
        for informer in (self._jobs, self._pods):
            while not informer.synced.wait(0.05):
                if informer.trouble or time.monotonic() > end:
                    words = informer.trouble or "it takes too long"
                    raise KubernetesError(
                        f"Training jobs cannot be read: {words}",
                        hint="mlplatform install puts their kind into the cluster.",
                    )

    def _changed(self, change: Change) -> None:
        self._mark(change.key.name)
        if self._tracker is not None:
            self._track(self._tracker, change)

    def _track(self, tracker: Tracker, change: Change) -> None:
        """Tell the tracker of a job that began, ended or was deleted. Saying it again (by another server) is fine."""
        body = self._jobs.cache.get(change.key) if change.after is not None else None
        run = tracked_run(body) if body is not None else None
        gone = change.before.uid if change.before is not None else ""
        if change.after is None or (change.before is not None and change.after.uid != gone):
            ended = self._tracked.pop(gone, None)
            if ended is not None:
                tracker.run_finished(replace(ended, state=RunState.CANCELLED, finished_at=time.time()))
        if run is None or change.after is None:
            return
        uid = change.after.uid
        if run.state.finished:
            self._tracked.pop(uid, None)
            tracker.run_finished(run)
        elif uid not in self._tracked:
            self._tracked[uid] = run
            tracker.run_started(run)

    def _changed_pod(self, change: Change) -> None:
        name = (change.meta.labels or {}).get(LABEL_JOB, "")
        self._mark(name)
        pod = self._pods.cache.get(change.key)
        job = self._jobs.cache.meta(Key(self.namespace, name))
        view = rank_of_pod(pod) if pod is not None else None
        if view is not None and job is not None and (view.rank < KEPT_RANKS or view.state == "Failed"):
            self._keep(change.key, self._place(job.uid, change.key.name), view)

    def _mark(self, name: str) -> None:
        with self._lock:
            self._marks[name] = self._marks.get(name, 0) + 1

    def _keep(self, pod: Key, folder: Path, view: RankView) -> None:
        if view.state in ("Succeeded", "Failed"):
            self._logs.ended(pod, folder)
        elif view.state in ("Running", "Stopping"):
            self._logs.follow(pod, folder)

    def _place(self, uid: str, pod: str) -> Path:
        return self._folder / uid / pod

    def _container(self, pod: Key) -> str:
        """The first one is the rank."""
        body = self._pods.cache.get(pod)
        containers: list[Object] = child(body, "spec").get("containers") or [] if body is not None else []
        return str(containers[0].get("name") or "") if containers else ""
