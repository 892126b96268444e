"""Reading a pod: which attempt it is, whether it lives, how it ended, what it waits for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.apis.names import (
    ANNOTATION_CACHE_KEY,
    ANNOTATION_WHY,
    FINALIZER_RESULT,
    LABEL_ATTEMPT,
)
from mlplatform.apis.times import read_time
from mlplatform.controllers.pipelinerun.message import Elsewhere, Result, read_message
from mlplatform.controllers.pipelinerun.trouble import Trouble, not_ready, pull_secrets, trouble_of
from mlplatform.core.model import TaskError, TaskKey
from mlplatform.core.values import child
from mlplatform.kube.objects import PODS, Object, Resource, being_deleted, has_finalizer, key_of, metadata, uid_of
from mlplatform.render.names import key_in
from mlplatform.render.pod import LAUNCHER, MAIN

#: Words of the kubelet, the scheduler and the garbage collector for a pod that ended through no fault of its own.
_LOST: Final = frozenset(
    {
        "Evicted",
        "NodeLost",
        "NodeShutdown",
        "Terminated",
        "Shutdown",
        "Preempting",
        "NodeAffinity",
        "UnexpectedAdmissionError",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "OutOfephemeral-storage",
    }
)
#: Words of container runtimes for a container that could not be started because its pod's sandbox had ended or the node
#: had no room just then. Whatever else they say is about what the container asks for, and would be the same again.
_NODES_FAULT: Final = re.compile(
    r"namespace path: lstat /proc/|/proc/\d+/ns/\w+: no such file|sandbox \S+ (is )?not (found|running)|"
    r"ttrpc: closed|context deadline exceeded|context canceled|resource temporarily unavailable|"
    r"no space left on device|too many open files",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Lost:
    """The pod ended through no fault of its task."""

    why: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """Somebody deleted its training job: we did, or a person."""


End = Result | Lost | Elsewhere | Deleted


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One attempt's pod, or the training job that its pods are of. ``end`` is None while it lives."""

    name: str
    namespace: str
    uid: str
    key: TaskKey
    attempt: int
    running: bool = False
    deleting: bool = False
    held: bool = True
    end: End | None = None
    started_at: float | None = None
    finished_at: float | None = None
    trouble: Trouble | None = None
    request: str = ""
    node: str = ""
    #: It runs, but its node does not say so any more.
    unready: bool = False
    #: It has a node, and its task has not begun, for no reason that it tells.
    preparing: bool = False
    pull_secrets: tuple[str, ...] = ()
    #: It is known not to run, by what is known of its node: nobody but us takes it away.
    fenced: bool = False
    #: Its image by name and digest, once the kubelet has told it.
    image: str = ""
    cache_key: str = ""
    why: str = ""
    kind: Resource = PODS
    #: Of a training job: the pod of rank 0; why its result is not kept for reuse; the newest checkpoint.
    rank: str = ""
    unkept: str = ""
    checkpoint: int | None = None

    @property
    def pod(self) -> str:
        """The pod that answers for the attempt, "" where there is none yet."""
        return self.name if self.kind == PODS else self.rank


def read_pod(pod: Object) -> PodSeen | None:
    """The pod of an attempt; None for one that is not ours to read."""
    meta = metadata(pod)
    key = key_in(child(meta, "annotations"))
    number = str(child(meta, "labels").get(LABEL_ATTEMPT) or "")
    if key is None or not number.isdigit():
        return None
    status = child(pod, "status")
    main = _container(status, "containerStatuses", MAIN)
    state = child(main, "state")
    ended = child(state, "terminated")
    running = child(state, "running")
    spec = child(pod, "spec")
    image = _image(spec, main)
    end = _same_image(_end(pod, status, ended), image)
    trouble = None if end is not None else trouble_of(pod)
    place = key_of(pod)
    notes = child(meta, "annotations")
    return PodSeen(
        name=place.name,
        namespace=place.namespace,
        uid=uid_of(pod),
        key=key,
        attempt=int(number),
        running=bool(running),
        deleting=being_deleted(pod),
        held=has_finalizer(pod, FINALIZER_RESULT),
        end=end,
        started_at=read_time(ended.get("startedAt") or running.get("startedAt")),
        finished_at=_finished_at(end, ended, status, meta),
        trouble=trouble,
        request=request_of(spec),
        node=str(spec.get("nodeName") or ""),
        unready=end is None and status.get("phase") == "Running" and not_ready(status),
        preparing=end is None and trouble is None and bool(spec.get("nodeName")) and _waits(status),
        pull_secrets=pull_secrets(pod),
        image=image,
        cache_key=str(notes.get(ANNOTATION_CACHE_KEY) or ""),
        why=str(notes.get(ANNOTATION_WHY) or ""),
    )


def _image(spec: Mapping[str, Any], main: Mapping[str, Any]) -> str:
    _, found, digest = str(main.get("imageID") or "").rpartition("sha256:")
    if not found:
        return ""
    name = next((str(entry.get("image")) for entry in _list(spec, "containers") if entry.get("name") == MAIN), "")
    return f"{name.partition('@')[0]}@sha256:{digest}"


def _same_image(end: Result | Lost | Elsewhere | None, image: str) -> Result | Lost | Elsewhere | None:
    """An earlier result stands only in the image that it was made in."""
    if isinstance(end, Result) and end.state == "CACHED" and end.image != image.rpartition("@")[2]:
        return Lost("the earlier result was made in another image of that name")
    return end


def _waits(status: Mapping[str, Any]) -> bool:
    """Whether none of its containers runs, and the task's has not."""
    entries = [*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")]
    return status.get("phase") in (None, "Pending") and not any("running" in child(item, "state") for item in entries)


def request_of(spec: Mapping[str, Any]) -> str:
    """The object that holds what a pod with this spec is told, "" where that is in the pod."""
    for volume in _list(spec, "volumes"):
        if volume.get("name") == "mlplatform-request":
            return str(child(volume, "configMap").get("name") or "")
    return ""


def _list(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = data.get(name)
    return found if found is not None else []


def _container(status: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    nothing: dict[str, Any] = {}
    return next((entry for entry in _list(status, kind) if entry.get("name") == name), nothing)


def _finished_at(
    end: Result | Lost | Elsewhere | None, ended: Mapping[str, Any], status: Mapping[str, Any], meta: Mapping[str, Any]
) -> float | None:
    if end is None:
        return None
    if isinstance(end, Result) and end.finished_at is not None:
        return end.finished_at
    told = read_time(ended.get("finishedAt"))
    if told is None:
        times = [read_time(item.get("lastTransitionTime")) for item in _list(status, "conditions")]
        told = max((time for time in times if time is not None), default=None)
    return told if told is not None else read_time(meta.get("deletionTimestamp") or meta.get("creationTimestamp"))


def _end(pod: Object, status: Mapping[str, Any], ended: Mapping[str, Any]) -> Result | Lost | Elsewhere | None:
    phase, reason = str(status.get("phase") or "Pending"), str(status.get("reason") or "")
    if ended:
        told = read_message(str(ended.get("message") or ""))
        if isinstance(told, Result) and told.state == "TERMINATED":
            return _terminated(pod, status, reason)
        if isinstance(told, Result) and told.state == "CHANGED":
            return Lost(told.note)
        if told is not None:
            return told
        if phase not in ("Failed", "Succeeded"):
            return None  # its pod is not over yet: why it ended is told then
        return _silent(pod, status, ended, reason)
    if phase in ("Failed", "Succeeded"):
        return _never_ran(pod, status, reason)
    if being_deleted(pod) and not child(pod, "spec").get("nodeName"):
        return Lost("the pod was deleted before it ran")
    return None


def _terminated(pod: Object, status: Mapping[str, Any], reason: str) -> Result | Lost | None:
    """The launcher was told to stop. Who told it stands in the pod, maybe a moment later."""
    if reason == "DeadlineExceeded":
        return _deadline(pod)
    if being_deleted(pod) or _disrupted(status) or reason in _LOST:
        return Lost("the pod was stopped: " + _disruption(status, reason or "it was deleted"))
    if status.get("phase") in ("Failed", "Succeeded"):
        return Lost("the pod was stopped by a signal")
    return None


def _silent(pod: Object, status: Mapping[str, Any], ended: Mapping[str, Any], reason: str) -> Result | Lost:
    """It ended and left no result."""
    code, why = ended.get("exitCode"), str(ended.get("reason") or "")
    if reason == "DeadlineExceeded":
        return _deadline(pod)
    if being_deleted(pod) or _disrupted(status) or reason in _LOST:
        return Lost("the pod was stopped: " + _disruption(status, reason or "it was deleted"))
    text = str(ended.get("message") or "").strip()[-1500:]
    if why == "OOMKilled":
        hint = "Ask for more (set_memory_limit), or process less at once."
        return _failed("PROCESS_DIED", "the task used more memory than it may: it was killed", hint)
    if why in ("StartError", "ContainerCannotRun") or code == 128:
        if _NODES_FAULT.search(text):
            return Lost(f"its node could not start the container: {text}")
        return _failed("ENVIRONMENT_FAILED", f"the container could not be started: {text or why}", "", retryable=False)
    if code == 137:
        hint = "The usual cause is memory: ask for more, or process less at once."
        return _failed("PROCESS_DIED", "the task's process was killed", hint)
    if status.get("phase") == "Succeeded":
        return _failed("SYSTEM", "the pod ended without a result: its image, or something in it, replaced the launcher")
    return _failed("PROCESS_DIED", f"the task ended with status {code} and left no result" + (f": {text}" * bool(text)))


def _never_ran(pod: Object, status: Mapping[str, Any], reason: str) -> Result | Lost:
    if reason == "DeadlineExceeded":
        return _deadline(pod)
    if being_deleted(pod) or _disrupted(status) or reason in _LOST:
        return Lost("the pod was stopped: " + _disruption(status, reason or "it was deleted"))
    launcher = _container(status, "initContainerStatuses", LAUNCHER)
    ended = child(child(launcher, "state"), "terminated")
    if ended and ended.get("exitCode"):
        text = str(ended.get("message") or ended.get("reason") or "").strip()
        return _failed("ENVIRONMENT_FAILED", f"the launcher could not be put beside the task: {text}")
    for entry in _list(status, "initContainerStatuses"):
        over = child(child(entry, "state"), "terminated")
        if over.get("exitCode"):
            return _failed("TASK_FAILED", f"init container {entry.get('name')} ended with status {over['exitCode']}")
    return _failed("PROCESS_DIED", str(status.get("message") or reason or "the pod failed before the task began"))


def _failed(code: str, message: str, hint: str = "", *, retryable: bool = True) -> Result:
    return Result("FAILED", error=TaskError(code, message, hint=hint), retryable=retryable)


def _deadline(pod: Object) -> Result:
    seconds = child(pod, "spec").get("activeDeadlineSeconds")
    return _failed("DEADLINE", f"the task took longer than the {seconds} seconds it may take")


def _disrupted(status: Mapping[str, Any]) -> bool:
    return any(
        item.get("type") == "DisruptionTarget" and item.get("status") == "True" for item in _list(status, "conditions")
    )


def _disruption(status: Mapping[str, Any], otherwise: str) -> str:
    for item in _list(status, "conditions"):
        if item.get("type") == "DisruptionTarget" and item.get("status") == "True":
            return str(item.get("message") or item.get("reason") or otherwise)
    return str(status.get("message") or otherwise)
