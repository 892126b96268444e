"""Reports of progress: replaced, not merged; nonsense changes nothing. Behaviours 15 and 16."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.apis.trainingstatus import Metric, ProgressStatus
from mlplatform.core.errors import InvalidInput
from mlplatform.planning.training.progress import accepted

NOW = 1_700_000_000.0
AT = "2023-11-14T22:13:20.000Z"


def test_a_report() -> None:
    report = {
        "progressPercentage": 40,
        "step": 400,
        "totalSteps": 1000,
        "estimatedRemainingSeconds": 60,
        "group": "worker",
        "rank": 3,
        "checkpointStep": 300,
        "checkpointUri": "s3://b/300",
        "metrics": [{"name": "loss", "value": "0.25"}, {"name": "accuracy", "value": 0.5}],
    }
    assert accepted(None, report, NOW) == ProgressStatus(
        percent=40,
        step=400,
        total_steps=1000,
        eta_seconds=60,
        last_report_time=AT,
        slowest_group="worker",
        slowest_rank=3,
        checkpoint_step=300,
        checkpoint_time=AT,
        checkpoint_uri="s3://b/300",
        metrics=(Metric("loss", "0.25"), Metric("accuracy", "0.5")),
    )


def test_15_what_is_left_out_is_removed_and_an_empty_report_keeps_all() -> None:
    before = ProgressStatus(percent=40, step=4, checkpoint_step=3, checkpoint_time=AT, checkpoint_uri="u")
    after = accepted(before, {"step": 5}, NOW)
    assert after == ProgressStatus(
        step=5, last_report_time=AT, checkpoint_step=3, checkpoint_time=AT, checkpoint_uri="u"
    )
    assert accepted(before, {}, NOW) is before


@pytest.mark.parametrize(
    ("report", "paths"),
    [
        ({"progressPercentage": 101}, ["progressPercentage"]),
        ({"progressPercentage": -1, "step": "7"}, ["progressPercentage", "step"]),
        ({"step": True}, ["step"]),
        ({"step": 5.5}, ["step"]),
        ({"step": 11, "totalSteps": 10}, ["step"]),
        ({"step": 5, "checkpointStep": 6}, ["checkpointStep"]),
        ({"rank": 5000}, ["rank"]),
        ({"group": "x" * 13}, ["group"]),
        ({"metrics": {}}, ["metrics"]),
        ({"metrics": [{"name": "a", "value": "1"}] * 65}, ["metrics"]),
        ({"metrics": [{"name": "a"}, 3, {"name": "", "value": "1"}]}, ["metrics[0]", "metrics[1]", "metrics[2]"]),
        ({"metrics": [{"name": "a", "value": "x" * 65}]}, ["metrics[0]"]),
        ([], [""]),
        (None, [""]),
    ],
)
def test_16_nonsense_is_refused_whole(report: Any, paths: list[str]) -> None:
    with pytest.raises(InvalidInput) as raised:
        accepted(ProgressStatus(step=1), report, NOW)
    assert [finding.path for finding in raised.value.findings] == paths


def test_an_older_checkpoint_is_not_taken_for_a_newer_one() -> None:
    before = ProgressStatus(checkpoint_step=30, checkpoint_time=AT, checkpoint_uri="new")
    after = accepted(before, {"step": 20, "checkpointStep": 10, "checkpointUri": "old"}, NOW + 60)
    assert after is not None
    assert (after.checkpoint_step, after.checkpoint_time, after.checkpoint_uri) == (30, AT, "new")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["progressPercentage", "step", "totalSteps", "rank", "group", "metrics", "checkpointStep", "checkpointUri"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_anything_at_all_is_taken_or_refused(report: dict[str, Any]) -> None:
    taken = None
    with contextlib.suppress(InvalidInput):
        taken = accepted(None, report, NOW)
    assert taken is None or taken.percent is None or 0 <= taken.percent <= 100
