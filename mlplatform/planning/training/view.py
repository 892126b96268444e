"""A training job as people look at it: from the object as it is kept, in a cluster or on one machine, and its ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.apis.names import LABEL_GROUP, LABEL_JOB_ATTEMPT, LABEL_RANK
from mlplatform.apis.times import read_time
from mlplatform.core.values import child
from mlplatform.planning.training.kept import read_ranges
from mlplatform.planning.training.status import PINNED

Json = dict[str, Any]

_GOODPUT: Final = ("productive", "unsaved", "queued", "startup", "lost", "restart")
#: A rank that was asked for and is not there (yet).
ABSENT: Final = "Absent"


@dataclass(frozen=True, slots=True)
class RankView:
    """One rank of one attempt. ``state``: a word of ``RankState``, or ABSENT. ``place``: what runs it (a pod's name, a
    process). Times are seconds since the epoch."""

    group: str
    rank: int
    attempt: int
    state: str = ABSENT
    place: str = ""
    node: str = ""
    message: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None


# ---------------------------------------------------------------------- ranks from pods
def rank_of_pod(pod: Mapping[str, Any]) -> RankView | None:
    """What a pod tells of its rank; None: it is no rank's."""
    meta, status = child(pod, "metadata"), child(pod, "status")
    labels = child(meta, "labels")
    group, rank, attempt = (str(labels.get(name, "")) for name in (LABEL_GROUP, LABEL_RANK, LABEL_JOB_ATTEMPT))
    if not group or not rank.isdecimal() or not attempt.isdecimal():
        return None
    ended = _container(status, "terminated")
    return RankView(
        group,
        int(rank),
        int(attempt),
        _state(meta, status, ended),
        str(meta.get("name") or ""),
        str(child(pod, "spec").get("nodeName") or ""),
        _message(status, ended),
        ended.get("exitCode"),
        read_time(str(_container(status, "running").get("startedAt") or ended.get("startedAt") or "")),
        read_time(str(ended.get("finishedAt") or "")),
    )


def _state(meta: Mapping[str, Any], status: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    phase = status.get("phase")
    if phase == "Succeeded":
        return "Succeeded"
    if phase == "Failed" or (ended and ended.get("exitCode")):
        return "Failed"
    if meta.get("deletionTimestamp"):
        return "Stopping"
    if phase == "Running":
        return "Running"
    return "Starting" if _true(status, "PodScheduled") else "Pending"


def _true(status: Mapping[str, Any], kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in _list(status, "conditions"))


def _list(body: Mapping[str, Any], name: str) -> list[Json]:
    found: list[Json] | None = body.get(name)
    return found or []


def _container(status: Mapping[str, Any], state: str) -> Json:
    """``running``, ``waiting`` or ``terminated`` of the first container."""
    for one in _list(status, "containerStatuses")[:1]:
        states: Json = one.get("state") or {}
        found: Json | None = states.get(state)
        return found or {}
    return {}


def _message(status: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """Why it does not run, or how it ended."""
    for one in _list(status, "conditions"):
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return str(one.get("message") or one.get("reason") or "")
    waiting = _container(status, "waiting")
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return f"{waiting['reason']}: {waiting.get('message') or ''}".rstrip(": ")
    if ended and ended.get("reason") not in ("Completed", "Error", None):
        return str(ended["reason"])
    return str(status.get("message") or "")


def all_ranks(body: Mapping[str, Any], found: Iterable[RankView]) -> list[RankView]:
    """Every rank that is asked for, as it is now; those that are not there are told from the status."""
    newest: dict[tuple[str, int], RankView] = {}
    for one in found:
        known = newest.get((one.group, one.rank))
        if known is None or one.attempt > known.attempt:
            newest[one.group, one.rank] = one
    status = {group["name"]: group for group in _list(child(body, "status"), "groups")}
    rows: list[RankView] = []
    for group in _list(child(body, "spec"), "groups"):
        name, told = str(group["name"]), status.get(group["name"], {})
        done = read_ranges(str(told.get("done") or ""))
        attempt = int(told.get("attempt") or 0)
        for rank in range(int(group.get("replicas", 1))):
            absent = RankView(name, rank, attempt, "Succeeded" if rank in done else ABSENT)
            rows.append(newest.get((name, rank), absent))
    return rows


# ---------------------------------------------------------------------- the job
def job_summary(body: Mapping[str, Any], now: float) -> Json:
    """A job in one line, as of ``now``: a job that only runs has none of its clocks written."""
    meta, spec, status = child(body, "metadata"), child(body, "spec"), child(body, "status")
    progress, spent = child(status, "progress"), goodput(status, now)
    groups = _list(spec, "groups")
    counts = {
        name: sum(int(group.get(name) or 0) for group in _list(status, "groups"))
        for name in ("active", "ready", "succeeded", "failed")
    }
    return {
        "name": str(meta.get("name") or ""),
        "namespace": str(meta.get("namespace") or ""),
        "uid": str(meta.get("uid") or ""),
        "framework": str(spec.get("framework") or ""),
        "phase": str(status.get("phase") or "Created"),
        "reason": str(status.get("reason") or ""),
        "message": why(status),
        "suspend": bool(spec.get("suspend")),
        "created_at": read_time(str(meta.get("creationTimestamp") or "")),
        "started_at": read_time(str(status.get("startTime") or "")),
        "finished_at": read_time(str(status.get("completionTime") or "")),
        "attempt": int(status.get("attempt") or 0),
        "restarts": int(status.get("restartsCounted") or 0) + int(status.get("restartsUncounted") or 0),
        "restarts_counted": int(status.get("restartsCounted") or 0),
        "max_restarts": int(child(spec, "failurePolicy").get("maxRestarts", 3)),
        "ranks": {"desired": sum(int(group.get("replicas", 1)) for group in groups), **counts},
        "accelerators": sum(int(group.get("replicas", 1)) * _accelerators(group) for group in groups),
        "percent": progress.get("percent"),
        "step": progress.get("step"),
        "total_steps": progress.get("totalSteps"),
        "eta_seconds": progress.get("etaSeconds"),
        "reported_at": read_time(str(progress.get("lastReportTime") or "")),
        "checkpoint_step": child(status, "checkpoint").get("step"),
        "goodput_percent": spent["percent"] if spent and spent["wall_seconds"] else None,
        "queue": str(child(spec, "queue").get("name") or ""),
    }


def _accelerators(group: Mapping[str, Any]) -> int:
    asked = group.get("accelerator")
    return int(asked.get("count", 1)) if asked else 0


def why(status: Mapping[str, Any]) -> str:
    """What it waits for, or how it ended; empty while all is well."""
    if status.get("phase") in (None, "Queued", "Starting", "Restarting"):
        for kind in ("QuotaReserved", "Placed", "Running"):
            for one in _list(status, "conditions"):
                if one.get("type") == kind and one.get("status") == "False" and one.get("message"):
                    held = _held_back(status) if kind == "Placed" else ""
                    return f"{one['message']}. {held}" if held else str(one["message"])
    return str(status.get("message") or "")


def _held_back(status: Mapping[str, Any]) -> str:
    """Which claims keep ranks where they cannot be, and what may be done."""
    told = (one for one in _list(status, "conditions") if (one.get("type"), one.get("status")) == (PINNED, "True"))
    return next((str(one.get("message") or "") for one in told), "")


def job_detail(body: Mapping[str, Any], ranks: Iterable[RankView], now: float) -> Json:
    """Everything about a job, as of ``now``."""
    spec, status = child(body, "spec"), child(body, "status")
    progress, checkpoint, tracking = child(status, "progress"), child(status, "checkpoint"), child(status, "tracking")
    told = {group["name"]: group for group in _list(status, "groups")}
    return {
        **job_summary(body, now),
        "groups": [_group(group, told.get(group["name"], {})) for group in _list(spec, "groups")],
        "rank_rows": [_row(one) for one in all_ranks(body, ranks)],
        "attempts": [_attempt(one) for one in reversed(_list(status, "attempts"))],
        "conditions": [
            {
                "type": str(one.get("type") or ""),
                "status": str(one.get("status") or ""),
                "reason": str(one.get("reason") or ""),
                "message": str(one.get("message") or ""),
                "at": read_time(str(one.get("lastTransitionTime") or "")),
            }
            for one in _list(status, "conditions")
        ],
        "goodput": goodput(status, now),
        "metrics": {str(one["name"]): str(one["value"]) for one in _list(progress, "metrics")},
        "slowest": _slowest(progress),
        "lag_steps": progress.get("lagSteps"),
        "checkpoint_at": read_time(str(checkpoint.get("time") or "")),
        "checkpoint_uri": str(checkpoint.get("uri") or ""),
        "checkpoint_scope": str(child(spec, "checkpoint").get("scope") or ("Job" if spec.get("checkpoint") else "")),
        "mlflow_run_id": str(tracking.get("runId") or ""),
        "mlflow_experiment_id": str(tracking.get("experimentId") or ""),
    }


def _slowest(progress: Mapping[str, Any]) -> str:
    rank = progress.get("slowestRank")
    return "" if rank is None else f"{progress.get('slowestGroup') or ''}-{rank}"


def _group(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Json:
    counts = {name: int(told.get(name) or 0) for name in ("active", "ready", "succeeded", "failed", "attempt")}
    elastic = asked.get("elastic")
    return {
        "name": str(asked["name"]),
        "role": str(asked.get("role") or "worker"),
        "desired": int(asked.get("replicas", 1)),
        "least": int(elastic["min"]) if elastic else None,
        "most": int(elastic["max"]) if elastic else None,
        "accelerators": _accelerators(asked),
        **counts,
    }


def _row(one: RankView) -> Json:
    return {
        "group": one.group,
        "rank": one.rank,
        "attempt": one.attempt,
        "state": one.state,
        "place": one.place,
        "node": one.node,
        "message": one.message,
        "exit_code": one.exit_code,
        "started_at": one.started_at,
        "finished_at": one.finished_at,
    }


def _attempt(one: Mapping[str, Any]) -> Json:
    return {
        "number": int(one.get("number") or 0),
        "started_at": read_time(str(one.get("startTime") or "")),
        "ended_at": read_time(str(one.get("endTime") or "")),
        "reason": str(one.get("reason") or ""),
        "message": str(one.get("message") or ""),
        "group": str(one.get("group") or ""),
        "rank": one.get("rank"),
        "node": str(one.get("node") or ""),
        "exit_code": one.get("exitCode"),
        "action": str(one.get("action") or ""),
        "counted": bool(one.get("counted")),
        "resumed_from_step": one.get("resumedFromStep"),
    }


#: What the seconds since the last word belong to, by stage.
_RUNS_ON: Final = {
    "Queued": "queued",
    "Releasing": "queued",
    "Placing": "startup",
    "Running": "unsaved",
    "Restarting": "restart",
    "Suspending": "restart",
}


def goodput(status: Mapping[str, Any], now: float) -> Json | None:
    """Where the seconds went, up to ``now``. None: nothing was decided yet."""
    told, own = child(status, "goodput"), child(status, "ledger")
    if not told and not own:
        return None
    parts = {name: int(told.get(f"{name}Seconds") or 0) for name in _GOODPUT}
    seen, running = read_time(str(own.get("seenAt") or "")), _RUNS_ON.get(str(own.get("stage") or ""))
    if seen is not None and running is not None:
        parts[running] += max(0, int(now - seen))
    wall = sum(parts.values())
    percent = 100 * (parts["productive"] + parts["unsaved"]) // wall if wall else 0
    if running is None:
        percent = int(told.get("percent", percent))  # of whole milliseconds
    return {"percent": percent, "wall_seconds": wall, **{f"{name}_seconds": value for name, value in parts.items()}}
