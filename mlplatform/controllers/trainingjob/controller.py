"""The TrainingJob controller: what it watches, what it sees, what it plans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mlplatform.apis.codec import decode
from mlplatform.apis.names import ANNOTATION_RESUME, FINALIZER_RANK, LABEL_JOB, LABEL_MANAGED, MANAGER
from mlplatform.apis.objects import training_job
from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.apis.trainingstatus import ProgressStatus, TrainingJob, TrainingJobStatus
from mlplatform.controllers.framework.model import Caches, Owned, Plan, Refusal
from mlplatform.controllers.trainingjob.keys import new_keys
from mlplatform.controllers.trainingjob.observed import Keys, Observed
from mlplatform.controllers.trainingjob.pins import leave_in, node_of, pins_of
from mlplatform.controllers.trainingjob.plan import plan_job, refused_words
from mlplatform.controllers.trainingjob.pods import NodeSeen
from mlplatform.controllers.trainingjob.queueing import NOT_THERE, Queueing
from mlplatform.controllers.trainingjob.resources import (
    DEVICE_TEMPLATES,
    FLAVORS,
    QUEUE_PRIORITIES,
    TOPOLOGIES,
    TRAINING_JOBS,
    WORKLOADS,
)
from mlplatform.core.errors import InvalidInput
from mlplatform.kube.objects import (
    CLAIMS,
    CONFIG_MAPS,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    VOLUMES,
    Key,
    Object,
    Resource,
    key_of,
    metadata,
    uid_of,
)
from mlplatform.planning.training.facts import Stage
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.names import secret_name
from mlplatform.render.training.objects import needs_keys

_OURS: Final = f"{LABEL_MANAGED}={MANAGER},{LABEL_JOB}"
_BY_JOB: Final = "training job"
#: Kinds of Kueue's that administrators make.
_ADMINISTRATED: Final = (FLAVORS, TOPOLOGIES, QUEUE_PRIORITIES)
_OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


class TrainingJobs:
    """Trains: a pod for each rank."""

    name = "trainingjob"
    resource: Resource = TRAINING_JOBS
    finalizer = FINALIZER_RANK

    def __init__(
        self,
        settings: TrainingSettings | None = None,
        make_keys: Callable[[], Keys] = new_keys,
        *,
        devices: bool = True,
        kueue: bool = False,
    ) -> None:
        """``devices``: whether the cluster knows claims on devices (resource.k8s.io/v1, from Kubernetes 1.34 on);
        ``kueue``: whether Kueue is there (kueue.x-k8s.io/v1beta2), to give jobs that name a queue their places."""
        self._settings = settings or TrainingSettings()
        self._make_keys = make_keys
        self._kueue = kueue
        beside = (SERVICES, SECRETS, CONFIG_MAPS, *((DEVICE_TEMPLATES,) if devices else ()))
        self._beside = (SECRETS, CONFIG_MAPS, *((DEVICE_TEMPLATES,) if devices else ()))
        self.owned: Iterable[Owned] = (
            Owned(PODS, selector=_OURS),
            # Claims outlive their job, so a label says whose they are.
            Owned(CLAIMS, selector=_OURS, label=LABEL_JOB, indexes={_BY_JOB: LABEL_JOB}),
            *(Owned(kind, selector=_OURS) for kind in beside),
            Owned(NODES),
            Owned(VOLUMES),
            *((Owned(WORKLOADS, selector=_OURS), *(Owned(kind) for kind in _ADMINISTRATED)) if kueue else ()),
        )

    def observe(self, caches: Caches, key: Key) -> Observed | None:
        body = caches.get(TRAINING_JOBS, key)
        if body is None:
            return None
        waiting, kept = caches.waiting(body), None
        try:
            job = training_job(body)
            if waiting is not None:
                job, kept = replace(job, status=decode(TrainingJobStatus, waiting, "status")), job.status
        except InvalidInput as error:
            return Observed(_outline(body), invalid=error)
        job = _going_on(job, body)
        pods = caches.owned_by(PODS, body)
        there = {(kind, key_of(one).name): uid_of(one) for kind in self._beside for one in caches.owned_by(kind, body)}
        claims = [one for one in caches.indexed(CLAIMS, _BY_JOB, key.name) if key_of(one).namespace == key.namespace]
        there |= {(CLAIMS, key_of(claim).name): uid_of(claim) for claim in claims}
        leave = leave_in(body)
        bound = dict(_bound(caches, claims)) if leave or _moves(job, pods) else {}
        pins = pins_of(job, bound, leave)
        names = {name for pod in pods if (name := _part(pod, "spec").get("nodeName"))}
        nodes = {name: _node(caches.get(NODES, Key("", name))) for name in sorted(names)}
        wants = needs_keys(job) and (SECRETS, secret_name(job.name)) not in there
        keys = self._make_keys() if wants else None
        queueing = self._queueing(caches, body, job)
        return Observed(job, tuple(pods), nodes, there, keys, queueing=queueing, pins=pins, kept=kept)

    def _queueing(self, caches: Caches, body: Object, job: TrainingJob) -> Queueing:
        if not self._kueue:
            return NOT_THERE
        found = next(iter(caches.owned_by(WORKLOADS, body)), None)
        admission = _part(_part(found or {}, "status"), "admission")
        sets: list[Object] = admission.get("podSetAssignments") or []
        names = {str(name) for one in sets for name in _part(one, "flavors").values()}
        flavors = {name: flavor for name in names if (flavor := caches.get(FLAVORS, Key("", name))) is not None}
        asked = [one.topology.key for one in job.spec.groups if one.topology is not None and one.topology.key]
        levels = frozenset(_levels(caches)) & set(asked) if asked else frozenset[str]()
        wanted = job.spec.queue.priority_class_name if job.spec.queue is not None else ""
        class_ = caches.get(QUEUE_PRIORITIES, Key("", wanted)) if wanted else None
        return Queueing(True, found, flavors, levels, int(class_["value"]) if class_ is not None else None)

    def plan(self, observed: Observed, now: float) -> Plan:
        return plan_job(observed, now, self._settings)

    def refused(self, observed: Observed, now: float, refusals: Sequence[Refusal]) -> Plan:
        words = refused_words([(refusal.body, refusal.error) for refusal in refusals])
        return plan_job(observed, now, self._settings, words)


def _going_on(job: TrainingJob, body: Object) -> TrainingJob:
    """The job, which may go on where another one of its name was."""
    notes: Object = metadata(body).get("annotations") or {}
    step = str(notes.get(ANNOTATION_RESUME) or "")
    if not step.isdecimal() or len(step) > 18 or job.status.ledger is not None:
        return job
    progress = replace(job.status.progress or ProgressStatus(), checkpoint_step=int(step))
    return replace(job, status=replace(job.status, progress=progress))


def _moves(job: TrainingJob, pods: Iterable[Object]) -> bool:
    """Whether it matters just now which nodes claims are on: ranks start or fail, or nodes are to be avoided."""
    ledger = job.status.ledger
    if ledger is None or ledger.avoid_nodes or ledger.stage in (Stage.PLACING, Stage.RESTARTING):
        return True
    return any(_part(pod, "status").get("phase") == "Failed" for pod in pods)


def _bound(caches: Caches, claims: Iterable[Object]) -> Iterable[tuple[str, tuple[str, bool]]]:
    """Claims whose volumes are on one node alone."""
    for claim in claims:
        volume = caches.get(VOLUMES, Key("", str(_part(claim, "spec").get("volumeName") or "")))
        if volume is not None and (node := node_of(volume)):
            yield key_of(claim).name, (node, caches.get(NODES, Key("", node)) is None)


def _levels(caches: Caches) -> Iterable[str]:
    """Labels of nodes that are levels of a topology of Kueue's."""
    for name in caches.versions(TOPOLOGIES, ""):
        body = caches.get(TOPOLOGIES, Key("", name)) or {}
        for level in _part(body, "spec").get("levels") or ():
            yield str(level.get("nodeLabel"))


def _part(body: Object, name: str) -> Object:
    found: Object | None = body.get(name)
    return found or {}


def _node(body: Object | None) -> NodeSeen | None:
    if body is None:
        return None
    taints: list[Object] = _part(body, "spec").get("taints") or []
    conditions: list[Object] = _part(body, "status").get("conditions") or []
    fenced = any(taint.get("key") == _OUT_OF_SERVICE for taint in taints)
    for one in conditions:
        if one.get("type") == "Ready":
            return NodeSeen(one.get("status") == "True", fenced)
    return NodeSeen(fenced=fenced)


def _outline(body: Object) -> TrainingJob:
    meta: Mapping[str, Any] = metadata(body)
    return TrainingJob(
        name=str(meta.get("name") or ""),
        namespace=str(meta.get("namespace") or ""),
        uid=str(meta.get("uid") or ""),
        spec=TrainingJobSpec("python", ()),
        generation=int(meta.get("generation") or 1),
        deleting=bool(meta.get("deletionTimestamp")),
    )
