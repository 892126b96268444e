"""Reading a training job that is an attempt of a task: whether it lives, what it waits for, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mlplatform.apis.names import ANNOTATION_CACHE_KEY, ANNOTATION_WHY, FINALIZER_RESULT, LABEL_ATTEMPT
from mlplatform.apis.times import read_time
from mlplatform.controllers.pipelinerun.message import Elsewhere, Result, read_message
from mlplatform.controllers.pipelinerun.pods import Deleted, Lost, PodSeen, request_of
from mlplatform.controllers.pipelinerun.trouble import Trouble
from mlplatform.core.model import TaskError
from mlplatform.core.values import child
from mlplatform.kube.objects import Object, being_deleted, has_finalizer, key_of, metadata, uid_of
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.names import rank_name
from mlplatform.planning.training.shape import working_role
from mlplatform.planning.training.status import COMPLETE, DELETED, FAILED, PLACED, RUNNING, SUSPENDED
from mlplatform.render.names import key_in

Json = Mapping[str, Any]

_STARTED_AGAIN: Final = "its ranks were started again: what those read that were lost is not known"


def read_job(body: Object) -> PodSeen | None:
    """The attempt that a job is; None for one that is no task's."""
    meta = metadata(body)
    notes, labels = child(meta, "annotations"), child(meta, "labels")
    key, number = key_in(notes), str(labels.get(LABEL_ATTEMPT) or "")
    if key is None or not number.isdigit():
        return None
    status = child(body, "status")
    end, unkept = _end(status), _unkept(status)
    place = key_of(body)
    return PodSeen(
        kind=TRAINING_JOBS,
        name=place.name,
        namespace=place.namespace,
        uid=uid_of(body),
        key=key,
        attempt=int(number),
        running=status.get("phase") == RUNNING,
        deleting=being_deleted(body),
        held=has_finalizer(body, FINALIZER_RESULT),
        end=replace(end, unkept=unkept) if isinstance(end, Result) else end,
        started_at=read_time(status.get("startTime")),
        finished_at=read_time(status.get("completionTime")),
        trouble=_trouble(place.name, status) if end is None else None,
        request=_request(body),
        image=str(child(status, "result").get("image") or ""),
        cache_key=str(notes.get(ANNOTATION_CACHE_KEY) or ""),
        why=str(notes.get(ANNOTATION_WHY) or ""),
        rank=_rank(place.name, body, status),
        unkept=unkept,
        checkpoint=_checkpoint(status),
    )


def _end(status: Json) -> Result | Lost | Elsewhere | Deleted | None:
    phase, reason = status.get("phase"), str(status.get("reason") or "")
    if phase not in (COMPLETE, FAILED):
        return None
    if phase == FAILED and reason == DELETED:
        return Deleted()
    told = read_message(str(child(status, "result").get("message") or ""))
    words = str(status.get("message") or reason or "its ranks failed")
    if phase == COMPLETE:
        if isinstance(told, Elsewhere) or (isinstance(told, Result) and told.state == "SUCCEEDED"):
            return told
        return _failed("TASK_FAILED", "its ranks ended well, but rank 0 left no result (os._exit?)")
    if reason == "DeadlineExceeded":
        return _failed("DEADLINE", f"the task took longer than it may take: {words}")
    if isinstance(told, Elsewhere):
        return told
    if isinstance(told, Result) and told.state == "FAILED" and told.error is not None:
        return told
    return _failed("TASK_FAILED", words)


def _failed(code: str, message: str) -> Result:
    return Result("FAILED", error=TaskError(code, message))


def _unkept(status: Json) -> str:
    """Why a good result of it is not kept for reuse."""
    if len(status.get("attempts") or ()) > 1:
        return _STARTED_AGAIN
    peers: list[str] = child(status, "result").get("peers") or []
    return f"it talked to the network ({peers[0]})" if peers else ""


def _checkpoint(status: Json) -> int | None:
    steps = (child(status, "progress").get("checkpointStep"), child(status, "checkpoint").get("step"))
    return max((int(step) for step in steps if step is not None), default=None)


def _groups(body: Object) -> list[dict[str, Any]]:
    return child(body, "spec").get("groups") or []


def _rank(job: str, body: Object, status: Json) -> str:
    """The pod of rank 0, "" while none was asked for."""
    if found := str(child(status, "result").get("pod") or ""):
        return found
    role = working_role(str(child(body, "spec").get("framework") or ""))
    known: dict[str, Json] = {str(one.get("name")): one for one in status.get("groups") or ()}
    for group in _groups(body):
        if group.get("role", "worker") == role:
            attempt = int(known.get(str(group["name"]), {}).get("attempt") or 0)
            return rank_name(job, RankKey(str(group["name"]), 0, attempt)) if attempt else ""
    return ""


def _request(body: Object) -> str:
    for group in _groups(body):
        if found := request_of(child(child(group, "template"), "spec")):
            return found
    return ""


# ---------------------------------------------------------------------- what it waits for
def _trouble(name: str, status: Json) -> Trouble | None:
    conditions: dict[str, Json] = {str(one.get("type")): one for one in status.get("conditions") or ()}
    if status.get("phase") == SUSPENDED:
        hint = f"To go on: mlplatform training resume {name} --backend kubernetes"
        return Trouble("Suspended", "its training job is suspended", hint)
    if status.get("phase") == "Restarting" and status.get("message"):
        return Trouble("Restarting", f"its ranks start again: {status['message']}", serious=False)
    for kind in (PLACED, RUNNING):
        one = conditions.get(kind) or {}
        words = str(one.get("message") or "")
        # Ranks that merely have not begun are named without a reason.
        if one.get("status") == "False" and ": " in words:
            return Trouble(str(one.get("reason") or kind), words)
    return None
