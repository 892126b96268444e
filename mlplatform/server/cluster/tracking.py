"""Tracking in a cluster: the server is the one that tells MLflow, of runs and for their pods alike (ADR 27).

The outbox and its gateway are those of one machine (``tracking``), in the server's home. Pods are told to log to this
server, which passes it on to the gateway; what MLflow cannot take now waits on the server's disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mlplatform.apis.names import LABEL_ATTEMPT, PIPELINE_RUN, TRAINING_JOB
from mlplatform.core.errors import NotFound
from mlplatform.core.model import TaskKey
from mlplatform.core.values import child
from mlplatform.engine.ports import Tracker
from mlplatform.kube.objects import Key, controller_of, metadata, uid_of
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.tracked import tracked_run
from mlplatform.render.names import key_in, pod_name
from mlplatform.render.training.names import read_labels
from mlplatform.server.cluster.pods import PodCaller
from mlplatform.server.settings import Settings

if TYPE_CHECKING:
    from mlplatform.sdk.kubernetes.assembly import Cluster
    from mlplatform.store.runstore import SqlRunStore

#: Below the server's address: what MLflow's client in a pod calls.
LOGGING: Final = "api/v1/pods/mlflow"


def tracker_of(settings: Settings) -> Tracker | None:
    """The tracker of a cluster's server; None: it tracks nothing. Raises OSError, sqlite3.Error: its disk."""
    if not (settings.cluster and settings.mlflow):
        return None
    from mlplatform.tracking.client import MlflowTracker, TrackingOptions
    from mlplatform.tracking.settings import CREDENTIALS

    login = {name: os.environ[name] for name in CREDENTIALS if os.environ.get(name)}
    options = TrackingOptions(
        tracking_uri=settings.mlflow,
        environment_of=lambda _: login,
        address=f"{settings.address.rstrip('/')}/{LOGGING}" if settings.address else "",
        lasting=True,
    )
    return MlflowTracker(settings.home.mlflow, options)


def variables(cluster: Cluster, store: Callable[[], SqlRunStore], pod: PodCaller) -> Mapping[str, str]:
    """What the pod of a task needs to log into its own run, or that of a rank into the run of its training job; the run
    is known to the outbox then.

    Raises:
        NotFound: this server tracks nothing, or the pod is none of a run or job that goes on.
        KubernetesError: the API server could not be asked.
    """
    if cluster.tracker is None:
        raise NotFound("this server tracks nothing")
    job, uid = pod.owner(TRAINING_JOB)
    if job:
        return _of_rank(cluster, cluster.tracker, store, pod, job, uid)
    name, uid = pod.owner(PIPELINE_RUN)
    key, attempt = _task(pod.annotations, pod.labels)
    if not name or key is None or pod.pod != pod_name(name, key, attempt):
        raise NotFound(f"pod {pod.pod} is not one of a run's tasks")
    return _of_task(cluster, cluster.tracker, store, Key(pod.namespace, name), uid, key, attempt)


def _of_task(
    cluster: Cluster,
    tracker: Tracker,
    store: Callable[[], SqlRunStore],
    place: Key,
    uid: str,
    key: TaskKey,
    attempt: int,
) -> Mapping[str, str]:
    run = store().get_run(cluster.mirror.take(cluster.mirror.find(place, uid)))
    if run.state.finished:
        raise NotFound(f"run {run.run_id} has ended")
    tracker.run_started(run)  # its status may not tell yet that it has begun
    return tracker.task_environment(run, key, attempt).env


def _of_rank(
    cluster: Cluster, tracker: Tracker, store: Callable[[], SqlRunStore], pod: PodCaller, job: str, uid: str
) -> Mapping[str, str]:
    """What a rank needs to log into the run of its job; where the job is a task, into the task's."""
    body = cluster.jobs.body(job)
    if uid_of(body) != uid or read_labels(dict(pod.labels)) is None:
        raise NotFound(f"pod {pod.pod} is not one of a training job's ranks")
    task, owner = task_of(body), controller_of(body)
    if task is not None and owner is not None:
        return _of_task(cluster, tracker, store, Key(pod.namespace, owner["name"]), owner["uid"], *task)
    run = tracked_run(body)
    if run is None:
        raise NotFound(f"training job {job} says itself where it is tracked")
    if run.state.finished:
        raise NotFound(f"training job {job} has ended")
    tracker.run_started(run)
    return tracker.rank_environment(run)


def task_of(body: Mapping[str, Any]) -> tuple[TaskKey, int] | None:
    """The task that a training job is, and its attempt; None: it is a job of its own."""
    owner, meta = controller_of(body), metadata(body)
    if owner is None or owner["kind"] != PIPELINE_RUN:
        return None
    key, attempt = _task(child(meta, "annotations"), child(meta, "labels"))
    if key is None or meta.get("name") != task_job(str(owner["uid"]), key):
        return None  # annotations are anybody's to write
    return key, attempt


def _task(annotations: Mapping[str, Any], labels: Mapping[str, Any]) -> tuple[TaskKey | None, int]:
    number = str(labels.get(LABEL_ATTEMPT) or "")
    key = key_in(annotations) if number.isdecimal() else None
    return key, int(number) if key is not None else 0
