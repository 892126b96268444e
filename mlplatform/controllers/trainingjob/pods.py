"""From a rank's pod to what the brain knows of the rank. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.apis.names import FINALIZER_RANK
from mlplatform.apis.times import read_time
from mlplatform.kube.objects import Key, being_deleted, has_finalizer, key_of, labels_of, metadata, uid_of
from mlplatform.planning.training.facts import RankFact, RankKey, RankState
from mlplatform.planning.training.lastwords import last_words, reasons_in
from mlplatform.render.training.names import read_labels

Json = Mapping[str, Any]

#: Seconds that a node may be silent beyond the grace of a pod that it should have ended.
OVERDUE: Final = 15.0
#: Seconds for which an image that cannot be pulled is tried.
PULLING: Final = 300.0

_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
_NEVER: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_TROUBLE: Final = _PULL | _NEVER | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
#: Why a container's command never began, and what a shell ends with then.
_NO_COMMAND: Final = frozenset({"StartError", "ContainerCannotRun"})
_NOT_FOUND: Final = 127
#: What the last word of a launcher of ours has in it.
LAST_WORD: Final = '"mlplatform":1'
#: What a pod's own reason, and that of its disruption, means in our words.
_REASONS: Final = {
    "Evicted": "Evicted",
    "NodeLost": "NodeLost",
    "Preempting": "Preempted",
    "DeadlineExceeded": "DeadlineExceeded",
    "Terminated": "Evicted",
    "NodeShutdown": "Evicted",
    "Shutdown": "Evicted",
    "PreemptionByScheduler": "Preempted",
    "EvictionByEvictionAPI": "Evicted",
    "TerminationByKubelet": "Evicted",
    "DeletionByTaintManager": "Evicted",
    "DeletionByPodGC": "NodeLost",
}


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node, as far as it matters whether its pods may still run. One that is gone is None instead."""

    ready: bool = True
    #: Somebody vouches that it is off (the taint node.kubernetes.io/out-of-service).
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class RankPod:
    """``ghost``: nothing ever ran in it, and it is only kept by our finalizer. ``lost``: its node is gone for good, so
    nobody but us can take it away."""

    fact: RankFact
    key: Key
    uid: str
    held: bool
    deleting: bool
    ghost: bool = False
    lost: bool = False
    #: Its node is silent, and nobody vouches that it is off.
    waiting_for_node: bool = False
    #: What a launcher of ours left as its last word, and in which image (by digest).
    message: str = ""
    image: str = ""


def read_pod(pod: Json, nodes: Mapping[str, NodeSeen | None], now: float) -> RankPod | None:
    """A pod of a rank. ``nodes``: those of the pods; None: gone. None: it is no rank's."""
    rank = read_labels(labels_of(pod))
    if rank is None:
        return None
    deleting = being_deleted(pod)
    fact = _fact(pod, rank, now)
    ghost = deleting and not fact.node
    lost = waiting = False
    if fact.node and fact.alive:
        node = nodes.get(fact.node)
        gone = node is None or (node.fenced and not node.ready)
        overdue = deleting and now >= (read_time(metadata(pod).get("deletionTimestamp")) or now) + OVERDUE
        if gone:
            lost = True
            fact = _lost(fact, now)
        elif node is not None and not node.ready and overdue:
            waiting = True
            fact = _with(fact, f"node {fact.node} is silent: it has to come back, be removed, or be tainted "
                         "node.kubernetes.io/out-of-service before the rank can start elsewhere")  # fmt: skip
    held = has_finalizer(pod, FINALIZER_RANK)
    message, image = _last_word(pod)
    return RankPod(fact, key_of(pod), uid_of(pod), held, deleting, ghost, lost, waiting, message, image)


def _last_word(pod: Json) -> tuple[str, str]:
    """(what the launcher of the rank's container left, the image's name and digest)."""
    spec: Json = pod.get("spec") or {}
    nothing: Json = {}
    own = next(iter(_list(spec, "containers")), nothing)
    seen = _list(pod.get("status") or nothing, "containerStatuses")
    status = next((one for one in seen if one.get("name") == own.get("name")), nothing)
    message = str(_state(status, "terminated").get("message") or "")
    _, found, digest = str(status.get("imageID") or "").rpartition("sha256:")
    image = f"{str(own.get('image') or '').partition('@')[0]}@sha256:{digest}" if found else ""
    return message if LAST_WORD in message else "", image


def _lost(fact: RankFact, now: float) -> RankFact:
    return RankFact(
        fact.key,
        RankState.FAILED,
        node=fact.node,
        reasons=fact.reasons | {"NodeLost"},
        conditions=fact.conditions,
        message=f"node {fact.node} is gone",
        placed_at=fact.placed_at,
        finished_at=now,
    )


def _with(fact: RankFact, message: str) -> RankFact:
    return RankFact(
        fact.key,
        fact.state,
        fact.ready,
        fact.node,
        fact.exit_code,
        fact.conditions,
        fact.reasons,
        message,
        fact.placed_at,
        fact.finished_at,
    )


def _fact(pod: Json, rank: RankKey, now: float) -> RankFact:
    status: Json = pod.get("status") or {}
    spec: Json = pod.get("spec") or {}
    node = str(spec.get("nodeName") or "")
    conditions = {str(one.get("type")): one for one in _list(status, "conditions") if one.get("status") == "True"}
    placed_at = _time(conditions.get("PodScheduled"), "lastTransitionTime") or read_time(status.get("startTime"))
    end = _end(pod, status)
    if end is not None:
        return _ended(pod, rank, status, conditions, end, node, placed_at)
    if being_deleted(pod):
        return RankFact(rank, RankState.STOPPING, node=node, placed_at=placed_at)
    if not node:
        return RankFact(rank, RankState.PENDING, message=_unscheduled(status))
    reason, told = _trouble(status)
    if reason in _NEVER or (reason in _PULL and placed_at is not None and now - placed_at >= PULLING):
        state, reasons = RankState.FAILED, frozenset({"ImagePull"})
        return RankFact(rank, state, node=node, reasons=reasons, message=told, placed_at=placed_at, finished_at=now)
    if status.get("phase") == "Running":
        ready = "Ready" in conditions
        return RankFact(rank, RankState.RUNNING, ready, node, message=told, placed_at=placed_at)
    return RankFact(rank, RankState.STARTING, node=node, message=told, placed_at=placed_at)


# ---------------------------------------------------------------------- how it ended
def _end(pod: Json, status: Json) -> Json | None:
    """How the rank's container ended (sidecars may still run); of a pod that failed before, how that one did."""
    spec: Json = pod.get("spec") or {}
    name = next((one.get("name") for one in _list(spec, "containers")), None)
    for one in _list(status, "containerStatuses"):
        ended = _state(one, "terminated")
        if one.get("name") == name and ended:
            return ended
    if status.get("phase") not in ("Failed", "Succeeded"):
        return None
    for one in [*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")]:
        ended = _state(one, "terminated")
        if ended and ended.get("exitCode"):
            return ended
    return {"exitCode": 0} if status.get("phase") == "Succeeded" else {}


def _ended(
    pod: Json,
    rank: RankKey,
    status: Json,
    conditions: Mapping[str, Json],
    end: Json,
    node: str,
    placed_at: float | None,
) -> RankFact:
    code: int | None = _NOT_FOUND if end.get("reason") in _NO_COMMAND else end.get("exitCode")
    finished_at = read_time(end.get("finishedAt"))
    disruption = conditions.get("DisruptionTarget")
    reasons = set(_told(status.get("reason"), end.get("reason"), disruption.get("reason") if disruption else None))
    good = code == 0 and not reasons
    if being_deleted(pod) and not (good and _before_deletion(pod, finished_at)):
        # SIGTERM came first: even exit code 0 then only says that it stopped in good order.
        good = False
        reasons |= set() if reasons or disruption else {"Deleted"}
    if status.get("phase") == "Failed" and code in (None, 0) and not reasons and not good:
        reasons.add("Deleted" if being_deleted(pod) else "Evicted")
    words = str(status.get("message") or (disruption or {}).get("message") or "")
    if not good and not words and "Deleted" not in reasons:
        words = _said(str(end.get("message") or ""), str(end.get("reason") or ""))
        reasons |= reasons_in(words)
    return RankFact(
        rank,
        RankState.SUCCEEDED if good else RankState.FAILED,
        node=node,
        exit_code=code,
        conditions=frozenset({"DisruptionTarget"}) if disruption else frozenset(),
        reasons=frozenset(reasons),
        message=words.strip()[-1024:],
        placed_at=placed_at,
        finished_at=finished_at,
    )


def _said(message: str, reason: str) -> str:
    """What the rank said last: the end of its log, or its launcher's last word; or why it never began."""
    if reason in _NO_COMMAND:
        return f"{reason}: {message}".strip(": ")
    if LAST_WORD not in message:
        return last_words(message)
    try:
        told: Any = json.loads(message)
        return str(told["error"]["message"])[:512]
    except (ValueError, KeyError, TypeError):
        return ""


def _before_deletion(pod: Json, finished_at: float | None) -> bool:
    """Whether it had ended before somebody asked for its deletion. Times are whole seconds: within the same one it is
    taken for stopped, which at worst does its last steps again."""
    meta = metadata(pod)
    until = read_time(meta.get("deletionTimestamp"))
    if until is None or finished_at is None:
        return False
    return finished_at < until - float(meta.get("deletionGracePeriodSeconds") or 0)


def _told(*words: Any) -> Iterable[str]:
    for word in words:
        if word == "OOMKilled":
            yield "OOMKilled"
        elif word in _REASONS:
            yield _REASONS[word]


# ---------------------------------------------------------------------- why it does not run
def _unscheduled(status: Json) -> str:
    for one in _list(status, "conditions"):
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return str(one.get("message") or one.get("reason") or "")
    return ""


def _trouble(status: Json) -> tuple[str, str]:
    """(reason, words) of a container that cannot start."""
    for one in [*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")]:
        waiting = _state(one, "waiting")
        if waiting.get("reason") in _TROUBLE:
            words = str(waiting.get("message") or "").strip()
            return str(waiting["reason"]), f"{waiting['reason']}: {words}" if words else str(waiting["reason"])
    return "", ""


def _list(body: Json, name: str) -> list[Json]:
    found: list[Json] | None = body.get(name)
    return found or []


def _state(container: Json, name: str) -> Json:
    """``terminated`` or ``waiting`` of a container's status; empty: it is not."""
    state: Json = container.get("state") or {}
    found: Json | None = state.get(name)
    return found or {}


def _time(condition: Json | None, name: str) -> float | None:
    return read_time(str(condition.get(name) or "")) if condition else None
