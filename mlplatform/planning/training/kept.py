"""The ledger as it is kept in a job's status, and back. Nothing of it is anywhere else: an operator that starts anew
goes on from here.

Times are kept to the millisecond and texts are cut; :func:`kept` is a ledger as it will come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Final

from mlplatform.apis.times import read_time, told_time
from mlplatform.apis.trainingstatus import (
    AttemptStatus,
    CheckpointStatus,
    GoodputStatus,
    GroupStatus,
    LedgerStatus,
    ProgressStatus,
    Spent,
    TrainingJobStatus,
)
from mlplatform.planning.training.facts import Attempt, Goodput, Ledger, Report, Stage
from mlplatform.planning.training.spec import Action

#: Stages in which ranks are wanted, and members of the ledger that change there and are only told.
_AT_WORK: Final = (Stage.PLACING, Stage.RUNNING)
_TOLD: Final = (
    "stage",
    "since",
    "seen_at",
    "started_at",
    "waiting_since",
    "tries",
    "reason",
    "message",
    "done",
    "whole",
    "hung",
    "goodput",
)

#: What of a ledger is news, and what of it may not change where it only tells.
_NEWS: Final = attrgetter(*(item.name for item in fields(Ledger) if item.name not in ("seen_at", "goodput")))
_NOT_TOLD: Final = attrgetter(*(item.name for item in fields(Ledger) if item.name not in _TOLD))
_PARTS: Final = tuple(item.name for item in fields(Goodput))

_REASON: Final = 256
_MESSAGE: Final = 2048
_ATTEMPT_MESSAGE: Final = 512
_NODE: Final = 253
_URI: Final = 2048


def kept(ledger: Ledger) -> Ledger:
    """The ledger as it comes back from a status."""
    return replace(
        ledger,
        since=round(ledger.since, 3),
        seen_at=round(ledger.seen_at, 3),
        started_at=_ms(ledger.started_at),
        waiting_since=_ms(ledger.waiting_since),
        not_before=round(ledger.not_before, 3),
        restarts_at=tuple(round(at, 3) for at in ledger.restarts_at),
        attempts=tuple(_kept_attempt(attempt) for attempt in ledger.attempts),
        checkpoint_at=_ms(ledger.checkpoint_at),
        void_before=_ms(ledger.void_before),
        checkpoint_uri=ledger.checkpoint_uri[:_URI],
        goodput=Goodput(*(round(getattr(ledger.goodput, name), 3) for name in _PARTS)),
        finished_at=_ms(ledger.finished_at),
        reason=ledger.reason[:_REASON],
        message=_cut(ledger.message, _MESSAGE),
    )


def same_but_clocks(one: Ledger | None, other: Ledger | None) -> bool:
    """Whether two ledgers say the same, whenever their clocks were read: a second that passes is no news."""
    if one is None or other is None:
        return one is other
    return bool(_NEWS(one) == _NEWS(other))


def only_tells(one: Ledger | None, other: Ledger) -> bool:
    """Whether ``other`` follows from ``one`` without anything that has to be kept before something else may be done:
    a first attempt that began, a gang that works, ranks that are done."""
    if other.stage not in _AT_WORK or (one is not None and one.stage not in _AT_WORK):
        return False
    if one is None:
        return other.attempt == 1
    return bool(_NOT_TOLD(other) == _NOT_TOLD(one))


def _kept_attempt(attempt: Attempt) -> Attempt:
    return replace(
        attempt,
        started_at=round(attempt.started_at, 3),
        ended_at=_ms(attempt.ended_at),
        reason=attempt.reason[:_REASON],
        message=_cut(attempt.message, _ATTEMPT_MESSAGE),
        node=attempt.node[:_NODE],
    )


def _ms(at: float | None) -> float | None:
    return None if at is None else round(at, 3)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


# ---------------------------------------------------------------------- to the status
def ledger_status(ledger: Ledger) -> LedgerStatus:
    """What is nowhere else in the status."""
    return LedgerStatus(
        stage=ledger.stage.value,
        since=told_time(ledger.since),
        seen_at=told_time(ledger.seen_at),
        waiting_since=told_time(ledger.waiting_since),
        not_before=told_time(ledger.not_before) if ledger.not_before else "",
        tries=ledger.tries,
        requeues=ledger.requeues,
        restarts_at=_differences(ledger.restarts_at),
        avoid_nodes=ledger.avoid_nodes,
        hung=ledger.hung,
        given_up=ledger.given_up,
        void_before=told_time(ledger.void_before),
        spent=Spent(**{name: round(1000 * getattr(ledger.goodput, name)) for name in _PARTS}),
    )


def attempt_status(attempt: Attempt) -> AttemptStatus:
    return AttemptStatus(
        number=attempt.number,
        start_time=told_time(attempt.started_at),
        end_time=told_time(attempt.ended_at),
        reason=attempt.reason,
        message=attempt.message,
        group=attempt.group,
        rank=attempt.rank,
        node=attempt.node,
        exit_code=attempt.exit_code,
        action=attempt.action.value if attempt.action else "",
        counted=attempt.counted,
        resumed_from_step=attempt.resumed_from,
    )


def checkpoint_status(ledger: Ledger) -> CheckpointStatus | None:
    if ledger.checkpoint is None:
        return None
    return CheckpointStatus(ledger.checkpoint, told_time(ledger.checkpoint_at), ledger.checkpoint_uri)


def group_ledger(ledger: Ledger, group: str) -> GroupStatus:
    """What the ledger has of one group."""
    return GroupStatus(
        name=group,
        attempt=ledger.attempts_of.get(group, 0),
        begun=group in ledger.begun,
        whole=ledger.whole.get(group),
        done=ranges(rank for name, rank in ledger.done if name == group),
        apart=_apart({rank: own for (name, rank), own in ledger.ranks_of.items() if name == group}),
    )


def goodput_status(spent: Goodput) -> GoodputStatus:
    """Whole seconds that add up: each part is cut, and what that leaves goes to those that were cut most."""
    parts = {name: getattr(spent, name) for name in _PARTS}
    wall = int(round(spent.wall, 3))
    whole = {name: int(value) for name, value in parts.items()}
    by_cut = sorted(parts, key=lambda name: (whole[name] - parts[name], name))
    for name in by_cut[: max(0, wall - sum(whole.values()))]:
        whole[name] += 1
    return GoodputStatus(
        percent=spent.percent, wall_seconds=sum(whole.values()), **{f"{name}_seconds": n for name, n in whole.items()}
    )


# ---------------------------------------------------------------------- and back
def ledger_of(status: TrainingJobStatus) -> Ledger | None:
    """The ledger that a status holds; None: nothing was decided yet."""
    own = status.ledger
    if own is None or not own.stage:
        return None
    groups = status.groups
    checkpoint = status.checkpoint
    return Ledger(
        stage=Stage(own.stage),
        since=read_time(own.since) or 0.0,
        seen_at=read_time(own.seen_at) or 0.0,
        attempt=status.attempt,
        attempts_of={group.name: group.attempt for group in groups if group.attempt},
        ranks_of={(group.name, rank): attempt for group in groups for rank, attempt in _read_apart(group.apart)},
        done=frozenset((group.name, rank) for group in groups for rank in read_ranges(group.done)),
        begun=frozenset(group.name for group in groups if group.begun),
        whole={group.name: group.whole for group in groups if group.whole is not None},
        started_at=read_time(status.start_time),
        waiting_since=read_time(own.waiting_since),
        not_before=read_time(own.not_before) or 0.0,
        tries=own.tries,
        requeues=own.requeues,
        restarts_at=_read_differences(own.restarts_at),
        counted=status.restarts_counted,
        uncounted=status.restarts_uncounted,
        attempts=tuple(_attempt(attempt) for attempt in status.attempts),
        avoid_nodes=own.avoid_nodes,
        checkpoint=checkpoint.step if checkpoint else None,
        checkpoint_at=read_time(checkpoint.time) if checkpoint else None,
        checkpoint_uri=checkpoint.uri if checkpoint else "",
        hung=own.hung,
        given_up=own.given_up,
        void_before=read_time(own.void_before),
        goodput=Goodput(*(getattr(own.spent, name) / 1000 for name in _PARTS)),
        finished_at=read_time(status.completion_time),
        reason=status.reason,
        message=status.message,
    )


def report_of(progress: ProgressStatus | None) -> Report:
    """What the ranks said last."""
    if progress is None:
        return Report()
    stuck = (progress.slowest_group, progress.slowest_rank) if progress.slowest_rank is not None else None
    return Report(
        step=progress.step,
        at=read_time(progress.last_report_time),
        checkpoint=progress.checkpoint_step,
        checkpoint_at=read_time(progress.checkpoint_time),
        checkpoint_uri=progress.checkpoint_uri,
        stuck=stuck if stuck and stuck[0] else None,
    )


def _attempt(status: AttemptStatus) -> Attempt:
    return Attempt(
        number=status.number,
        started_at=read_time(status.start_time) or 0.0,
        ended_at=read_time(status.end_time),
        reason=status.reason,
        message=status.message,
        group=status.group,
        rank=status.rank,
        node=status.node,
        exit_code=status.exit_code,
        action=Action(status.action) if status.action else None,
        resumed_from=status.resumed_from_step,
    )


# ---------------------------------------------------------------------- lists in little room
def ranges(numbers: Iterable[int]) -> str:
    """``{0, 1, 2, 3, 7}`` as ``0-3,7``."""
    return ",".join(_span(first, last) for first, last in _runs(sorted(set(numbers))))


def read_ranges(text: str) -> list[int]:
    """``0-3,7`` as ``[0, 1, 2, 3, 7]``."""
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _runs(numbers: list[int]) -> Iterable[tuple[int, int]]:
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _apart(attempts: Mapping[int, int]) -> str:
    """``{2: 4, 3: 4, 9: 5}`` as ``2-3:4,9:5``."""
    parts: list[str] = []
    for attempt in sorted(set(attempts.values())):
        of_it = sorted(rank for rank, own in attempts.items() if own == attempt)
        parts += [f"{_span(first, last)}:{attempt}" for first, last in _runs(of_it)]
    return ",".join(parts)


def _read_apart(text: str) -> Iterable[tuple[int, int]]:
    for part in text.split(",") if text else ():
        span, _, attempt = part.partition(":")
        for rank in read_ranges(span):
            yield rank, int(attempt)


def _differences(times: tuple[float, ...]) -> str:
    stamps = [round(at * 1000) for at in times]
    return ",".join(str(stamp - before) for stamp, before in zip(stamps, [0, *stamps], strict=False))


def _read_differences(text: str) -> tuple[float, ...]:
    times: list[float] = []
    stamp = 0
    for part in text.split(",") if text else ():
        stamp += int(part)
        times.append(stamp / 1000)
    return tuple(times)
