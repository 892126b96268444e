"""A training job in a notebook's output."""

from __future__ import annotations

from mlplatform.planning.training.view import RankView
from mlplatform.sdk.training.table import SHOWN, job_html

BODY = {
    "metadata": {"name": "bert"},
    "spec": {"groups": [{"name": "worker", "replicas": 2}]},
    "status": {
        "phase": "Running",
        "progress": {"step": 4, "totalSteps": 9, "metrics": [{"name": "loss", "value": "0.25"}]},
        "attempts": [
            {"number": 1, "reason": "Error", "group": "worker", "rank": 1, "message": "<b>boom"},
            {"number": 2},
        ],
        "restartsCounted": 1,
    },
}


def test_ranks_progress_and_why_attempts_ended() -> None:
    ranks = [
        RankView("worker", 0, 2, "Running", node="n1"),
        RankView("worker", 1, 2, "Failed", message="OOM", exit_code=9),
    ]
    html = job_html(BODY, ranks, 0.0)
    assert "running · step 4 of 9 · loss 0.25 · 1 restart" in html
    for words in ("worker-0", "◐ running", "n1", "✕ failed", ">9<", "OOM", "&lt;b&gt;boom"):
        assert words in html
    assert "<script" not in html
    assert "<b>boom" not in html


def test_of_many_ranks_those_that_do_not_work_come_first() -> None:
    body = {**BODY, "spec": {"groups": [{"name": "worker", "replicas": 500}]}}
    ranks = [RankView("worker", rank, 2, "Failed" if rank == 499 else "Running") for rank in range(500)]
    html = job_html(body, ranks, 0.0)
    assert "worker-499" in html
    assert f"and {500 - SHOWN} more ranks" in html
