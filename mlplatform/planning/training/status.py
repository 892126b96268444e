"""The status of a training job: one pure builder for pods and processes alike. What a user reads (phase, conditions,
counts) follows from the ledger and the facts; the ledger itself is kept beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Final

from mlplatform.apis.conditions import Condition, condition, with_conditions
from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import GroupStatus, LedgerStatus, TrainingJobStatus
from mlplatform.planning.training.facts import Ledger, RankState, Stage, View
from mlplatform.planning.training.kept import (
    attempt_status,
    checkpoint_status,
    goodput_status,
    group_ledger,
    kept,
    ledger_status,
)
from mlplatform.planning.training.look import Look
from mlplatform.planning.training.spec import Group, TrainingSpec
from mlplatform.planning.training.words import why_not_ready, why_pinned, why_unplaced

QUOTA_RESERVED: Final = "QuotaReserved"
PLACED: Final = "Placed"
RUNNING: Final = "Running"
SUSPENDED: Final = "Suspended"
RESTARTING: Final = "Restarting"
HUNG: Final = "Hung"
PINNED: Final = "PinnedToNode"
COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
#: The reason of one that was deleted before its end.
DELETED: Final = "Deleted"

_ONE_NODE: Final = (
    "all ranks have to be on one node: they share a claim without ReadWriteMany. Ask for that access mode, "
    "or for a claim of each rank's own with checkpoint.scope: Rank"
)
_PHASES: Final = {
    Stage.SUSPENDED: "Suspended",
    Stage.SUSPENDING: "Suspending",
    Stage.QUEUED: "Queued",
    Stage.RELEASING: "Queued",
    Stage.PLACING: "Starting",
    Stage.RUNNING: "Running",
    Stage.RESTARTING: "Restarting",
    Stage.COMPLETE: "Complete",
    Stage.FAILED: "Failed",
}
PHASES: Final = frozenset(_PHASES.values())
#: Those of jobs that have ended.
ENDED: Final = frozenset(phase for stage, phase in _PHASES.items() if stage.finished)


def status_of(
    spec: TrainingSpec,
    view: View,
    ledger: Ledger,
    now: float,
    *,
    before: TrainingJobStatus | None = None,
    generation: int = 0,
    quota: str = "",
    desired: Mapping[str, int] | None = None,
) -> TrainingJobStatus:
    """The status of a job.

    Args:
        spec, view, ledger: what :func:`~mlplatform.planning.training.gang.decide` saw, and what it decided.
        now: seconds since the epoch.
        before: the status that is there; what ranks reported (progress) and tracking are taken over from it, and
            where nothing but clocks would change it comes back as it is.
        generation: of the spec.
        quota: why there is no quota yet, in words.
        desired: by group, how many ranks the job would have, where quota was given for fewer.
    """
    before = before or TrainingJobStatus()
    ledger = kept(ledger)
    look = Look(spec, view, ledger, now)
    status = TrainingJobStatus(
        observed_generation=generation,
        phase=phase(look),
        reason=ledger.reason,
        message=ledger.message,
        attempt=ledger.attempt,
        restarts_counted=ledger.counted,
        restarts_uncounted=ledger.uncounted,
        start_time=told_time(ledger.started_at),
        completion_time=told_time(ledger.finished_at),
        conditions=_conditions(look, before, now, generation, quota),
        groups=tuple(_group(look, group, before, desired or {}) for group in spec.groups),
        progress=before.progress,
        checkpoint=checkpoint_status(ledger),
        goodput=goodput_status(ledger.goodput),
        attempts=tuple(attempt_status(attempt) for attempt in ledger.attempts),
        tracking=before.tracking,
        result=before.result,
        ledger=ledger_status(ledger),
    )
    return before if _same_but_clocks(status, before) else status


_NEWS: Final = attrgetter(*(one.name for one in fields(TrainingJobStatus) if one.name not in ("goodput", "ledger")))
_OWN_NEWS: Final = attrgetter(*(one.name for one in fields(LedgerStatus) if one.name not in ("seen_at", "spent")))


def _same_but_clocks(one: TrainingJobStatus, other: TrainingJobStatus) -> bool:
    if one.ledger is None or other.ledger is None:
        return one.ledger is other.ledger and bool(_NEWS(one) == _NEWS(other))
    return bool(_OWN_NEWS(one.ledger) == _OWN_NEWS(other.ledger) and _NEWS(one) == _NEWS(other))


def phase(look: Look) -> str:
    """One word for the stage. A gang that lacks a rank just now is not Running."""
    stage = look.ledger.stage
    if stage is Stage.RUNNING and not look.running:
        return _PHASES[Stage.RESTARTING]
    return _PHASES[stage]


# ---------------------------------------------------------------------- groups
def _group(look: Look, group: Group, before: TrainingJobStatus, desired: Mapping[str, int]) -> GroupStatus:
    ledger = look.ledger
    held = group_ledger(ledger, group.name)
    facts = [fact for rank in range(group.replicas) if (fact := look.fact(group, rank)) is not None]
    done = sum(1 for name, rank in ledger.done if name == group.name and rank < group.replicas)
    failed = sum(1 for fact in facts if fact.state is RankState.FAILED)
    if ledger.stage.finished:
        # Ranks that are taken away now end badly too, for no fault of theirs; those that did before may be gone.
        was = next((old for old in before.groups if old.name == group.name), None)
        ended = before.ledger is not None and Stage(before.ledger.stage or Stage.QUEUED).finished
        failed = was.failed if was is not None and ended else failed
    return replace(
        held,
        desired=desired.get(group.name, group.replicas),
        admitted=group.replicas if _has_quota(look) else 0,
        active=sum(1 for fact in facts if fact.alive and fact.placed),
        ready=sum(1 for fact in facts if fact.state is RankState.RUNNING and fact.ready),
        succeeded=done,
        failed=failed,
    )


def _has_quota(look: Look) -> bool:
    stage = look.ledger.stage
    return look.view.admitted and stage not in (Stage.SUSPENDED, Stage.SUSPENDING) and not stage.finished


# ---------------------------------------------------------------------- conditions
def _conditions(
    look: Look, before: TrainingJobStatus, now: float, generation: int, quota: str
) -> tuple[Condition, ...]:
    old = before.conditions
    new = [
        _quota(look, quota),
        _placed(look),
        _running(look),
        _suspended(look, condition(old, SUSPENDED)),
        *_passing(RESTARTING, look.ledger.stage is Stage.RESTARTING, look, condition(old, RESTARTING)),
        *_passing(HUNG, _hangs(look), look, condition(old, HUNG)),
        *_pinned(look, condition(old, PINNED)),
        *_ends(look),
    ]
    return with_conditions(old, new, now, generation)


def _quota(look: Look, quota: str) -> Condition:
    if _has_quota(look):
        return Condition(QUOTA_RESERVED, "True", "Reserved", "")
    stage = look.ledger.stage
    if stage.finished or not look.view.admitted:
        reason = "Finished" if stage.finished else "WaitingForQuota"
        message = "" if stage.finished else quota or "the queue has not admitted it yet"
        return Condition(QUOTA_RESERVED, "False", reason, message)
    return Condition(QUOTA_RESERVED, "False", stage.value, "")


def _placed(look: Look) -> Condition:
    stage = look.ledger.stage
    if stage not in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        # What a gang that was taken back lacked is worth reading until it is tried again.
        told = look.ledger.message if stage in (Stage.QUEUED, Stage.RELEASING) else ""
        return Condition(PLACED, "False", look.ledger.reason or stage.value, told)
    if stage is not Stage.RESTARTING and all(look.placed(group) for group in look.begun):
        return Condition(PLACED, "True", "Placed", "")
    reason, words = "CreationRefused" if look.view.refused else "WaitingForPlaces", why_unplaced(look)
    if look.view.one_node and "affinity" in words:
        reason, words = "StorageInvalid", f"{words} ({_ONE_NODE})"
    return Condition(PLACED, "False", reason, words)


def _running(look: Look) -> Condition:
    if look.ledger.stage is Stage.RUNNING and look.running:
        return Condition(RUNNING, "True", "AllRanksWork", "")
    return Condition(RUNNING, "False", phase(look), why_not_ready(look))


def _suspended(look: Look, old: Condition | None) -> Condition:
    stage = look.ledger.stage
    if stage is Stage.SUSPENDED:
        return Condition(SUSPENDED, "True", "Suspended", "its ranks have saved and are gone")
    if stage is Stage.SUSPENDING:
        return Condition(SUSPENDED, "False", "Suspending", "its ranks are saving")
    if old is None:
        return Condition(SUSPENDED, "False", "NotSuspended", "")
    resumed = old.status == "True" or old.reason in ("Resumed", "Suspending")
    return Condition(SUSPENDED, "False", "Resumed" if resumed else "NotSuspended", "")


def _passing(kind: str, is_so: bool, look: Look, old: Condition | None) -> Iterator[Condition]:
    """A condition that is not mentioned before it was true once."""
    if is_so:
        yield Condition(kind, "True", look.ledger.reason or kind, look.ledger.message)
    elif old is not None:
        yield Condition(kind, "False", "Past", "")


def _pinned(look: Look, old: Condition | None) -> Iterator[Condition]:
    """Not mentioned before a rank's claim held it back."""
    words = "" if look.ledger.stage.finished else why_pinned(look)
    if words:
        yield Condition(PINNED, "True", "ClaimOfOneNode", words)
    elif old is not None:
        yield Condition(PINNED, "False", "Past", "")


def _hangs(look: Look) -> bool:
    stage = look.ledger.stage
    return look.ledger.hung or (look.ledger.reason == "Hung" and stage in (Stage.RESTARTING, Stage.FAILED))


def _ends(look: Look) -> Iterator[Condition]:
    kinds = {Stage.COMPLETE: COMPLETE, Stage.FAILED: FAILED}
    if (kind := kinds.get(look.ledger.stage)) is not None:
        yield Condition(kind, "True", look.ledger.reason or kind, look.ledger.message)
