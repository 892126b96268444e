"""The PipelineRun controller: what it watches, what it sees, what it plans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mlplatform.apis.names import FINALIZER_RESULT, LABEL_MADE_BY, LABEL_MANAGED, LABEL_RUN, MANAGER
from mlplatform.apis.objects import pipeline_run, task_records
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec
from mlplatform.controllers.framework.model import Caches, Owned, Plan, Refusal
from mlplatform.controllers.pipelinerun.accept import read_run
from mlplatform.controllers.pipelinerun.doubts import NodeSeen, doubtful, settled
from mlplatform.controllers.pipelinerun.lookups import Lookups
from mlplatform.controllers.pipelinerun.message import Elsewhere, Result, read_lines
from mlplatform.controllers.pipelinerun.observed import Claim, Observed
from mlplatform.controllers.pipelinerun.plan import Brains, plan_run
from mlplatform.controllers.pipelinerun.pods import Lost, PodSeen, read_pod
from mlplatform.controllers.pipelinerun.reading import Reading
from mlplatform.controllers.pipelinerun.results import Results
from mlplatform.controllers.pipelinerun.reuse import Nothing
from mlplatform.controllers.pipelinerun.tasks import BY_TASK
from mlplatform.controllers.pipelinerun.trainings import read_job
from mlplatform.core.errors import InvalidInput, KubernetesError
from mlplatform.core.model import TaskError
from mlplatform.kube.errors import Forbidden, Invalid, ObjectNotFound
from mlplatform.kube.objects import (
    CLAIMS,
    PODS,
    Key,
    Object,
    Resource,
    being_deleted,
    key_of,
    labels_of,
    metadata,
    uid_of,
)
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.planning.accepting import Accepted, Rejected, spec_digest
from mlplatform.render.settings import PodSettings

#: (namespace, pod, container, how many of the last lines) -> those lines. Raises KubernetesError.
ReadLog = Callable[[str, str, str, int], list[str]]

_OURS: Final = f"{LABEL_MANAGED}={MANAGER}"
_KEPT_RESULTS: Final = 500


class PipelineRuns:
    """Runs pipelines: one pod a task, or a training job where several ranks run it."""

    name = "pipelinerun"
    resource: Resource = PIPELINE_RUNS
    finalizer = FINALIZER_RESULT

    def __init__(self, settings: PodSettings, read_log: ReadLog | None = None, lookups: Lookups | None = None) -> None:
        """``read_log``: how a result that is too large for a termination message is read from its pod's log.
        ``lookups``: how it is known whether a node is gone, and what volumes wait for; None: that is not known."""
        self.owned: Iterable[Owned] = (
            Owned(PODS, selector=f"{_OURS},{LABEL_RUN}"),
            *((Owned(TRAINING_JOBS, selector=f"{_OURS},{LABEL_RUN}"),) if settings.trainings else ()),
            Owned(RECORDS),
            Owned(CLAIMS, selector=_OURS, label=LABEL_RUN, indexes={"managed": LABEL_MANAGED}),
        )
        self._settings = settings
        self._read_log = read_log
        self._lookups = lookups
        self._brains = Brains()
        self._reading = Reading()
        self._accepted: dict[str, Accepted | Rejected] = {}
        self._results: dict[str, Result | Lost] = {}
        self._known = Results(self._accept)

    # ------------------------------------------------------------------ what is there
    def observe(self, caches: Caches, key: Key) -> Observed | None:
        body = caches.get(PIPELINE_RUNS, key)
        if body is None:
            return None
        try:
            run = pipeline_run(body)
        except InvalidInput as error:
            return Observed(_outline(body), Rejected(error.message, error.findings, ""))
        over = run.status.state.finished
        if over:
            self._reading.forget(run.uid)
        owned = Reading().owned if over else self._reading.owned
        pods = [pod for pod in owned(caches, PODS, body, read_pod) if pod is not None]
        if self._settings.trainings:
            pods += [job for job in owned(caches, TRAINING_JOBS, body, read_job) if job is not None]
        read = [self._with_result(pod) for pod in pods]
        records = {chunk.index: chunk.tasks for chunk in owned(caches, RECORDS, body, task_records)}
        claims = {
            claim.name: claim
            for claim in (_claim(item) for item in caches.indexed(CLAIMS, "managed", MANAGER) if _in(item, key))
        }
        nodes, mounts = self._beyond(read)
        read = [self._sure(pod, nodes) for pod in read]
        unreadable = {pod.name: "its log" for pod in read if isinstance(pod.end, Elsewhere)}
        lives = not run.status.state.finished or run.spec.resume > run.status.resumed
        known = self._known.of(caches, key.namespace) if lives else Nothing()
        return Observed(run, self._accept(run), tuple(read), records, claims, unreadable, nodes, mounts, known)

    def _beyond(self, pods: list[PodSeen]) -> tuple[Mapping[str, NodeSeen | None], Mapping[str, str]]:
        """What the pods do not tell themselves: (their nodes, what their volumes wait for)."""
        if self._lookups is None:
            return {}, {}
        names = sorted({pod.node for pod in pods if doubtful(pod)})
        preparing = [pod for pod in pods if pod.preparing]
        return self._lookups.nodes(names), self._lookups.mounts(preparing) if preparing else {}

    def _sure(self, pod: PodSeen, nodes: Mapping[str, NodeSeen | None]) -> PodSeen:
        """A pod that is about to be given up for its node is read once more: a cache that lags may have missed its
        end, and the task would run twice."""
        if self._lookups is None or pod.fenced or not settled(pod, nodes, {}).fenced:
            return pod
        body = self._lookups.pod(Key(pod.namespace, pod.name))
        now = read_pod(body) if body is not None and uid_of(body) == pod.uid else None
        return self._with_result(now) if now is not None else pod

    def _accept(self, run: PipelineRun) -> Accepted | Rejected:
        digest = spec_digest(run.spec)
        found = self._accepted.get(digest)
        if found is None:
            if len(self._accepted) >= _KEPT_RESULTS:
                self._accepted.clear()
            found = self._accepted[digest] = read_run(run)
        return found

    def _with_result(self, pod: PodSeen) -> PodSeen:
        """A pod with its result, where that is in its log: read once, and kept until it is recorded."""
        if not isinstance(pod.end, Elsewhere) or not pod.held:
            return pod
        known = self._results.get(pod.uid)
        if known is None:
            known = self._fetch(pod, pod.end)
            if known is None:
                return pod
            if len(self._results) >= _KEPT_RESULTS:
                self._results.clear()
            self._results[pod.uid] = known
        if isinstance(known, Result):
            known = replace(known, unkept=pod.unkept)
        at = known.finished_at if isinstance(known, Result) else None
        return replace(pod, end=known, finished_at=at if at is not None else pod.finished_at)

    def _fetch(self, pod: PodSeen, place: Elsewhere) -> Result | Lost | None:
        if self._read_log is None:
            error = TaskError("OUTPUT_TOO_LARGE", "the outputs are too large for a termination message")
            return Result("FAILED", error=error, retryable=False)
        try:
            lines = self._read_log(pod.namespace, pod.pod, "main", place.lines)
        except (ObjectNotFound, Invalid):
            return Lost("its log, which held its result, is gone")
        except KubernetesError:
            return None
        found = read_lines(lines, place.digest)
        return found if found is not None else Lost("its result is not in its log any more")

    # ------------------------------------------------------------------ what should be
    def plan(self, observed: Observed, now: float) -> Plan:
        return plan_run(observed, now, self._brains, self._settings)

    def refused(self, observed: Observed, now: float, refusals: Sequence[Refusal]) -> Plan:
        told = {str(metadata(item.body).get("name")): _why(item.error) for item in refusals}
        return plan_run(observed, now, self._brains, self._settings, told)


def _why(error: KubernetesError) -> tuple[TaskError, bool]:
    """Why a pod was refused, and whether it may be taken later."""
    text = "\n".join([error.message, *map(str, error.findings)])
    if isinstance(error, Forbidden) and "exceeded quota" in text:
        return TaskError("QUOTA", text, hint="The task begins when the namespace's quota has room."), True
    if isinstance(error, Forbidden):
        hint = "Ask for less in the task's security context and volumes, or ask whoever runs the cluster."
        return TaskError("FORBIDDEN", text, hint=hint), False
    if isinstance(error, Invalid):
        return TaskError("INVALID_POD", text, hint="Correct the task's Kubernetes settings."), False
    return TaskError(error.code, text), True


def _outline(body: Object) -> PipelineRun:
    """As much of a run as can be read whatever its spec holds."""
    empty: Object = {}
    run = pipeline_run({**body, "spec": empty, "status": empty})
    return replace(run, spec=PipelineRunSpec())


def _claim(item: Object) -> Claim:
    labels = labels_of(item)
    return Claim(key_of(item).name, uid_of(item), labels.get(LABEL_MADE_BY) == BY_TASK, being_deleted(item))


def _in(item: Object, key: Key) -> bool:
    return key_of(item).namespace == key.namespace
