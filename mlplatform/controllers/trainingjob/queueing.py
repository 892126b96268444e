"""What a training job says to Kueue and hears from it: its Workload made, read, given back and let go. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mlplatform.apis.names import FINALIZER_RANK
from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.controllers.framework.model import Delete, Ref, Tell
from mlplatform.controllers.trainingjob.resources import WORKLOADS
from mlplatform.kube.objects import Object, being_deleted, has_finalizer, key_of, metadata, uid_of, version_of
from mlplatform.planning.training import admission
from mlplatform.planning.training.admission import Verdict
from mlplatform.planning.training.facts import Ledger, RankKey, Stage
from mlplatform.planning.training.gang import RESIZED
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.workload import SHAPE, shape, workload

Json = dict[str, Any]

_ABSENT: Final = (
    "gang.mode is Kueue, and Kueue (kueue.x-k8s.io/v1beta2) was not there when this operator started: "
    "install it and restart the operator, or suspend the job and set gang.mode to Own"
)
_UNNAMED: Final = "gang.mode is Kueue, but queue.name names no queue: suspend the job and set it, or gang.mode to Own"
_NOT_PREEMPTIBLE: Final = (
    "queue.preemptible is false, which Kueue cannot promise: it chooses whom to preempt by queue and priority alone. "
    "Suspend the job, set it to true, and name a queue whose ClusterQueue says preemption.withinClusterQueue: Never "
    "and borrows nothing, or a priorityClassName above those who preempt; or gang.mode to Own, where nobody preempts"
)
_CHANGED: Final = (RESIZED, "the job asks for other ranks than it was admitted with, and stands in line again")
_DELETED: Final = ("WorkloadDeleted", "its Workload was deleted, and with it its place in the queue")
#: Stages in which a job wants a place.
_WANTS: Final = (Stage.QUEUED, Stage.PLACING, Stage.RUNNING, Stage.RESTARTING, Stage.RELEASING)


@dataclass(frozen=True, slots=True)
class Queueing:
    """``present``: Kueue is there. ``workload``: the job's. ``flavors``: those it was given. ``levels``: labels of
    nodes that a topology of Kueue's knows. ``priority``: what the job's class is worth; None: there is no such
    class."""

    present: bool = False
    workload: Object | None = None
    flavors: Mapping[str, Object] = field(default_factory=dict[str, Object])
    levels: frozenset[str] = frozenset()
    priority: int | None = None


NOT_THERE: Final = Queueing()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done about a Workload."""

    create: tuple[Object, ...] = ()
    tell: tuple[Tell, ...] = ()
    release: tuple[Ref, ...] = ()
    delete: tuple[Delete, ...] = ()


def asks(job: TrainingJob, queueing: Queueing) -> bool:
    """Whether Kueue gives this job its place."""
    mode = job.spec.gang.mode if job.spec.gang is not None else "Auto"
    named = job.spec.queue is not None and bool(job.spec.queue.name)
    return queueing.present and named and mode in ("Auto", "Kueue")


def verdict_of(job: TrainingJob, queueing: Queueing, settings: TrainingSettings) -> Verdict:
    """Whether the job may have its ranks."""
    if not asks(job, queueing):
        if job.spec.gang is None or job.spec.gang.mode != "Kueue":
            return Verdict(True)
        return Verdict(False, _UNNAMED if queueing.present else _ABSENT)
    assert job.spec.queue is not None
    queue, found = job.spec.queue.name, queueing.workload
    if found is None:
        why = _why_not_asked(job, queueing)
        return Verdict(False, why) if why else Verdict(False, f"queue {queue} has not been asked yet", _DELETED)
    if being_deleted(found):
        return Verdict(False, _DELETED[1], _DELETED)
    if _outgrown(job, found, queueing, settings):
        return Verdict(False, _CHANGED[1], _CHANGED)
    return admission.read_verdict(found, queueing.flavors, queue)


def admitted(job: TrainingJob, verdict: Verdict) -> TrainingJob:
    """The job with as many ranks as were admitted."""
    counts = {name: places.count for name, places in verdict.places.items()}
    groups = tuple(
        replace(group, replicas=min(group.replicas, counts.get(group.name, group.replicas)))
        for group in job.spec.groups
    )
    return job if groups == job.spec.groups else replace(job, spec=replace(job.spec, groups=groups))


def inject(pod: Object, rank: RankKey, verdict: Verdict) -> Object:
    """The pod of a rank, where its quota is."""
    places = verdict.places.get(rank.group)
    if places is None:
        return pod
    spec: Json = {**pod["spec"]}
    given: dict[str, str] = spec.get("nodeSelector") or {}
    each: Mapping[str, str] = places.each[rank.rank] if rank.rank < len(places.each) else {}
    if selector := {**given, **places.node_selector, **each}:
        spec["nodeSelector"] = selector
    if places.tolerations:
        spec["tolerations"] = [*(spec.get("tolerations") or []), *(dict(one) for one in places.tolerations)]
    meta: Json = {**pod["metadata"]}
    for name, more in (("labels", places.labels), ("annotations", places.annotations)):
        if more:
            meta[name] = {**more, **(meta.get(name) or {})}
    return {**pod, "metadata": meta, "spec": spec}


def asked(
    job: TrainingJob,
    queueing: Queueing,
    settings: TrainingSettings,
    ledger: Ledger,
    *,
    alive: bool,
    works: bool,
    now: float,
) -> Asked:
    """The next steps. ``alive``: ranks are there; ``works``: all of them do their part."""
    found = queueing.workload
    wants = asks(job, queueing) and ledger.stage in _WANTS
    if found is None:
        makes = wants and not alive and not _why_not_asked(job, queueing)
        return Asked(create=(workload(job, settings, queueing.priority, queueing.levels),) if makes else ())
    ref = Ref(WORKLOADS, key_of(found), uid_of(found))
    if alive:
        told = admission.readiness(found, works, told_time(now)) if _holds(found) and not being_deleted(found) else None
        return Asked(tell=tuple(_tells(found, told)))
    if being_deleted(found) or admission.is_so(found, admission.FINISHED):
        return Asked(release=let_go(queueing, alive=alive))
    if ledger.stage.finished:
        words = ledger.message or ledger.reason
        told = admission.ended(found, ledger.stage is Stage.COMPLETE, words, told_time(now))
        return Asked(tell=tuple(_tells(found, told)))
    if not wants or _outgrown(job, found, queueing, settings):
        return Asked(delete=(Delete(ref),)) if ledger.stage in (Stage.SUSPENDED, Stage.QUEUED) else Asked()
    if ledger.stage is Stage.QUEUED and admission.is_so(found, admission.EVICTED) and _holds(found):
        return Asked(tell=tuple(_tells(found, admission.returned(found, told_time(now)))))
    return Asked()


def let_go(queueing: Queueing, *, alive: bool) -> tuple[Ref, ...]:
    """The Workload of a job that is going away may go as well, once no rank is ``alive``."""
    found = queueing.workload
    if found is None or alive or not has_finalizer(found, FINALIZER_RANK):
        return ()
    return (Ref(WORKLOADS, key_of(found), uid_of(found)),)


def _tells(found: Object, status: Json | None) -> Iterator[Tell]:
    if status is not None:
        yield Tell(Ref(WORKLOADS, key_of(found), uid_of(found)), version_of(found), status)


def _holds(found: Object) -> bool:
    return admission.is_so(found, admission.QUOTA_RESERVED)


def _why_not_asked(job: TrainingJob, queueing: Queueing) -> str:
    """Why no Workload may be made for it; "": nothing speaks against it."""
    queue = job.spec.queue
    if queue is None:
        return ""
    if not queue.preemptible:
        return _NOT_PREEMPTIBLE
    if queue.priority_class_name and queueing.priority is None:
        return f"there is no WorkloadPriorityClass {queue.priority_class_name}"
    return ""


def _outgrown(job: TrainingJob, found: Object, queueing: Queueing, settings: TrainingSettings) -> bool:
    """Whether a Workload is for another job than this has become: more ranks, or others. With fewer ranks, it keeps
    what it has."""
    wanted = workload(job, settings, queueing.priority, queueing.levels)["spec"]
    notes: Mapping[str, str] = metadata(found).get("annotations") or {}
    if SHAPE in notes and notes[SHAPE] != shape(wanted):
        return True
    has = {one["name"]: int(one.get("count", 1)) for one in found["spec"]["podSets"]}
    return any(one["count"] > has.get(one["name"], 0) for one in wanted["podSets"])
