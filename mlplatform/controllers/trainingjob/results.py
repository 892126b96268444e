"""What a task of a pipeline whose ranks a job runs came to: the last word of one of its launchers. Pure.

It is kept with the decision that follows from the rank's end, before its pod is let go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from mlplatform.apis.trainingstatus import ResultStatus, TrainingJob
from mlplatform.controllers.trainingjob.pods import RankPod
from mlplatform.planning.training.facts import Ledger, RankState, Stage
from mlplatform.planning.training.shape import working_role


def result_of(job: TrainingJob, ledger: Ledger, ranks: Sequence[RankPod]) -> ResultStatus | None:
    """That of the process with rank 0, once it has ended well in the attempt that the job
    is in; of a job that failed, that of the rank by which it did. What is known already stays, as long as it speaks of
    the same."""
    before = job.status.result
    if ledger.stage is Stage.FAILED:
        last = ledger.attempts[-1] if ledger.attempts else None
        if last is None or last.rank is None:
            return None
        place = (last.group, last.rank)
        if before is not None and (before.group, before.rank) == place:
            return before
        return _newest(ranks, lambda rank: not rank.fact.alive and place == (rank.fact.key.group, rank.fact.key.rank))
    group = speaker(job)
    attempt = ledger.wanted(group, 0)
    if before is not None and (before.group, before.attempt) != (group, attempt):
        before = None
    ended = [
        rank for rank in ranks if rank.fact.state is RankState.SUCCEEDED and rank.message and not _old(rank, ledger)
    ]
    if not ended:
        return before
    found = before or ResultStatus(attempt, group)
    for rank in ended:
        told = _object(rank.message)
        known = [*found.peers, *(str(peer)[:253] for peer in told.get("peers") or ())]
        found = replace(found, peers=tuple(dict.fromkeys(known))[:20])
        if rank.fact.key.group == group and not told.get("aside"):
            found = replace(_of(rank), attempt=attempt, peers=found.peers)
    return found


def _old(rank: RankPod, ledger: Ledger) -> bool:
    key = rank.fact.key
    return key.attempt != ledger.wanted(key.group, key.rank)


def _newest(ranks: Sequence[RankPod], fits: Callable[[RankPod], bool]) -> ResultStatus | None:
    found = [rank for rank in ranks if rank.message and fits(rank)]
    return _of(max(found, key=lambda rank: rank.fact.key.attempt)) if found else None


def _of(rank: RankPod) -> ResultStatus:
    key = rank.fact.key
    return ResultStatus(key.attempt, key.group, key.rank, rank.key.name, rank.image, rank.message)


def _object(text: str) -> dict[str, Any]:
    """A last word as it stands; packed ones hold a result, not what is looked for here."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def speaker(job: TrainingJob) -> str:
    """The group whose rank 0 speaks for the job."""
    role = working_role(job.spec.framework)
    return next((group.name for group in job.spec.groups if group.role == role), "")
