"""What Kueue is asked for: a Workload, which has a set of pods for each group of a job. All of it is admitted, or none
(but for elastic groups, which say how few will do)."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from mlplatform.apis.names import FINALIZER_RANK, TRAINING_GROUP
from mlplatform.apis.trainingjob import ReplicaGroup
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training.facts import Ledger, RankKey, Stage, Start
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.names import job_labels
from mlplatform.render.training.pod import rank_pod

Json = dict[str, Any]

API_VERSION: Final = "kueue.x-k8s.io/v1beta2"
KIND: Final = "Workload"
#: What the sets of pods looked like that a Workload was made for.
SHAPE: Final = f"{TRAINING_GROUP}/shape"
_PRIORITIES: Final = ("kueue.x-k8s.io", "WorkloadPriorityClass")
#: Of a pod's spec, what decides where it fits; Kueue need not know the rest.
_MATTERS: Final = (
    "affinity",
    "nodeSelector",
    "overhead",
    "priorityClassName",
    "resourceClaims",
    "runtimeClassName",
    "schedulerName",
    "tolerations",
)


def workload_name(job: TrainingJob) -> str:
    """Another job of the same name has another one."""
    return f"trainingjob-{job.name}-{hashlib.sha256(job.uid.encode()).hexdigest()[:5]}"


def workload(
    job: TrainingJob, settings: TrainingSettings, priority: int | None = None, levels: frozenset[str] = frozenset()
) -> Json:
    """The Workload of a job that names a queue.

    Args:
        priority: what its priority class is worth; None: it names none.
        levels: labels of nodes that Kueue knows as levels of a topology. Nearness in others is the scheduler's.
    """
    assert job.spec.queue is not None
    sets = [_pods(job, group, settings, levels) for group in job.spec.groups if group.replicas]
    _one_variable(sets)
    spec: Json = {"queueName": job.spec.queue.name, "podSets": sets}
    if priority is not None:
        group, kind = _PRIORITIES
        spec["priorityClassRef"] = {"group": group, "kind": kind, "name": job.spec.queue.priority_class_name}
        spec["priority"] = priority
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": workload_name(job),
            "namespace": job.namespace,
            "labels": {**job_labels(job.name), "kueue.x-k8s.io/job-uid": job.uid},
            "annotations": {SHAPE: shape(spec)},
            # Quota is held until the last rank is gone, whoever deletes it.
            "finalizers": [FINALIZER_RANK],
        },
        "spec": spec,
    }


def shape(spec: Json) -> str:
    """A word that changes with everything but the numbers of ranks."""
    sets = [
        {name: value for name, value in one.items() if name not in ("count", "minCount")} for one in spec["podSets"]
    ]
    text = json.dumps({**spec, "podSets": sets}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _one_variable(sets: list[Json]) -> None:
    """Kueue takes one number that may vary."""
    for one in [one for one in sets if "minCount" in one][1:]:
        del one["minCount"]


def _pods(job: TrainingJob, group: ReplicaGroup, settings: TrainingSettings, levels: frozenset[str]) -> Json:
    key = RankKey(group.name, 0, 1)
    spec: Json = rank_pod(job, Start(key), Ledger(Stage.PLACING, 0.0, 0.0), settings)["spec"]
    small = {name: spec[name] for name in _MATTERS if spec.get(name)}
    # How ranks stand to each other is of no use to whom counts quota.
    affinity: Json = small.pop("affinity", None) or {}
    if "nodeAffinity" in affinity:
        small["affinity"] = {"nodeAffinity": affinity["nodeAffinity"]}
    for name in ("initContainers", "containers"):
        if spec.get(name):
            small[name] = [_container(one) for one in spec[name]]
    found: Json = {"name": group.name, "count": group.replicas, "template": {"spec": small}}
    if group.elastic is not None and group.elastic.min < group.replicas:
        found["minCount"] = group.elastic.min
    if group.topology is not None and group.topology.key in levels:
        found["topologyRequest"] = {group.topology.mode.lower(): group.topology.key}
    return found


def _container(body: Json) -> Json:
    small = {name: body[name] for name in ("name", "image", "resources", "restartPolicy") if body.get(name)}
    return {"image": "", **small}
