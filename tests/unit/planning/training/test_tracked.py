"""A training job as the run that MLflow is told of."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.core.states import RunState
from mlplatform.planning.training.tracked import tracked_run

META = {"name": "job", "uid": "u-1", "creationTimestamp": "2027-01-15T08:00:00Z"}


def body(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": META, "spec": {"framework": "torch", **(spec or {})}, "status": status}


def test_it_is_one_run_over_all_attempts() -> None:
    first, second = (tracked_run(body(phase=phase, attempt=n)) for phase, n in (("Running", 1), ("Restarting", 2)))
    assert first is not None
    assert first == second
    assert (first.run_id, first.name, first.experiment, first.state) == (
        "training-u-1",
        "job",
        "Default",
        RunState.RUNNING,
    )
    assert first.tags == {"mlplatform.training_job": "job", "mlplatform.framework": "torch"}


@pytest.mark.parametrize("phase", ["Suspended", "Suspending", "Queued", "Starting"])
def test_what_only_rests_has_not_ended(phase: str) -> None:
    run = tracked_run(body(phase=phase, attempt=3))
    assert run is not None
    assert (run.state, run.finished_at) == (RunState.RUNNING, None)


def test_its_end_is_told_with_what_it_took() -> None:
    status = {"attempt": 2, "restartsCounted": 1, "goodput": {"percent": 80}, "checkpoint": {"step": 99}}
    run = tracked_run(body({"tracking": {"experimentName": "digits"}}, phase="Complete",
                           completionTime="2027-01-15T08:01:00Z", **status))  # fmt: skip
    assert run is not None
    assert (run.state, run.experiment, run.finished_at) == (RunState.SUCCEEDED, "digits", 1_800_000_060.0)
    ends = {
        name: run.tags[f"mlplatform.{name}"] for name in ("attempts", "restarts", "goodput_percent", "checkpoint_step")
    }
    assert ends == {"attempts": "2", "restarts": "1", "goodput_percent": "80", "checkpoint_step": "99"}
    failed = tracked_run(body(phase="Failed", attempt=1, reason="RestartsExhausted", message="rank 0 ..."))
    assert failed is not None
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (RunState.FAILED, "RestartsExhausted")


@pytest.mark.parametrize("tracking", [{"runId": "abc"}, {"mlflowTrackingUri": "http://mine"}])
def test_what_its_author_tracks_elsewhere_is_left_alone(tracking: dict[str, str]) -> None:
    assert tracked_run(body({"tracking": tracking}, phase="Running", attempt=1)) is None


def test_before_a_rank_is_asked_for_there_is_nothing_to_track() -> None:
    assert tracked_run(body(phase="Suspended")) is None
