"""What many ranks say is one progress: the slowest counts, lies are refused, a checkpoint stays saved."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.apis.trainingstatus import Metric, ProgressStatus
from mlplatform.core.errors import InvalidInput
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.reports import (
    Allowance,
    Said,
    gathered,
    kept_seconds,
    spent,
    taken,
    with_checkpoint,
)

NOW = 1_700_000_000.0
AT = "2023-11-14T22:13:20.000Z"


def rank(number: int, attempt: int = 1, group: str = "worker") -> RankKey:
    return RankKey(group, number, attempt)


def say(number: int, at: float = NOW, known: Said | None = None, attempt: int = 1, **report: Any) -> Said:
    said = taken(known, None, rank(number, attempt), report, at)
    assert said is not None
    return said


def test_the_slowest_rank_is_the_jobs_step_and_rank_0_speaks_for_the_figures() -> None:
    heard = [
        say(0, step=12, totalSteps=100, metrics=[{"name": "loss", "value": 0.5}]),
        say(1, step=9, totalSteps=100, progressPercentage=9, metrics=[{"name": "loss", "value": 0.7}]),
        say(2, step=11, totalSteps=100),
    ]
    assert gathered(None, heard) == ProgressStatus(
        percent=9,
        step=9,
        total_steps=100,
        last_report_time=AT,
        slowest_group="worker",
        slowest_rank=1,
        attempt=1,
        lag_steps=3,
        metrics=(Metric("loss", "0.5"),),
    )


def test_a_rank_that_repeats_itself_is_no_further() -> None:
    first = say(0, NOW, step=5)
    again = say(0, NOW + 60, first, step=5)
    assert (again.at, again.moved_at) == (NOW + 60, NOW)
    told = gathered(None, [again])
    assert told is not None
    assert told.last_report_time == AT
    saved = say(0, NOW + 70, again, step=5, checkpointStep=5)
    assert saved.moved_at == NOW + 70


def test_steps_do_not_go_back_within_an_attempt_but_with_a_new_one() -> None:
    first = say(0, step=40, checkpointStep=30)
    with pytest.raises(InvalidInput) as refused:
        say(0, known=first, step=39)
    assert [(one.path, "40" in one.message) for one in refused.value.findings] == [("step", True)]
    assert say(0, known=first, step=40).progress.step == 40
    assert say(0, known=first, attempt=2, step=31).progress.step == 31


def test_a_new_process_knows_what_was_kept() -> None:
    kept = gathered(None, [say(1, step=40), say(0, step=41)])
    with pytest.raises(InvalidInput):
        taken(None, kept, rank(1), {"step": 39}, NOW)
    for key in (rank(0), rank(1, attempt=2)):  # of these nothing is known
        assert taken(None, kept, key, {"step": 39}, NOW) is not None


@pytest.mark.parametrize("lie", [{"rank": 1}, {"group": "head"}, {"attempt": 2}, {"rank": 4999}])
def test_nobody_speaks_for_another(lie: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        taken(None, None, rank(0), {"step": 1, **lie}, NOW)
    assert [one.path for one in refused.value.findings] == list(lie)
    assert taken(None, None, rank(0), {"step": 1, "rank": 0, "group": "worker", "attempt": 1}, NOW) is not None


def test_all_findings_come_at_once_and_an_empty_report_says_nothing() -> None:
    with pytest.raises(InvalidInput) as refused:
        taken(None, None, rank(0), {"progressPercentage": 101, "rank": 3}, NOW)
    assert sorted(one.path for one in refused.value.findings) == ["progressPercentage", "rank"]
    assert taken(None, None, rank(0), {}, NOW) is None
    with pytest.raises(InvalidInput):
        taken(None, None, rank(0), [1], NOW)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_figures_are_finite(value: float) -> None:
    with pytest.raises(InvalidInput) as refused:
        taken(None, None, rank(0), {"metrics": [{"name": "loss", "value": value}]}, NOW)
    assert [one.path for one in refused.value.findings] == ["metrics[0]"]


def test_a_checkpoint_stays_and_the_newest_counts() -> None:
    before = ProgressStatus(step=9, checkpoint_step=8, checkpoint_time=AT, checkpoint_uri="u8")
    told = gathered(before, [say(0, step=2), say(1, step=3, checkpointStep=3, checkpointUri="u3")])
    assert told is not None
    assert (told.step, told.checkpoint_step, told.checkpoint_uri) == (2, 8, "u8")
    saving = say(0, step=12, checkpointStep=12, checkpointUri="u12")
    late = with_checkpoint(before, [saving])
    assert late == ProgressStatus(step=9, checkpoint_step=12, checkpoint_time=AT, checkpoint_uri="u12")


def test_one_that_hangs_is_not_hidden_by_others_that_go_on() -> None:
    stuck, going = say(1, NOW, step=3), say(0, NOW + 500, step=90)
    told = gathered(None, [stuck, going])
    assert told is not None
    assert (told.step, told.slowest_rank, told.lag_steps, told.last_report_time) == (3, 1, 87, AT)


def test_who_only_evaluates_is_not_the_slowest() -> None:
    key = RankKey("eval", 0, 1)
    evaluates = taken(None, None, key, {"step": 1, "metrics": [{"name": "accuracy", "value": 1}]}, NOW)
    assert evaluates is not None
    told = gathered(None, [evaluates, say(0, step=90)], frozenset({"eval"}))
    assert told is not None
    assert (told.step, told.slowest_group, told.metrics) == (90, "worker", ())
    alone = gathered(None, [evaluates], frozenset({"eval"}))
    assert alone is not None
    assert alone.slowest_group == "eval"


def test_where_each_rank_saves_for_itself_a_checkpoint_is_what_all_have() -> None:
    first = [say(0, step=6, checkpointStep=6), say(1, step=6, checkpointStep=6, checkpointUri="x")]
    partly = gathered(None, first, each=3)
    assert partly is not None
    assert partly.checkpoint_step is None
    third = say(2, step=6, checkpointStep=6)
    told = gathered(None, [*first, third], each=3)
    assert told is not None
    assert (told.checkpoint_step, told.checkpoint_uri) == (6, "")
    # one is ahead, one saved another step: what all have is still the step before
    ahead = [say(0, NOW, first[0], step=12, checkpointStep=12), say(1, NOW, first[1], step=9, checkpointStep=8)]
    same = gathered(told, [*ahead, third], each=3)
    assert same is not None
    assert same.checkpoint_step == 6
    rest = [say(1, NOW, ahead[1], step=12, checkpointStep=12), say(2, NOW, third, step=14, checkpointStep=12)]
    last = gathered(same, [ahead[0], *rest], each=3)
    assert last is not None
    assert last.checkpoint_step == 12


def test_a_heartbeat_or_a_checkpoint_takes_nothing_back() -> None:
    first = say(0, step=5, totalSteps=9, metrics=[{"name": "loss", "value": 1}])
    assert taken(first, None, rank(0), {"group": "worker", "rank": 0, "attempt": 1}, NOW + 5) is None
    saved = say(0, NOW + 5, first, rank=0, checkpointStep=4, checkpointUri="u")
    assert (saved.progress.step, saved.progress.checkpoint_step, saved.progress.checkpoint_uri) == (5, 4, "u")
    assert saved.progress.metrics == first.progress.metrics


def test_an_allowance_fills_up_again() -> None:
    left: Allowance | None = None
    said: list[bool] = []
    for at in (0.0, 0.0, 0.0, 0.4, 1.0, 100.0):
        left, enough = spent(left, NOW + at, rate=1.0, most=2.0)
        said.append(enough)
    assert said == [True, True, False, False, True, True]
    assert left is not None
    assert left.left == 1.0
    assert (kept_seconds(0), kept_seconds(4), kept_seconds(60)) == (5.0, 1.0, 5.0)
