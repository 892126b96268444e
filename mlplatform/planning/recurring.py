"""When a recurring run is due. Pure: the time comes in as an argument, and the same question has the same answer.

A *tick* is a moment at which one run should be made. The run of a tick has an id that follows from the recurring run
and the tick, so whoever asks twice (after a crash, from two machines) makes one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from mlplatform.core.catalog import RecurringRun, Trigger
from mlplatform.core.errors import Finding
from mlplatform.core.ids import new_run_id

#: At most so many missed ticks are made up for in one go; the rest follow.
BATCH: Final = 50
#: An interval below this many seconds would only queue runs.
SHORTEST: Final = 1.0
_LATEST: Final = 253_402_300_000.0  # the end of the year 9999
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Due:
    """What to do now. ``ticks``: make a run for each, in this order. ``ticked_at``: what to note in the recurring run
    once those runs are durable. ``next_at``: the first tick after now, None if there is none. ``held``: more is due,
    and waits because enough of its runs are unfinished."""

    ticks: tuple[float, ...]
    ticked_at: float
    next_at: float | None
    held: bool = False


def check(trigger: Trigger) -> list[Finding]:
    """Everything wrong with a trigger; empty if nothing is."""
    found: list[Finding] = []
    if bool(trigger.cron) == bool(trigger.interval):
        found.append(Finding("trigger", "needs either a cron expression or an interval", "bad-trigger"))
    zone = _zone(trigger.timezone)
    if zone is None:
        hint = "use a name of the IANA database, such as UTC or Europe/Berlin"
        found.append(Finding("trigger.timezone", f"{trigger.timezone!r} is no time zone", "bad-timezone", hint))
    if trigger.cron:
        try:
            next(CronSim(_spelled(trigger.cron), datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration, AssertionError) as error:
            hint = "five fields (minute hour day month weekday), or six beginning with seconds"
            message = f"{trigger.cron!r} is no cron expression{f': {error}' if str(error) else ' that ever fits'}"
            found.append(Finding("trigger.cron", message, "bad-cron", hint))
    elif trigger.interval and not SHORTEST <= trigger.interval <= 366 * 86400.0:
        found.append(Finding("trigger.interval", "must be between a second and a year", "bad-interval"))
    for name, value in (("start", trigger.start), ("end", trigger.end)):
        if value is not None and not 0 <= value < _LATEST:
            found.append(Finding(f"trigger.{name}", "is no time that can be told", "bad-time"))
    if trigger.start is not None and trigger.end is not None and trigger.end <= trigger.start:
        found.append(Finding("trigger.end", "is not after its start", "bad-time"))
    return found


def ticks_after(trigger: Trigger, created_at: float, after: float) -> Iterator[float]:
    """All ticks later than ``after``, in order, without end unless the trigger has one."""
    if trigger.start is not None:
        # A tick at the very start counts.
        after = max(after, trigger.start - 1.0 if trigger.cron else trigger.start)
    found = _cron(trigger, after) if trigger.cron else _interval(trigger, created_at, after)
    if trigger.start is not None:
        begin = trigger.start
        found = (tick for tick in found if tick >= begin)
    if trigger.end is not None:
        end = trigger.end
        found = takewhile(lambda tick: tick < end, found)
    return found


def decide(entry: RecurringRun, now: float, active: int) -> Due:
    """What is due at ``now`` while ``active`` runs of it are unfinished."""
    if not entry.enabled:
        return Due((), entry.ticked_at, None)
    room = min(max(0, entry.max_concurrency - active), BATCH)
    if entry.catchup:
        due = takewhile(lambda tick: tick <= now, _after(entry, entry.ticked_at))
        waiting = list(islice(due, room + 1))
    else:
        latest = _latest(entry, now)
        waiting = [] if latest is None else [latest]
    chosen = tuple(waiting[:room])
    ticked_at = chosen[-1] if chosen else entry.ticked_at
    return Due(chosen, ticked_at, next(_after(entry, now), None), held=len(waiting) > len(chosen))


def next_ticks(entry: RecurringRun, now: float, count: int) -> list[float]:
    """The next moments, for people to see. Empty while it is off."""
    return list(islice(_after(entry, max(now, entry.ticked_at)), count)) if entry.enabled else []


def run_id_of(recurring_id: str, tick: float) -> str:
    """The id of a tick's run."""
    text = f"{recurring_id}\0{round(tick * 1000)}"
    return new_run_id(tick, hashlib.sha256(text.encode()).digest()[:6])


def _after(entry: RecurringRun, after: float) -> Iterator[float]:
    return ticks_after(entry.trigger, entry.created_at, after)


def _latest(entry: RecurringRun, now: float) -> float | None:
    """The last tick that is due and has not been dealt with."""
    trigger = entry.trigger
    if trigger.end is not None and trigger.end <= now:
        now = trigger.end - 0.001
    begin = entry.ticked_at
    if trigger.cron:
        # From the last one before now forward again: what clocks do in autumn and spring is then told in one direction.
        back = CronSim(_spelled(trigger.cron), _local(trigger, now + 1.0), reverse=True)
        earlier = list(islice((moment.timestamp() for moment in back), 3))
        begin = max(begin, min(earlier) - 1.0) if earlier else begin
    elif trigger.interval:
        begin = max(begin, now - 2 * trigger.interval)
    latest = None
    for tick in takewhile(lambda tick: tick <= now, _after(entry, begin)):
        latest = tick
    return latest


def _cron(trigger: Trigger, after: float) -> Iterator[float]:
    for moment in CronSim(_spelled(trigger.cron), _local(trigger, after)):
        tick = moment.timestamp()
        if tick > after:
            yield tick


def _interval(trigger: Trigger, created_at: float, after: float) -> Iterator[float]:
    origin = trigger.start if trigger.start is not None else created_at
    count = max(1, int((after - origin) / trigger.interval))
    while True:
        tick = origin + count * trigger.interval
        if tick > after:
            yield tick
        count += 1


def _local(trigger: Trigger, time: float) -> datetime:
    return datetime.fromtimestamp(max(0.0, min(time, _LATEST)), _zone(trigger.timezone) or UTC)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _spelled(expression: str) -> str:
    """As cronsim reads it: KFP's expressions have a question mark for "any", and there are words for the usual ones."""
    text = expression.strip()
    return _WORDS.get(text.lower(), text.replace("?", "*"))
