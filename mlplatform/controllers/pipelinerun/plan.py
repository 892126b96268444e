"""What should be of one run, given what was observed. Pure but for the brains it is lent: a cache of planners, each of
which could be built anew from the same facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from mlplatform.apis.pipelinerun import PipelineRun, TaskStatus
from mlplatform.apis.times import read_time
from mlplatform.controllers.framework.model import Delete, EventNote, Plan, Ref
from mlplatform.controllers.pipelinerun import history as past
from mlplatform.controllers.pipelinerun import status as telling
from mlplatform.controllers.pipelinerun.doubts import doubtful, settled
from mlplatform.controllers.pipelinerun.history import History
from mlplatform.controllers.pipelinerun.message import Elsewhere, Result
from mlplatform.controllers.pipelinerun.observed import Observed
from mlplatform.controllers.pipelinerun.pods import Deleted, PodSeen
from mlplatform.controllers.pipelinerun.tasks import failure, work_of, workspace_claim
from mlplatform.core.model import TaskError, TaskKey
from mlplatform.core.states import TaskState
from mlplatform.kube.objects import CLAIMS, CONFIG_MAPS, Key, Object
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.planning.accepting import Accepted, Rejected
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import Limits
from mlplatform.planning.resetting import reset_for_resume
from mlplatform.render.names import workspace_name
from mlplatform.render.runview import run_view
from mlplatform.render.settings import PodSettings


@dataclass
class Kept:
    """A run's brain, what it was built for, and results that came without a pod and are not recorded yet."""

    brain: Brain
    mark: tuple[str, int]
    results: History = field(default_factory=dict[TaskKey, TaskStatus])


@dataclass
class Brains:
    """Planners by the UID of their run. Losing one costs time and nothing else."""

    by_uid: dict[str, Kept] = field(default_factory=dict[str, Kept])
    limit: int = 1000

    def get(self, uid: str, mark: tuple[str, int]) -> Kept | None:
        kept = self.by_uid.get(uid)
        return kept if kept is not None and kept.mark == mark else None

    def put(self, uid: str, kept: Kept) -> None:
        self.by_uid.pop(uid, None)
        while len(self.by_uid) >= self.limit:
            self.by_uid.pop(next(iter(self.by_uid)))
        self.by_uid[uid] = kept

    def forget(self, uid: str) -> None:
        self.by_uid.pop(uid, None)


#: Seconds until a pod that does not begin, or whose node is in doubt, is looked at again: nothing tells of either.
_DOUBT: Final = 2.0
#: Objects that one look creates. Then the status is written, and the next look goes on: a run of a thousand tasks says
#: that it has begun before all its pods are there, and others' runs have their turn in between.
BATCH: Final = 200

#: What the API server refused to create, by name: why, and whether it may take it later.
Refused = Mapping[str, tuple[TaskError, bool]]


def plan_run(
    observed: Observed, now: float, brains: Brains, settings: PodSettings, refused: Refused | None = None
) -> Plan:
    """What is to be written for a run."""
    pods = tuple(settled(pod, observed.nodes, observed.mounts) for pod in observed.pods)
    observed = replace(observed, pods=pods)
    run = observed.run
    if run.deleting:
        brains.forget(run.uid)
        return Plan(release=[_ref(pod) for pod in observed.pods if pod.held])
    resuming = run.spec.resume > run.status.resumed and run.status.state.finished
    if run.status.state.finished and not resuming:
        brains.forget(run.uid)
        return _after_the_end(observed, now)
    if isinstance(observed.accepted, Rejected):
        return Plan(status=telling.rejected(run, observed.accepted, now), events=_rejection(observed.accepted))
    return _Planning(observed, observed.accepted, now, brains, settings, refused or {}).plan(resuming)


def _judged(pod: PodSeen, stopping: bool) -> PodSeen:
    """A training job that a person deleted has failed; one of a run that is stopped was stopped."""
    if stopping or not isinstance(pod.end, Deleted):
        return pod
    return replace(pod, end=Result("FAILED", error=TaskError("TASK_FAILED", "its training job was deleted")))


def _ref(pod: PodSeen) -> Ref:
    return Ref(pod.kind, Key(pod.namespace, pod.name), pod.uid)


def _fenced(pods: Iterable[PodSeen]) -> list[Delete]:
    """Pods that are known not to run: no kubelet will ever take them away."""
    return [Delete(_ref(pod), grace_period=0) for pod in pods if pod.fenced]


def _rejection(rejected: Rejected) -> list[EventNote]:
    return [EventNote("Rejected", "; ".join(map(str, rejected.findings))[:900], "Warning")]


def _after_the_end(observed: Observed, now: float) -> Plan:
    """A finished run: pods are let go, and after its time it is deleted."""
    run = observed.run
    released = [_ref(pod) for pod in observed.pods if pod.held and pod.end is not None]
    living = [Delete(_ref(pod)) for pod in observed.pods if pod.end is None and not pod.deleting]
    living += _fenced(observed.pods)
    platform = observed.accepted.settings if isinstance(observed.accepted, Accepted) else None
    seconds = telling.time_to_live(run, platform)
    finished = read_time(run.status.finished_at)
    if seconds is None or finished is None:
        return Plan(release=released, delete=living)
    left = finished + seconds - now
    if left > 0:
        return Plan(release=released, delete=living, requeue_after=left)
    return Plan(release=released, delete=[*living, Delete(telling.reference(run))])


def _unwritten(results: History, recorded: History) -> bool:
    """Whether a result that was found in the cache is not in the status yet."""
    return any(task.state is TaskState.CACHED and _newer(task, recorded.get(key)) for key, task in results.items())


def _newer(task: TaskStatus, than: TaskStatus | None) -> bool:
    """Whether a result says more than what is known otherwise."""
    if than is None or task.attempt > than.attempt:
        return True
    return task.attempt == than.attempt and not than.state.finished and than.state is not TaskState.RETRYING


@dataclass
class _Planning:
    """One look at a run that lives."""

    observed: Observed
    accepted: Accepted
    now: float
    brains: Brains
    settings: PodSettings
    refused: Refused
    create: list[Object] = field(default_factory=list[Object])
    delete: list[Delete] = field(default_factory=list[Delete])
    waiting: dict[TaskKey, str] = field(default_factory=dict[TaskKey, str])
    stopped: list[PodSeen] = field(default_factory=list[PodSeen])
    more: bool = False

    @property
    def run(self) -> PipelineRun:
        return self.observed.run

    @cached_property
    def _jobs(self) -> dict[str, PodSeen]:
        return {pod.name: pod for pod in self.observed.pods if pod.kind == TRAINING_JOBS}

    def plan(self, resuming: bool) -> Plan:
        run = self.run
        recorded = past.merged(self._chunks(), run.status.tasks)
        if resuming:
            recorded = self._reset(recorded)
        if run.status.spec_digest and run.status.spec_digest != self.accepted.digest:
            return Plan(status=telling.changed(run, self.now))
        deadline = telling.deadline_at(run, self.accepted.settings, self.now)
        expired = deadline is not None and deadline <= self.now
        history = past.with_pods(recorded, [_judged(pod, run.spec.cancel or expired) for pod in self.observed.pods])
        kept = self._brain(history, resuming, run.spec.cancel or expired)
        brain = kept.brain
        history |= {key: task for key, task in kept.results.items() if _newer(task, history.get(key))}
        brain.take(past.facts_of(history), self.now, cancel=run.spec.cancel or expired)
        # What was found in the cache is written down before anything begins on it: a process that died in between might
        # find another result, or none, and what had begun would have been begun on nothing.
        if not _unwritten(kept.results, recorded):
            self._work(kept, history, expired)
        self._stop(brain, history, expired)
        after = telling.Telling(
            run, brain, self.accepted.digest, history, self.observed.records, self.waiting, self.now, not self.refused
        )
        chunks = after.chunks()
        status = after.status(expired=expired, resuming=resuming)
        finished = brain.finish is not None
        quick = finished or resuming or _unwritten(kept.results, recorded)
        wait = 0.0 if quick else telling.patience(run, status, self.now)
        if wait > 0:
            return Plan(create=self.create, delete=self._stops(), requeue_after=0.0 if self.more else wait)
        kept.results = {key: task for key, task in kept.results.items() if _newer(task, recorded.get(key))}
        ended = [pod for pod in self.observed.pods if self._over(pod, history)]
        told = [Key(pod.namespace, pod.request) for pod in ended if pod.request and pod.held]
        return Plan(
            create=[*self._claim(), *self.create, *chunks],
            status=status,
            release=[_ref(pod) for pod in ended if pod.held],
            delete=[*self._stops(), *_fenced(ended), *self.delete, *(Delete(Ref(CONFIG_MAPS, key)) for key in told)],
            requeue_after=self._requeue(brain, deadline),
            events=after.events(),
        )

    # ------------------------------------------------------------------ before
    def _chunks(self) -> list[tuple[TaskStatus, ...]]:
        return [self.observed.records[index] for index in sorted(self.observed.records)]

    def _brain(self, history: History, anew: bool, cancel: bool) -> Kept:
        mark = (self.accepted.digest, self.run.spec.resume)
        kept = None if anew else self.brains.get(self.run.uid, mark)
        if kept is None:
            view = replace(run_view(self.run, self.accepted), tasks=past.facts_of(history), cancel_requested=cancel)
            kept = Kept(Brain(self.accepted.pipeline, view, Limits(self.run.spec.parallelism), self.now), mark)
            self.brains.put(self.run.uid, kept)
        return kept

    def _reset(self, recorded: History) -> History:
        """Tasks that did not succeed, and what depends on them, begin again."""
        view = replace(run_view(self.run, self.accepted), tasks=past.facts_of(recorded))
        brain = Brain(self.accepted.pipeline, view, Limits(), self.now)
        again = set(reset_for_resume(self.accepted.pipeline, brain.records()).again)
        return {key: telling.begun_again(task) if key in again else task for key, task in recorded.items()}

    # ------------------------------------------------------------------ what should run
    def _work(self, kept: Kept, history: History, expired: bool) -> None:
        """Bring about what should be running, until nothing more follows at once."""
        brain = kept.brain
        there = {(pod.key, pod.attempt) for pod in self.observed.pods}
        asked: set[tuple[TaskKey, int]] = set()
        while True:
            fresh: History = {}
            for start in brain.running():
                place = (start.key, start.attempt)
                if place in there or place in asked:
                    continue
                if len(self.create) >= BATCH:
                    self.more = not self.refused  # what was refused is asked for again when its time has come
                    break
                asked.add(place)
                task = history.get(start.key) or TaskStatus(start.key.path, start.key.iteration)
                begun = task.state is TaskState.RUNNING and task.attempt == start.attempt
                task = telling.started(task, start.attempt)
                if expired or brain.to_stop(start.key):
                    fresh[start.key] = telling.cancelled(task, self.now)
                    continue
                claims, making = self.observed.claims, self._making()
                known, offers = self.observed.known, not task.lost
                work = work_of(
                    start,
                    self.run,
                    self.accepted,
                    brain,
                    self.settings,
                    claims,
                    making,
                    begun,
                    known,
                    offers=offers,
                    jobs=self._jobs,
                    resume=task.checkpoint_step,
                )
                task = replace(task, cache_key=work.key, note=work.note, image=work.image)
                if work.drop is not None:
                    # The attempt before is over, and counted: that is on record by the next one's being so.
                    history[start.key] = task
                    self.delete += [] if work.drop.deleting else [Delete(_ref(work.drop))]
                if work.later:
                    self.waiting[start.key] = work.later
                    continue
                if work.remove is not None:
                    history[start.key] = task
                    self.delete.append(Delete(Ref(CLAIMS, Key(self.run.namespace, work.remove.name), work.remove.uid)))
                    continue
                result = work.result or self._refusal(work.create, start.key)
                if result is None:
                    self.create += work.create
                    history[start.key] = task
                    continue
                if work.result is not None:
                    self.create += work.create
                fresh[start.key] = past.ended(telling.at(task, self.now), result)
            if not fresh:
                return
            kept.results |= fresh
            history |= fresh
            brain.take(past.facts_of(fresh), self.now)
            if self.more or any(task.state is TaskState.CACHED for task in fresh.values()):
                return

    def _refusal(self, objects: tuple[Object, ...], key: TaskKey) -> Result | None:
        for item in objects:
            found = self.refused.get(item["metadata"]["name"])
            if found is None:
                continue
            error, later = found
            if later:
                self.waiting[key] = f"{error.message} ({error.hint})" if error.hint else error.message
                return None
            return failure(error)
        return None

    def _making(self) -> frozenset[str]:
        claims = (item for item in self.create if item["kind"] == "PersistentVolumeClaim")
        return frozenset(str(item["metadata"]["name"]) for item in claims)

    def _claim(self) -> list[Object]:
        claim = workspace_claim(self.run, self.accepted)
        return [] if claim is None or workspace_name(self.run.name) in self.observed.claims else [claim]

    def _stop(self, brain: Brain, history: History, expired: bool) -> None:
        """Pods of tasks that are to stop, and of attempts that were given up (their node came back)."""
        self.stopped = [
            pod
            for pod in self.observed.pods
            if pod.end is None
            and not pod.deleting
            and (expired or brain.to_stop(pod.key) or self._given_up(pod, history))
        ]

    @staticmethod
    def _given_up(pod: PodSeen, history: History) -> bool:
        task = history.get(pod.key)
        return task is not None and pod.attempt < task.attempt

    def _stops(self) -> list[Delete]:
        return [Delete(_ref(pod)) for pod in self.stopped]

    # ------------------------------------------------------------------ after
    def _over(self, pod: PodSeen, history: Mapping[TaskKey, TaskStatus]) -> bool:
        """Whether nothing more is to be learnt from a pod."""
        if pod.end is None:
            return False
        if not isinstance(pod.end, Elsewhere):
            return True
        task = history.get(pod.key)
        return task is not None and (task.attempt > pod.attempt or task.state is not TaskState.RUNNING)

    def _requeue(self, brain: Brain, deadline: float | None) -> float | None:
        if brain.finish is not None:
            seconds = telling.time_to_live(self.run, self.accepted.settings)
            return None if seconds is None else float(seconds)
        if self.more:
            return 0.0
        times = [at for at in (brain.wake_at, deadline) if at is not None and at > self.now]
        waits = [at - self.now for at in times]
        if self.observed.unreadable:
            waits.append(2.0)
        if any(pod.preparing or doubtful(pod) for pod in self.observed.pods):
            waits.append(_DOUBT)
        if self.delete:
            waits.append(1.0)  # a claim of another run goes away unseen
        if self.waiting:
            waits.append(1.0 if self._making() else 15.0)
        return min(waits, default=None)
