"""What a queue (Kueue) says of a job, read from its Workload. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = Mapping[str, Any]

ADMITTED: Final = "Admitted"
EVICTED: Final = "Evicted"
FINISHED: Final = "Finished"
PODS_READY: Final = "PodsReady"
QUOTA_RESERVED: Final = "QuotaReserved"
REQUEUED: Final = "Requeued"
#: Evicted for these, it stands in line again at once; for others Kueue says when.
_AT_ONCE: Final = ("Preempted", "NodeFailures")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the ranks of a group were admitted to, and how many of them. ``each``: by rank, the labels of its node."""

    count: int
    node_selector: Mapping[str, str] = field(default_factory=dict[str, str])
    tolerations: tuple[Json, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    each: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``words``: why it is not admitted. ``evicted``: one word and more, where it was and is to go."""

    admitted: bool
    words: str = ""
    evicted: tuple[str, str] = ("Preempted", "the queue took the quota back")
    places: Mapping[str, Places] = field(default_factory=dict[str, Places])


def condition(workload: Json, kind: str) -> Json | None:
    """A condition of a Workload; None: it was never set."""
    status: Json = workload.get("status") or {}
    return next((one for one in _list(status, "conditions") if one.get("type") == kind), None)


def _part(body: Json, name: str) -> Json:
    found: Json | None = body.get(name)
    return found or {}


def _list(body: Json, name: str) -> list[Json]:
    found: list[Json] | None = body.get(name)
    return found or []


def is_so(workload: Json, kind: str) -> bool:
    found = condition(workload, kind)
    return found is not None and found.get("status") == "True"


def read_verdict(workload: Json, flavors: Mapping[str, Json], queue: str) -> Verdict:
    """What a Workload says. ``flavors``: the ResourceFlavors that it was given, as far as they are known."""
    if is_so(workload, EVICTED):
        told = condition(workload, EVICTED) or {}
        reason, words = str(told.get("reason") or "Preempted"), str(told.get("message") or "")
        waits = "" if is_so(workload, QUOTA_RESERVED) else _waits(workload, queue)
        return Verdict(False, waits or words, (reason, words))
    if not is_so(workload, ADMITTED):
        return Verdict(False, _waits(workload, queue))
    return Verdict(True, places=dict(_places(workload, flavors)))


def _waits(workload: Json, queue: str) -> str:
    spec: Json = workload.get("spec") or {}
    if spec.get("active") is False:
        told = condition(workload, EVICTED) or {}
        why = str(told.get("message") or "its Workload was made inactive").rstrip(".")
        return f"queue {queue} gave it up: {why}. Suspend the job and resume it to have it tried again."
    reserved, admitted = condition(workload, QUOTA_RESERVED), condition(workload, ADMITTED)
    if reserved is None:
        return f"queue {queue} has not looked at it yet"
    told = admitted if reserved.get("status") == "True" else reserved
    words = str((told or {}).get("message") or (told or {}).get("reason") or "")
    return f"waits in queue {queue}: {words}" if words else f"waits in queue {queue}"


def _places(workload: Json, flavors: Mapping[str, Json]) -> Iterator[tuple[str, Places]]:
    status: Json = workload.get("status") or {}
    sets = {str(one.get("name")): int(one.get("count") or 0) for one in _list(_part(workload, "spec"), "podSets")}
    for one in _list(_part(status, "admission"), "podSetAssignments"):
        name = str(one.get("name"))
        selector: dict[str, str] = {}
        tolerations: list[Json] = []
        labels: dict[str, str] = {}
        annotations: dict[str, str] = {}
        for flavor in sorted({str(given) for given in _part(one, "flavors").values()}):
            given = _part(flavors.get(flavor, {}), "spec")
            selector |= _part(given, "nodeLabels")
            tolerations += _list(given, "tolerations")
        for check in _list(status, "admissionChecks"):
            for update in _list(check, "podSetUpdates"):
                if update.get("name") == name:
                    selector |= _part(update, "nodeSelector")
                    tolerations += _list(update, "tolerations")
                    labels |= _part(update, "labels")
                    annotations |= _part(update, "annotations")
        count = int(one.get("count", sets.get(name, 0)))
        each = tuple(_each(_part(one, "topologyAssignment")))
        yield name, Places(count, selector, tuple(tolerations), labels, annotations, each)


def _each(assignment: Json) -> Iterator[Mapping[str, str]]:
    """The labels of each rank's node, in the order of the domains."""
    levels: list[str] = assignment.get("levels") or []
    for part in _list(assignment, "slices"):
        for domain in range(int(part.get("domainCount") or 0)):
            values = [_value(one, domain) for one in _list(part, "valuesPerLevel")]
            counts = _part(part, "podCounts")
            of_all: list[int] = counts.get("individual") or []
            for _ in range(of_all[domain] if of_all else int(counts.get("universal") or 0)):
                yield dict(zip(levels, values, strict=True))


def _value(level: Json, domain: int) -> str:
    if level.get("universal") is not None:
        return str(level["universal"])
    own = _part(level, "individual")
    return f"{own.get('prefix', '')}{own['roots'][domain]}{own.get('suffix', '')}"


# ---------------------------------------------------------------------- what is told to it
def returned(workload: Json, now: str) -> dict[str, Any]:
    """The status in which an evicted Workload gives its quota back, now that its ranks are gone."""
    told = condition(workload, EVICTED) or {}
    reason, words = str(told.get("reason") or "Preempted"), str(told.get("message") or "")
    new = [
        _condition(workload, REQUEUED, reason in _AT_ONCE, reason, words, now),
        _condition(workload, QUOTA_RESERVED, False, "Pending", words, now),
        _condition(workload, ADMITTED, False, "NoReservation", "The workload has no reservation", now),
        _condition(workload, PODS_READY, False, "WaitForStart", _NOT_READY, now),
    ]
    return {"admission": None, "conditions": _with(workload, new)}


def ended(workload: Json, good: bool, words: str, now: str) -> dict[str, Any]:
    """The status of a Workload whose job has ended."""
    reason = "Succeeded" if good else "Failed"
    return {"conditions": _with(workload, [_condition(workload, FINISHED, True, reason, words, now)])}


_NOT_READY: Final = "Not all pods are ready or succeeded"


def readiness(workload: Json, ready: bool, now: str) -> dict[str, Any] | None:
    """The status that says whether all ranks work; None: it says so already."""
    before = condition(workload, PODS_READY)
    if ready:
        again = before is not None and before.get("reason") in ("WaitForRecovery", "Recovered")
        reason, words = ("Recovered" if again else "Started"), "All pods reached readiness and the workload is running"
    elif before is not None and (before.get("status") == "True" or before.get("reason") == "WaitForRecovery"):
        reason, words = "WaitForRecovery", "At least one pod has failed, waiting for recovery"
    else:
        reason, words = "WaitForStart", _NOT_READY
    new = _condition(workload, PODS_READY, ready, reason, words, now)
    if before is not None and (before.get("status"), before.get("reason")) == (new["status"], new["reason"]):
        return None
    return {"conditions": _with(workload, [new])}


def _condition(workload: Json, kind: str, so: bool, reason: str, words: str, now: str) -> dict[str, Any]:
    before = condition(workload, kind) or {}
    status = "True" if so else "False"
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    generation = int(_part(workload, "metadata").get("generation") or 1)
    told = {"type": kind, "status": status, "reason": reason, "message": words[:1024]}
    return {**told, "lastTransitionTime": since or now, "observedGeneration": generation}


def _with(workload: Json, new: list[dict[str, Any]]) -> list[Json]:
    """All conditions: a list is written whole."""
    status: Json = workload.get("status") or {}
    names = {one["type"] for one in new}
    return [*(one for one in _list(status, "conditions") if one.get("type") not in names), *new]
