"""What is due when: no tick lost, none twice, whatever the service was doing meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.core.catalog import RecurringRun, Trigger
from mlplatform.planning.recurring import check, decide, next_ticks, run_id_of, ticks_after

DAY = 86400.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def entry(trigger: Trigger, **more: object) -> RecurringRun:
    made = RecurringRun("r1", "nightly", trigger, created_at=BEGIN, updated_at=BEGIN, ticked_at=BEGIN)
    return replace(made, **more)  # type: ignore[arg-type]


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


# ------------------------------------------------------------------ ticks
@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["2026-01-01T02:30", "2026-01-02T02:30"]),
        ("0 30 2 * * ?", ["2026-01-01T02:30", "2026-01-02T02:30"]),  # KFP's spelling, seconds first
        ("@daily", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("0 9 * * MON", ["2026-01-05T09:00", "2026-01-12T09:00"]),
        ("0 0 L * *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("*/20 * * * * *", ["2026-01-01T00:00:20", "2026-01-01T00:00:40"]),
    ],
)
def test_cron(cron: str, expected: list[str]) -> None:
    assert list(islice(ticks_after(Trigger(cron=cron), BEGIN, BEGIN), 2)) == [at(text) for text in expected]


def test_a_zone_keeps_its_hour_over_the_change_of_clocks() -> None:
    trigger = Trigger(cron="30 8 * * *", timezone="Europe/Berlin")
    found = list(islice(ticks_after(trigger, BEGIN, at("2026-03-28T00:00")), 3))
    assert found == [at(f"2026-03-{day}T08:30", "Europe/Berlin") for day in (28, 29, 30)]
    assert found[1] - found[0] == DAY - 3600


def test_an_hour_that_comes_twice_is_one_tick_and_one_that_never_comes_is_too() -> None:
    trigger = Trigger(cron="30 2 * * *", timezone="Europe/Berlin")
    autumn = list(islice(ticks_after(trigger, BEGIN, at("2026-10-24T12:00")), 3))
    assert [round((b - a) / 3600) for a, b in pairwise(autumn)] in ([25, 24], [24, 25])
    spring = list(islice(ticks_after(trigger, BEGIN, at("2026-03-28T12:00")), 3))
    assert len(set(spring)) == 3
    assert all(b - a > 20 * 3600 for a, b in pairwise(spring))


def test_intervals_count_from_the_start() -> None:
    assert list(islice(ticks_after(Trigger(interval=600), BEGIN, BEGIN), 2)) == [BEGIN + 600, BEGIN + 1200]
    later = Trigger(interval=600, start=BEGIN + 5000, end=BEGIN + 6300)
    assert list(ticks_after(later, BEGIN, BEGIN)) == [BEGIN + 5600, BEGIN + 6200]


def test_a_start_may_be_a_tick_and_an_end_never_is() -> None:
    trigger = Trigger(cron="0 * * * *", start=BEGIN + 3600, end=BEGIN + 3 * 3600)
    assert list(ticks_after(trigger, BEGIN, BEGIN - DAY)) == [BEGIN + 3600, BEGIN + 7200]


# ------------------------------------------------------------------ what is due
def test_missed_ticks_are_made_up_for_in_order() -> None:
    due = decide(entry(Trigger(interval=60), max_concurrency=10), BEGIN + 185, 0)
    assert (due.ticks, due.held) == ((BEGIN + 60, BEGIN + 120, BEGIN + 180), False)
    assert (due.ticked_at, due.next_at) == (BEGIN + 180, BEGIN + 240)


def test_without_catching_up_only_the_last_one_is_made() -> None:
    due = decide(entry(Trigger(interval=60), catchup=False, max_concurrency=10), BEGIN + 185, 0)
    assert (due.ticks, due.ticked_at, due.next_at) == ((BEGIN + 180,), BEGIN + 180, BEGIN + 240)


def test_enough_unfinished_runs_hold_the_next_back() -> None:
    busy = decide(entry(Trigger(interval=60), max_concurrency=2), BEGIN + 185, 1)
    assert (busy.ticks, busy.held) == ((BEGIN + 60,), True)
    full = decide(entry(Trigger(interval=60), max_concurrency=2), BEGIN + 185, 2)
    assert (full.ticks, full.held, full.ticked_at) == ((), True, BEGIN)


def test_one_that_is_off_or_over_has_nothing() -> None:
    assert decide(entry(Trigger(interval=60), enabled=False), BEGIN + DAY, 0).ticks == ()
    over = decide(entry(Trigger(interval=60, end=BEGIN + 90), max_concurrency=9), BEGIN + DAY, 0)
    assert (over.ticks, over.next_at) == ((BEGIN + 60,), None)
    assert next_ticks(entry(Trigger(interval=60), enabled=False), BEGIN, 3) == []
    assert next_ticks(entry(Trigger(interval=60)), BEGIN, 2) == [BEGIN + 60, BEGIN + 120]


def test_a_long_sleep_without_catching_up_is_quick_and_right() -> None:
    asleep = entry(Trigger(cron="*/10 * * * * *"), catchup=False)
    assert decide(asleep, BEGIN + 90 * DAY + 3, 0).ticks == (BEGIN + 90 * DAY,)


crons = st.sampled_from(["*/17 * * * *", "0 3 * * *", "15 2 * * 0", "30 2 28 * *", "0 */3 * * 1-5"])
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
triggers = st.one_of(
    st.builds(lambda cron, zone: Trigger(cron=cron, timezone=zone), crons, zones),
    st.builds(lambda interval: Trigger(interval=interval), st.sampled_from([60.0, 3600.0, 90061.5])),
)


@settings(deadline=None, max_examples=30)
@given(
    trigger=triggers,
    month=st.integers(0, 11),
    looks=st.lists(st.floats(1, 6 * 3600), min_size=1, max_size=8),
    room=st.integers(1, 3),
)
def test_however_often_it_is_asked_each_tick_is_made_once_and_none_is_lost(
    trigger: Trigger, month: int, looks: list[float], room: int
) -> None:
    now = begin = BEGIN + month * 30.4 * DAY
    known = entry(trigger, created_at=begin, ticked_at=begin, max_concurrency=room)
    made: list[float] = []
    for pause in looks:
        now += pause
        while True:
            due = decide(known, now, 0)
            made += due.ticks
            known = replace(known, ticked_at=due.ticked_at)
            if not due.held:
                break
    expected = [tick for tick in islice(ticks_after(trigger, begin, begin), 10_000) if tick <= now]
    assert made == expected
    assert len({run_id_of("r1", tick) for tick in made}) == len(made)


@settings(deadline=None, max_examples=30)
@given(trigger=triggers, month=st.integers(0, 11), looks=st.lists(st.floats(1, 2 * DAY), min_size=1, max_size=4))
def test_without_catching_up_it_is_always_the_latest_tick(trigger: Trigger, month: int, looks: list[float]) -> None:
    now = begin = BEGIN + month * 30.4 * DAY
    known = entry(trigger, created_at=begin, ticked_at=begin, catchup=False)
    for pause in looks:
        before, now = now, now + pause
        due = decide(known, now, 0)
        passed = [tick for tick in islice(ticks_after(trigger, begin, before), 20_000) if tick <= now]
        assert due.ticks == tuple(passed[-1:])
        known = replace(known, ticked_at=due.ticked_at)


# ------------------------------------------------------------------ ids and checks
def test_a_tick_has_one_run_id() -> None:
    assert run_id_of("r1", BEGIN) == run_id_of("r1", BEGIN)
    assert run_id_of("r1", BEGIN) != run_id_of("r2", BEGIN)
    assert run_id_of("r1", BEGIN) < run_id_of("r1", BEGIN + 60)
    assert len(run_id_of("r1", BEGIN)) == 18


@pytest.mark.parametrize(
    ("trigger", "codes"),
    [
        (Trigger(cron="0 3 * * *"), []),
        (Trigger(), ["bad-trigger"]),
        (Trigger(cron="0 3 * * *", interval=60), ["bad-trigger"]),
        (Trigger(cron="61 * * * *"), ["bad-cron"]),
        (Trigger(cron="0 0 31 2 *"), ["bad-cron"]),
        (Trigger(cron="", interval=0.1), ["bad-interval"]),
        (Trigger(cron="* * * * *", timezone="Mars/Olympus"), ["bad-timezone"]),
        (Trigger(cron="* * * * *", timezone="../../etc/passwd"), ["bad-timezone"]),
        (Trigger(cron="x", timezone="y", start=9.0, end=3.0), ["bad-timezone", "bad-cron", "bad-time"]),
        (Trigger(interval=60, start=1e30), ["bad-time"]),
    ],
)
def test_everything_wrong_is_told(trigger: Trigger, codes: list[str]) -> None:
    assert [finding.code for finding in check(trigger)] == codes
