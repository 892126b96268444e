"""Many ranks report; a job has one progress. What each rank said last is taken by :func:`taken`, and what follows for
the job is gathered by :func:`gathered`: the slowest rank's step, how far it is behind, the newest checkpoint of all.

Whoever takes reports holds a :class:`Said` for each rank, in memory. When that is lost (a new process), the job's
progress as it was kept last stands for it until the ranks are heard again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from mlplatform.apis.times import read_time, told_time
from mlplatform.apis.trainingstatus import Metric, ProgressStatus
from mlplatform.core.errors import Finding, InvalidInput
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.progress import accepted
from mlplatform.planning.training.spec import Role

#: Members of a report that say nothing new by themselves, and those about a checkpoint.
_WHO: Final = frozenset({"group", "rank", "attempt"})
_SAVED: Final = frozenset({"checkpointStep", "checkpointUri"})
#: Groups of these roles train nothing: they prepare, or evaluate.
APART: Final = frozenset({Role.INITIALIZER.value, Role.EVALUATOR.value})


#: Checkpoints of a rank that are remembered: some are told by one rank before another has them.
_REMEMBERED: Final = 32


@dataclass(frozen=True, slots=True)
class Said:
    """What one rank said last. ``moved_at``: when it last had a new step or checkpoint to tell; a rank that says the
    same again and again is no further. ``saved``: the last checkpoints that it told of in this attempt, in order."""

    key: RankKey
    at: float
    moved_at: float
    progress: ProgressStatus
    saved: tuple[int, ...] = ()


def taken(known: Said | None, stored: ProgressStatus | None, key: RankKey, report: Any, now: float) -> Said | None:
    """What the rank ``key`` says with this report; None: an empty one, which changes nothing.

    Args:
        known: what it said before; of an earlier attempt, too.
        stored: the job's progress as it was kept last, by this process or the one before.
        key: who speaks. A report may say so itself, but not otherwise.
        report: decoded JSON of anybody's making.
        now: seconds since the epoch.

    Raises:
        InvalidInput: with a finding for each member that cannot be; nothing of the report is taken then.
    """
    if known is not None and known.key.attempt != key.attempt:
        known = None
    findings = list(_not_its_own(report, key))
    try:
        progress = accepted(known.progress if known else None, report, now)
    except InvalidInput as error:
        raise InvalidInput(error.message, findings=[*error.findings, *findings]) from None
    before = _step_before(known, stored, key)
    if progress is not None and progress.step is not None and before is not None and progress.step < before:
        findings.append(Finding("step", f"goes back: this rank was at step {before} already"))
    if findings:
        raise InvalidInput("this is no report of progress", findings=findings)
    if progress is None or not set(report) - _WHO:
        return None
    if known is not None and not set(report) - _WHO - _SAVED:
        # Nothing but a checkpoint: it takes nothing back of what was said.
        progress = replace(
            known.progress,
            checkpoint_step=progress.checkpoint_step,
            checkpoint_time=progress.checkpoint_time,
            checkpoint_uri=progress.checkpoint_uri,
        )
    progress = replace(progress, slowest_group=key.group, slowest_rank=key.rank, attempt=key.attempt)
    saved, newest = known.saved if known else (), progress.checkpoint_step
    if newest is not None and newest not in saved:
        saved = (*saved, newest)[-_REMEMBERED:]
    if known is not None and progress.step is not None and _place(progress) == _place(known.progress):
        return Said(key, now, known.moved_at, progress, saved)
    return Said(key, now, now, progress, saved)


def _place(progress: ProgressStatus) -> tuple[int | None, int | None]:
    return progress.step, progress.checkpoint_step


def _not_its_own(report: Any, key: RankKey) -> Iterable[Finding]:
    table: Mapping[str, Any] = cast("Mapping[str, Any]", report) if isinstance(report, Mapping) else {}
    for name, own in (("group", key.group), ("rank", key.rank), ("attempt", key.attempt)):
        told = table.get(name)
        if told is not None and (told != own or isinstance(told, bool)):
            yield Finding(name, f"is another one's: this is rank {key.rank} of {key.group} in attempt {key.attempt}")


def _step_before(known: Said | None, stored: ProgressStatus | None, key: RankKey) -> int | None:
    """The step that the rank was seen at last, in this attempt."""
    if known is not None:
        return known.progress.step
    if stored is None or (stored.slowest_group, stored.slowest_rank, stored.attempt) != (
        key.group,
        key.rank,
        key.attempt,
    ):
        return None
    return stored.step


def gathered(
    before: ProgressStatus | None, said: Iterable[Said], apart: frozenset[str] = frozenset(), each: int = 0
) -> ProgressStatus | None:
    """The job's progress. It replaces the one before; a checkpoint that was saved stays saved, whoever saved it.

    Args:
        before: the progress as it was kept last.
        said: of the ranks that are wanted now and not done, each once.
        apart: groups that train nothing (they prepare, or evaluate): heard only where no others are.
        each: see :func:`with_checkpoint`.
    """
    heard = list(said)
    saved = with_checkpoint(before, heard, each)
    heard = [one for one in heard if one.key.group not in apart] or heard
    stepping = [one for one in heard if one.progress.step is not None]
    if not heard:
        return saved
    slowest = min(stepping or heard, key=_slowness)
    lag = None
    if len(stepping) > 1:
        lag = max(one.progress.step or 0 for one in stepping) - (slowest.progress.step or 0)
    saved = saved or ProgressStatus()
    return replace(
        slowest.progress,
        # The slowest one's: one that hangs is not hidden by others that go on.
        last_report_time=told_time(slowest.moved_at),
        lag_steps=lag,
        checkpoint_step=saved.checkpoint_step,
        checkpoint_time=saved.checkpoint_time,
        checkpoint_uri=saved.checkpoint_uri,
        metrics=_metrics(heard),
    )


def with_checkpoint(before: ProgressStatus | None, said: Iterable[Said], each: int = 0) -> ProgressStatus | None:
    """The progress before, but for the newest checkpoint of all: also one that ranks of the last attempt save while
    they stop. ``each``: ranks that save for themselves; a step that all of them have saved is a checkpoint (one that is
    merely older than what each has is none: somebody would go on from elsewhere). 0: one saves for all."""
    saving = sorted((one for one in said if one.saved), key=lambda one: one.saved[-1])
    if not saving or len(saving) < each:
        return before
    newest = saving[-1].progress
    if not each:
        return with_newer(before, newest)
    common = set(saving[0].saved).intersection(*(one.saved for one in saving))
    return with_newer(before, replace(newest, checkpoint_step=max(common), checkpoint_uri="")) if common else before


def with_newer(before: ProgressStatus | None, other: ProgressStatus) -> ProgressStatus | None:
    """The progress before, with the other's checkpoint where that is newer."""
    old = before.checkpoint_step if before else None
    if other.checkpoint_step is None or (old is not None and other.checkpoint_step <= old):
        return before
    return replace(
        before or ProgressStatus(),
        checkpoint_step=other.checkpoint_step,
        checkpoint_time=other.checkpoint_time,
        checkpoint_uri=other.checkpoint_uri,
    )


def without_void(progress: ProgressStatus | None, void: float | None) -> ProgressStatus | None:
    """The progress without a checkpoint that was saved before ``void``, when claims were given up (None: none were)."""
    if progress is None or void is None or progress.checkpoint_step is None:
        return progress
    if (read_time(progress.checkpoint_time) or 0.0) >= void:
        return progress
    return replace(progress, checkpoint_step=None, checkpoint_time="", checkpoint_uri="")


def _slowness(said: Said) -> tuple[int, float, str, int]:
    return said.progress.step or 0, said.moved_at, said.key.group, said.key.rank


def _metrics(heard: list[Said]) -> tuple[Metric, ...]:
    """Those of the first rank that has any: by custom rank 0 speaks for all."""
    telling = [one for one in heard if one.progress.metrics]
    return min(telling, key=lambda one: (one.key.rank, one.key.group)).progress.metrics if telling else ()


# ---------------------------------------------------------------------- how often
@dataclass(frozen=True, slots=True)
class Allowance:
    """What may still be said, and as of when: it fills up at a rate, to a most."""

    left: float
    at: float


def spent(before: Allowance | None, now: float, rate: float, most: float, cost: float = 1.0) -> tuple[Allowance, bool]:
    """(what is left, whether it was enough). What is not allowed costs nothing."""
    before = before or Allowance(most, now)
    left = min(most, before.left + max(0.0, now - before.at) * rate)
    return (Allowance(left - cost, now), True) if left >= cost else (Allowance(left, now), False)


def kept_seconds(progress_timeout: float) -> float:
    """Seconds between two writes of a job's progress: rarely, but often enough for its limit on silence."""
    return min(5.0, progress_timeout / 4) if progress_timeout else 5.0
