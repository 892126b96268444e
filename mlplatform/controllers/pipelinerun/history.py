"""What is known of each task: what was recorded, and what the pods that are there add to it. Pure.

The same pods in any order, seen at once or one by one, give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from mlplatform.apis.pipelinerun import ErrorStatus, TaskStatus
from mlplatform.apis.times import told_time
from mlplatform.controllers.pipelinerun.message import Elsewhere, Result
from mlplatform.controllers.pipelinerun.pods import Deleted, Lost, PodSeen
from mlplatform.core.model import TaskKey
from mlplatform.core.states import TaskState
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.planning.taskstatus import History, facts_of, merged, told, values_json

#: Attempts lost with their pod or node in a row after which a task fails all the same.
LOST_LIMIT: Final = 5
_LIVE: Final = frozenset({TaskState.RUNNING, TaskState.QUEUED, TaskState.PENDING})


def with_pods(history: Mapping[TaskKey, TaskStatus], pods: Iterable[PodSeen]) -> History:
    """What the pods add. An attempt that was stopped is lost; what that means in a cancelled run the planner knows."""
    found = dict(history)
    pods = sorted(pods, key=lambda pod: (pod.key, pod.attempt))
    there = {(pod.key, pod.attempt) for pod in pods}
    for key, task in history.items():
        gone = task.state is TaskState.RUNNING and task.pod and (key, task.attempt) not in there
        if gone:
            found[key] = _lost(task, None, "its pod is gone")
    for pod in pods:
        before = found.get(pod.key) or TaskStatus(pod.key.path, pod.key.iteration)
        if pod.attempt < before.attempt or (pod.attempt == before.attempt and before.state not in _LIVE):
            continue
        if pod.attempt == before.attempt and before.state is TaskState.PENDING:
            continue  # this attempt was found lost, or its task was reset
        found[pod.key] = _after(before, pod)
    return found


def _after(before: TaskStatus, pod: PodSeen) -> TaskStatus:
    task = replace(
        before,
        attempt=pod.attempt,
        pod=pod.pod,
        started_at=told_time(pod.started_at),
        finished_at=told_time(pod.finished_at),
        waiting_for="",
        error=None,
        outputs={},
        image=pod.image,
        cache_key=pod.cache_key,
        cached_from="",
        note=pod.why,
        training=pod.name if pod.kind == TRAINING_JOBS else "",
    )
    if pod.end is not None and pod.checkpoint is not None:
        task = replace(task, checkpoint_step=pod.checkpoint)
    match pod.end:
        case None | Elsewhere():
            waiting = str(pod.trouble) if pod.trouble is not None else ""
            return replace(task, state=TaskState.RUNNING, finished_at="", waiting_for=waiting)
        case Lost(why):
            return _lost(task, pod, why)
        case Deleted():
            return _lost(task, pod, "its training job was deleted")
        case Result() as result:
            return ended(task, result)


def _lost(task: TaskStatus, pod: PodSeen | None, why: str) -> TaskStatus:
    at = told_time(pod.finished_at) if pod is not None else task.finished_at
    lost = task.lost + 1
    if lost >= LOST_LIMIT:
        error = ErrorStatus("LOST", f"the task's pod was lost {lost} times in a row; the last time: {why}")
        return replace(
            task, state=TaskState.FAILED, lost=lost, failures=task.failures + 1, error=error, final=True, finished_at=at
        )
    return replace(task, state=TaskState.PENDING, lost=lost, finished_at=at, waiting_for=f"begins again: {why}")


def _kept(task: TaskStatus, result: Result) -> TaskStatus:
    """Whether and why a good result is kept for reuse."""
    if result.state == TaskState.CACHED:
        source = result.cached_from.partition(":")[0]
        note = f"nothing it depends on changed since run {source}"
        return replace(task, cached_from=result.cached_from, note=note)
    note = result.note or task.note
    unkept = result.unkept or (f"it talked to the network ({result.peers[0]})" if result.peers else "")
    if unkept and task.cache_key:
        why = f"not kept for reuse: {unkept}"
        return replace(task, cache_key="", note=f"{note}; {why}" if note else why)
    return replace(task, note=note)


def ended(task: TaskStatus, result: Result) -> TaskStatus:
    """A task whose attempt gave a result."""
    at = told_time(result.finished_at) if result.finished_at is not None else task.finished_at
    if result.state in (TaskState.SUCCEEDED, TaskState.CACHED):
        task = _kept(task, result)
        state = TaskState(result.state)
        return replace(
            task, state=state, lost=0, outputs=values_json(result.values), finished_at=at, error=None, waiting_for=""
        )
    return replace(
        task,
        state=TaskState.FAILED,
        lost=0,
        failures=task.failures + 1,
        error=told(result.error) or ErrorStatus("TASK_FAILED", "the task failed and did not say why"),
        final=not result.retryable,
        finished_at=at,
        waiting_for="",
    )


__all__ = ["History", "ended", "facts_of", "merged", "told", "values_json", "with_pods"]
