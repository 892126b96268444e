"""The ledger in a status comes back as it was, and takes little room."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.apis.codec import decode, encode
from mlplatform.apis.trainingstatus import GoodputStatus, ProgressStatus, TrainingJobStatus
from mlplatform.planning.training.facts import Attempt, Goodput, Ledger, Report, Stage, View
from mlplatform.planning.training.gang import decide
from mlplatform.planning.training.kept import (
    goodput_status,
    kept,
    ledger_of,
    ranges,
    read_ranges,
    report_of,
    same_but_clocks,
)
from mlplatform.planning.training.spec import Action, FailurePolicy, Framework, Group, Scope, TrainingSpec
from mlplatform.planning.training.status import status_of
from tests.unit.planning.training.world import World, at_random

GROUPS = (Group("data"), Group("worker", replicas=3, elastic=(1, 4)))


def through(spec: TrainingSpec, ledger: Ledger, now: float) -> Ledger | None:
    """Into a status, as JSON, and back."""
    status = status_of(spec, View(ledger), ledger, now)
    return ledger_of(decode(TrainingJobStatus, json.loads(json.dumps(encode(status)))))


@given(st.integers(0, 2**32), st.sampled_from(Scope))
def test_whatever_happened_the_ledger_comes_back(seed: int, scope: Scope) -> None:
    chance = random.Random(seed)
    policy = FailurePolicy(max_restarts=50, restart_scope=scope, backoff=0.3, window=1000)
    spec = TrainingSpec("job", Framework.TORCH, GROUPS, failure=policy)
    world = World(spec, now=1_700_000_000.0)
    for _ in range(8):
        at_random(world, chance, 10)
        world.now = round(world.now + chance.random(), 3)
        ledger = decide(world.spec, world.view(), world.now, chance.random()).ledger
        assert ledger is not None
        back = through(world.spec, ledger, world.now)
        assert back == kept(ledger)
        assert kept(kept(ledger)) == kept(ledger)


@given(st.integers(0, 2**32))
def test_a_job_whose_ledger_goes_through_its_status_ends_as_one_whose_does_not(seed: int) -> None:
    chance = random.Random(seed)
    world = World(TrainingSpec("job", Framework.TORCH, GROUPS), now=1_700_000_000.0)
    at_random(world, chance, 30)
    assert world.kept is not None
    one = decide(world.spec, world.view(), world.now)
    view = replace(world.view(), ledger=through(world.spec, world.kept, world.now))
    other = decide(world.spec, view, world.now)
    assert other.steps == one.steps
    assert one.ledger is not None
    assert other.ledger is not None
    assert kept(other.ledger) == kept(one.ledger)


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([0, 1, 2, 3, 7], "0-3,7"), ([1, 3, 5], "1,3,5"), ([8, 9], "8-9")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
    assert read_ranges(text) == numbers


@given(st.sets(st.integers(0, 4999)))
def test_ranges_come_back(numbers: set[int]) -> None:
    assert read_ranges(ranges(numbers)) == sorted(numbers)


@given(st.builds(Goodput, *[st.floats(0, 1e7)] * len(fields(Goodput))))
def test_seconds_of_goodput_add_up_and_are_right_to_a_second(spent: Goodput) -> None:
    status = goodput_status(spent)
    parts = {item.name: getattr(status, f"{item.name}_seconds") for item in fields(Goodput)}
    assert sum(parts.values()) == status.wall_seconds
    assert abs(status.wall_seconds - spent.wall) < 1.001
    for name, seconds in parts.items():
        assert abs(seconds - getattr(spent, name)) <= 1.001


def test_a_goodput_that_has_halves() -> None:
    status = goodput_status(Goodput(productive=10.5, queued=1.25, lost=0.25, restart=3.0))
    assert status == GoodputStatus(
        percent=70, wall_seconds=15, productive_seconds=11, queued_seconds=1, lost_seconds=0, restart_seconds=3
    )


def test_the_worst_ledger_of_five_thousand_ranks_fits() -> None:
    """Every other rank done, every rank in an attempt of its own, twenty long attempts, a thousand restarts."""
    spec = TrainingSpec("job", Framework.PYTHON, (Group("worker", replicas=5000),))
    attempt = Attempt(
        12345, 1.7e9, 1.7e9, "R" * 9999, "m" * 9999, "worker", 4999, "n" * 999, 137, Action.RESTART_AVOID_NODE, 10**12
    )
    ledger = Ledger(
        Stage.RUNNING,
        1.7e9,
        1.7e9,
        attempt=46655,
        attempts_of={"worker": 46655},
        ranks_of={("worker", rank): 40000 + rank for rank in range(5000)},
        done=frozenset(("worker", rank) for rank in range(0, 5000, 2)),
        restarts_at=tuple(1.7e9 + 300.123 * number for number in range(1000)),
        attempts=(attempt,) * 20,
        avoid_nodes=("n" * 253,) * 16,
        message="m" * 99999,
    )
    size = len(json.dumps(encode(status_of(spec, View(ledger), ledger, 1.7e9))))
    assert size < 120_000
    plain = replace(ledger, ranks_of={}, done=frozenset(("worker", rank) for rank in range(4999)), restarts_at=())
    assert len(json.dumps(encode(status_of(spec, View(plain), plain, 1.7e9)))) < 40_000
    assert through(spec, ledger, 1.7e9) == kept(ledger)


def test_a_second_that_passes_is_no_news() -> None:
    ledger = Ledger(Stage.RUNNING, 1.0, 1.0)
    assert same_but_clocks(ledger, replace(ledger, seen_at=5.0, goodput=Goodput(unsaved=4.0)))
    assert not same_but_clocks(ledger, replace(ledger, hung=True))
    assert not same_but_clocks(None, ledger)
    assert same_but_clocks(None, None)


def test_what_ranks_reported() -> None:
    assert report_of(None) == Report()
    progress = ProgressStatus(
        step=7,
        last_report_time="2026-01-01T00:00:00.500Z",
        slowest_group="worker",
        slowest_rank=3,
        checkpoint_step=5,
        checkpoint_time="2026-01-01T00:00:00.000Z",
        checkpoint_uri="s3://b/5",
    )
    assert report_of(progress) == Report(7, 1767225600.5, 5, 1767225600.0, "s3://b/5", ("worker", 3))


def test_a_new_job_has_no_ledger() -> None:
    assert ledger_of(TrainingJobStatus()) is None
