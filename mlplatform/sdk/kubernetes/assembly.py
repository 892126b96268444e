"""One namespace of a cluster as whoever shows its runs has it: history, logs, and what can be asked of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.model import AttemptRecord, RunRecord
from mlplatform.core.values import child
from mlplatform.engine.ports import Tracker
from mlplatform.kube.callers import CALLER
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key
from mlplatform.render.names import pod_name, task_hash
from mlplatform.sdk.kubernetes.history import PLACE
from mlplatform.sdk.kubernetes.logs import Logs
from mlplatform.sdk.kubernetes.mirror import Mirror
from mlplatform.sdk.kubernetes.service import ClusterService, defaults_of
from mlplatform.sdk.kubernetes.training import ClusterJobs

if TYPE_CHECKING:
    from mlplatform.store.runstore import SqlRunStore


def _pod(run: str, attempt: AttemptRecord) -> str:
    """The pod that writes the log of an attempt: its own, or rank 0's of its training job (``mirror``)."""
    folder = Path(attempt.directory).name
    own = folder == f"{task_hash(attempt.key)}-{attempt.attempt}"
    return pod_name(run, attempt.key, attempt.attempt) if own else folder


class Cluster:
    """One namespace of one cluster."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        store: Callable[[], SqlRunStore],
        folder: Path,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
        tracker: Tracker | None = None,
    ) -> None:
        """``tracker``: where its runs are tracked, by this process and by no other. What somebody asks for by a server
        is written in their name, so they need the rights and not the server."""
        theirs = client.acting(CALLER.get)
        self.client = client
        self.namespace = namespace
        self.logs = Logs(client)
        self.jobs = ClusterJobs(theirs, namespace, folder / "training", tracker)
        self.mirror = Mirror(client, namespace, store, folder, clock, self._ended, tracker)
        self.tracker = tracker
        self.service = ClusterService(theirs, namespace, store, self.mirror.take, defaults_of(environ))

    def start(self) -> None:
        self.mirror.start()
        self.jobs.start()

    def close(self) -> None:
        self.mirror.stop()
        self.logs.close()
        self.jobs.close()
        if self.tracker is not None:
            self.tracker.close()

    def look_at_log(self, run: RunRecord, attempt: AttemptRecord) -> None:
        """Somebody reads the log of an attempt: have it grow while the attempt runs."""
        name = child(run.context, PLACE).get("name")
        if name and attempt.directory:
            pod = Key(self.namespace, _pod(str(name), attempt))
            if attempt.state.finished:
                self.logs.ended(pod, Path(attempt.directory))
            else:
                self.logs.follow(pod, Path(attempt.directory))

    def _ended(self, run: PipelineRun, attempt: AttemptRecord) -> None:
        pod = Key(run.namespace, _pod(run.name, attempt))
        self.logs.ended(pod, Path(attempt.directory))
