"""What should be of one training job, given what was observed. Pure.

A decision is kept before it is carried out: while the ledger is news, the status is written, and after it only what
the decision stops or lets go; the look that follows finds it kept, and takes all other steps. So an operator may die
between any two writes, and two of them that look at the same time do the same. A job's first attempt is no decision: it
follows from there being a job, so its ranks are made at once, and who finds ranks of a job that has no ledger takes
them for that attempt's. What only tells (the gang has its places, it works) is written a moment later, with what
follows by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mlplatform.apis.codec import encode
from mlplatform.apis.conditions import Condition, with_conditions
from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import TrainingJobStatus
from mlplatform.controllers.framework.model import Delete, EventNote, Plan, Ref
from mlplatform.controllers.trainingjob.observed import Observed
from mlplatform.controllers.trainingjob.pods import RankPod, read_pod
from mlplatform.controllers.trainingjob.queueing import admitted, asked, inject, let_go, verdict_of
from mlplatform.controllers.trainingjob.resources import DEVICE_TEMPLATES, TRAINING_JOBS
from mlplatform.controllers.trainingjob.results import result_of
from mlplatform.kube.objects import CLAIMS, CONFIG_MAPS, PODS, SECRETS, Key, Object, Resource
from mlplatform.planning.training.admission import Verdict
from mlplatform.planning.training.facts import (
    Decision,
    GiveUp,
    Ledger,
    RankKey,
    RankState,
    Remove,
    Stage,
    Start,
    Stop,
    View,
)
from mlplatform.planning.training.gang import decide, jitter_of
from mlplatform.planning.training.kept import kept, ledger_of, only_tells, report_of, same_but_clocks
from mlplatform.planning.training.read import training_spec
from mlplatform.planning.training.spec import TrainingSpec
from mlplatform.planning.training.status import DELETED, ENDED, FAILED, status_of
from mlplatform.render.training import objects
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.names import pod_name, secret_name
from mlplatform.render.training.pod import one_node, rank_pod
from mlplatform.render.training.workload import workload_name

#: Seconds until a job that waits for a silent node, or for an image, is looked at again.
LOOK_AGAIN: Final = 15.0
_KINDS: Final = {
    "PersistentVolumeClaim": CLAIMS,
    "Secret": SECRETS,
    "ConfigMap": CONFIG_MAPS,
    "ResourceClaimTemplate": DEVICE_TEMPLATES,
}


@dataclass(frozen=True)
class _Seen:
    """What a plan is made from."""

    observed: Observed
    spec: TrainingSpec
    ranks: tuple[RankPod, ...]
    decision: Decision
    ledger: Ledger
    before: Ledger | None
    status: TrainingJobStatus
    verdict: Verdict

    @property
    def by_key(self) -> dict[RankKey, RankPod]:
        return {rank.fact.key: rank for rank in self.ranks}


def plan_job(
    observed: Observed, now: float, settings: TrainingSettings, refused: Mapping[str, str] | None = None
) -> Plan:
    """The plan. ``refused``: names of objects that the API server would not make, and why."""
    job = observed.job
    if observed.invalid is not None:
        return _invalid(observed, now)
    if job.deleting:
        return _deleted(observed, now)
    spec = training_spec(job.name, job.spec)
    if not spec.managed:
        return Plan()
    verdict = verdict_of(job, observed.queueing, settings)
    seen = _look(observed, spec, verdict, round(now, 3), refused or {})
    status = None if seen.status is job.status and observed.kept is None else encode(seen.status)
    wake = _wake(seen, now)
    starts = [step for step in seen.decision.steps if isinstance(step, Start)]
    stops = {step.key: step for step in seen.decision.steps if isinstance(step, Stop)}
    before = seen.before if observed.kept is None else ledger_of(observed.kept)
    if not same_but_clocks(before, seen.ledger):
        first = before is None and seen.ledger.stage is Stage.PLACING
        waits = only_tells(before, seen.ledger)
        return Plan(
            apply=_named(seen) if first else [],
            create=[*_beside(seen), *_pods(seen, starts, settings)] if first else [],
            status=status,
            may_wait=waits,
            release=[] if waits else _recorded(seen, stops),
            delete=[] if waits else list(_deletions(seen, stops)),
            requeue_after=wake,
            events=tuple(_events(before, seen)),
        )
    removes = any(isinstance(step, Remove) for step in seen.decision.steps)
    own = Delete(Ref(TRAINING_JOBS, Key(job.namespace, job.name), job.uid))
    alive = any(rank.fact.alive for rank in seen.ranks)
    works = seen.status.phase == "Running"
    queue = asked(job, observed.queueing, settings, seen.ledger, alive=alive, works=works, now=now)
    return Plan(
        apply=_named(seen),
        create=[*queue.create, *_beside(seen), *_pods(seen, starts, settings)],
        status=status,
        may_wait=True,
        tell=queue.tell,
        release=[*_recorded(seen, stops), *queue.release],
        delete=[*_deletions(seen, stops), *_gone_claims(seen), *queue.delete, *([own] if removes else [])],
        requeue_after=wake,
    )


def _look(observed: Observed, spec: TrainingSpec, verdict: Verdict, now: float, refused: Mapping[str, str]) -> _Seen:
    """``spec``: of the whole job; what was admitted may be less."""
    whole = observed.job
    job = admitted(whole, verdict)
    if job is not whole:
        observed, spec = replace(observed, job=job), training_spec(job.name, job.spec)
    read = (read_pod(pod, observed.nodes, now) for pod in observed.pods)
    ranks = tuple(rank for rank in read if rank is not None)
    before = ledger_of(job.status)
    view = View(
        ledger=before,
        ranks={rank.fact.key: rank.fact for rank in ranks},
        report=report_of(job.status.progress),
        admitted=verdict.admitted,
        evicted=verdict.evicted,
        one_node=one_node(job),
        pins=observed.pins,
        refused=_refused(spec, before, refused),
    )
    # What Kueue would not take tells of the whole job.
    quota = refused.get(workload_name(whole), verdict.words)
    desired = {group.name: group.replicas for group in whole.spec.groups}
    decision = decide(spec, view, now, jitter_of(job.uid))
    assert decision.ledger is not None
    ledger = kept(decision.ledger)
    status = status_of(
        spec, view, ledger, now, before=job.status, generation=job.generation, quota=quota, desired=desired
    )
    result = result_of(job, ledger, ranks)
    if result != status.result:
        status = replace(status, result=result)
    return _Seen(observed, spec, ranks, decision, ledger, before, status, verdict)


def _refused(spec: TrainingSpec, ledger: Ledger | None, refused: Mapping[str, str]) -> dict[RankKey, str]:
    """Ranks that could not be made. What stands beside them (a claim) is wanted by all."""
    if not refused:
        return {}
    keys = [
        RankKey(group.name, rank, ledger.wanted(group.name, rank) if ledger is not None else 1)
        for group in spec.groups
        for rank in range(group.replicas)
    ]
    named = {key: refused[name] for key in keys if (name := pod_name(spec.name, key)) in refused}
    return named or dict.fromkeys(keys, next(iter(refused.values())))


def _wake(seen: _Seen, now: float) -> float | None:
    """When to look again, should nothing happen before."""
    waits = [] if seen.decision.wake_at is None else [max(0.0, seen.decision.wake_at - now)]
    for rank in seen.ranks:
        pulling = rank.fact.state is RankState.STARTING and rank.fact.message
        if rank.waiting_for_node or pulling or (rank.deleting and rank.fact.alive and rank.fact.node):
            waits.append(LOOK_AGAIN)
    return min(waits, default=None)


# ---------------------------------------------------------------------- what is made
def _stands(ledger: Ledger) -> bool:
    """Whether ranks run, or are about to."""
    return ledger.stage in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING)


def _named(seen: _Seen) -> list[Object]:
    """By what ranks find each other."""
    job = seen.observed.job
    return [objects.service(job)] if _stands(seen.ledger) and objects.needs_service(job) else []


def _beside(seen: _Seen) -> Iterator[Object]:
    """What ranks need and is not there yet."""
    job, there = seen.observed.job, seen.observed.there
    if seen.ledger.stage not in (Stage.PLACING, Stage.RUNNING):
        return
    wanted = [*objects.claims(job), *objects.devices(job), *objects.hosts(job, seen.ledger)]
    keys = seen.observed.keys
    if keys is not None and (SECRETS, secret_name(job.name)) not in there:
        wanted.append(objects.keys(job, keys.private, keys.public, keys.token))
    for body in wanted:
        if (_KINDS[body["kind"]], body["metadata"]["name"]) not in there:
            yield body


def _pods(seen: _Seen, starts: Iterable[Start], settings: TrainingSettings) -> Iterator[Object]:
    """Pods of ranks. Where one of that name is still going away, it is waited for."""
    names = {rank.key.name for rank in seen.ranks}
    job = seen.observed.job
    for start in starts:
        if pod_name(job.name, start.key) not in names:
            yield inject(rank_pod(job, start, seen.ledger, settings), start.key, seen.verdict)


# ---------------------------------------------------------------------- what goes
def _recorded(seen: _Seen, stops: Mapping[RankKey, Stop]) -> list[Ref]:
    """Pods that may be let go once the ledger is kept."""
    return [Ref(PODS, rank.key, rank.uid) for rank in seen.ranks if rank.held and _is_recorded(rank, seen, stops)]


def _is_recorded(rank: RankPod, seen: _Seen, stops: Mapping[RankKey, Stop]) -> bool:
    """Whether nothing of the pod is needed any more: what became of its rank is in the ledger."""
    if rank.ghost:
        return True
    if rank.fact.alive:
        return False
    stop = stops.get(rank.fact.key)
    done = (rank.fact.key.group, rank.fact.key.rank) in seen.ledger.done
    return seen.ledger.stage.finished or (stop is not None and stop.forget) or done


def _deletions(seen: _Seen, stops: Mapping[RankKey, Stop]) -> Iterator[Delete]:
    by_key = seen.by_key
    for key in stops:
        rank = by_key[key]
        if rank.lost:
            # Its node is gone or vouched to be off: nobody else will ever say that the pod has ended.
            yield Delete(Ref(PODS, rank.key, rank.uid), grace_period=0)
        elif not rank.deleting:
            yield Delete(Ref(PODS, rank.key, rank.uid))


def _gone_claims(seen: _Seen) -> Iterator[Delete]:
    """Claims that are given up, and what a job that ended leaves."""
    there, job = seen.observed.there, seen.observed.job
    for step in seen.decision.steps:
        if isinstance(step, GiveUp) and (CLAIMS, step.claim) in there:
            yield Delete(Ref(CLAIMS, Key(job.namespace, step.claim), there[CLAIMS, step.claim]))
    yield from _leftovers(seen)


def _leftovers(seen: _Seen) -> Iterator[Delete]:
    """Claims of a job that ended and is to leave none, with the pods that hold them, and lists of hosts that no rank
    reads any more."""
    job, there = seen.observed.job, seen.observed.there
    asked = job.spec.checkpoint
    names: set[tuple[Resource, str]] = set()
    if seen.ledger.stage.finished and asked is not None and asked.when_finished == "Delete":
        names |= {(CLAIMS, body["metadata"]["name"]) for body in objects.claims(job)}
    if any(place in there for place in names):
        # A claim is not let go while a pod names it, though the pod has long ended.
        for rank in sorted(seen.ranks, key=lambda rank: rank.key.name):
            if not rank.fact.alive and not rank.deleting:
                yield Delete(Ref(PODS, rank.key, rank.uid))
    if not seen.ledger.stage.finished:
        current = {(CONFIG_MAPS, body["metadata"]["name"]) for body in objects.hosts(job, seen.ledger)}
        names |= {place for place in there if place[0] == CONFIG_MAPS} - current
    for kind, name in sorted(names, key=lambda place: (place[0].kind, place[1])):
        if (kind, name) in there:
            yield Delete(Ref(kind, Key(job.namespace, name), there[kind, name]))


def _deleted(observed: Observed, now: float) -> Plan:
    """The job is going away, and waits for what it owns: nothing has to be recorded any more."""
    job = observed.job
    read = [read_pod(pod, observed.nodes, now) for pod in observed.pods]
    ranks = [rank for rank in read if rank is not None]
    status = None
    if not ranks and job.held and job.status.phase not in ENDED:
        # Somebody waits to hear that no rank runs any more.
        words = "it was deleted before it had ended"
        told = Condition(FAILED, "True", DELETED, words, observed_generation=job.generation)
        after = replace(job.status, phase="Failed", reason=DELETED, message=words, completion_time=told_time(now))
        status = encode(replace(after, conditions=with_conditions(job.status.conditions, [told], now)))
    queue = let_go(observed.queueing, alive=any(rank.fact.alive for rank in ranks))
    return Plan(
        status=status,
        release=[*(Ref(PODS, rank.key, rank.uid) for rank in ranks if rank.held and not rank.fact.alive), *queue],
        delete=[Delete(Ref(PODS, rank.key, rank.uid)) for rank in ranks if not rank.deleting],
        requeue_after=LOOK_AGAIN if ranks else None,
    )


# ---------------------------------------------------------------------- words
def _events(written: Ledger | None, seen: _Seen) -> Iterator[EventNote]:
    """What happened, where the stage is another one than was written last: what is told together is one event."""
    before = written.stage if written is not None else None
    ledger = seen.ledger
    if ledger.stage is before or (before is None and ledger.stage is Stage.QUEUED):
        return
    bad = ledger.stage in (Stage.FAILED, Stage.RESTARTING, Stage.RELEASING)
    words = ledger.message or f"the job is {seen.status.phase}, attempt {ledger.attempt}"
    yield EventNote(ledger.reason or seen.status.phase, words, "Warning" if bad else "Normal")


def _invalid(observed: Observed, now: float) -> Plan:
    """An object that is no job (the schema was changed under it): told, and left alone."""
    job, error = observed.job, observed.invalid
    assert error is not None
    words = "; ".join(f"{finding.path}: {finding.message}" for finding in error.findings) or error.message
    told = Condition(FAILED, "True", "InvalidSpec", words, observed_generation=job.generation)
    return Plan(
        status={
            "phase": "Failed",
            "reason": "InvalidSpec",
            "message": words,
            "conditions": encode(with_conditions(job.status.conditions, [told], now)),
        }
    )


def refused_words(refusals: Sequence[tuple[Object, Any]]) -> dict[str, str]:
    """Names of the objects that were refused, and why."""
    return {str(body["metadata"]["name"]): _words_of(error) for body, error in refusals}


def _words_of(error: object) -> str:
    told = str(error)
    if "].image: Required value" in told:
        told += "\n  The job names no image, and this operator has none for such jobs (MLPLATFORM_TRAINING_IMAGE)."
    return told
