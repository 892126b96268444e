"""A job and its ranks, and a cluster, as people look at them."""

from __future__ import annotations

from typing import Any

from mlplatform.planning.training.places import nodes_view, quotas_view, waiting_view
from mlplatform.planning.training.view import (
    ABSENT,
    RankView,
    all_ranks,
    goodput,
    job_detail,
    job_summary,
    rank_of_pod,
    why,
)

Json = dict[str, Any]
LABELS = {
    "training.mlplatform.dev/job": "bert",
    "training.mlplatform.dev/group": "worker",
    "training.mlplatform.dev/rank": "1",
    "training.mlplatform.dev/attempt": "2",
}


def pod(phase: str = "Running", node: str = "n1", **more: Any) -> Json:
    status: Json = {"phase": phase, **more.pop("status", {})}
    gpus = {"limits": {"nvidia.com/gpu": "2"}, "requests": {"cpu": "500m"}}
    return {
        "metadata": {"name": "bert-worker-a2-1", "namespace": "team", "labels": LABELS, **more},
        "spec": {"nodeName": node, "containers": [{"resources": gpus}, {"resources": {"requests": {"cpu": "2"}}}]},
        "status": status,
    }


def state(container: Json) -> Json:
    return {"containerStatuses": [{"name": "main", "state": container}]}


def test_what_a_pod_says_of_its_rank() -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:10Z"}}
    assert rank_of_pod(pod("Failed", status=state(ended))) == RankView(
        "worker", 1, 2, "Failed", "bert-worker-a2-1", "n1", "OOMKilled", 137, None, 1767225610.0
    )
    unplaced = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]}
    waiting = rank_of_pod(pod("Pending", "", status=unplaced))
    assert waiting is not None
    assert (waiting.state, waiting.message) == ("Pending", "0/3 nodes are available")
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    placed = {"conditions": [{"type": "PodScheduled", "status": "True"}], **state(pulling)}
    starting = rank_of_pod(pod("Pending", status=placed))
    assert starting is not None
    assert (starting.state, starting.message) == ("Starting", "ImagePullBackOff: no such image")
    going = rank_of_pod(pod(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert going is not None
    assert going.state == "Stopping"
    assert rank_of_pod({"metadata": {"name": "other"}}) is None


def job(**status: Any) -> Json:
    groups = [
        {"name": "worker", "replicas": 3, "accelerator": {"count": 2}, "elastic": {"min": 1, "max": 4}},
        {"name": "eval", "role": "evaluator"},
    ]
    return {
        "metadata": {"name": "bert", "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"framework": "torch", "groups": groups, "failurePolicy": {"maxRestarts": 5}},
        "status": status,
    }


def test_every_rank_has_a_row_the_newest_attempt_counts() -> None:
    body = job(groups=[{"name": "worker", "attempt": 2, "done": "0"}])
    seen = [
        RankView("worker", 1, 1, "Failed"),
        RankView("worker", 1, 2, "Running"),
        RankView("worker", 9, 2, "Running"),
    ]
    rows = [(one.group, one.rank, one.attempt, one.state) for one in all_ranks(body, seen)]
    assert rows == [
        ("worker", 0, 2, "Succeeded"),
        ("worker", 1, 2, "Running"),
        ("worker", 2, 2, ABSENT),
        ("eval", 0, 0, ABSENT),
    ]


def test_a_job_in_a_line_says_what_it_waits_for() -> None:
    placed = {"type": "Placed", "status": "False", "message": "no place for worker-2: 0/3 nodes are available"}
    one = job_summary(job(phase="Starting", conditions=[placed], restartsCounted=1, restartsUncounted=2), 0.0)
    assert one["message"] == "no place for worker-2: 0/3 nodes are available"
    assert (one["ranks"]["desired"], one["accelerators"], one["restarts"], one["max_restarts"]) == (4, 6, 3, 5)
    assert job_summary(job(phase="Running", conditions=[placed]), 0.0)["message"] == ""
    assert job_summary(job(), 0.0)["phase"] == "Created"


def test_seconds_since_the_last_word_are_added_to_what_goes_on() -> None:
    status = {
        "goodput": {"productiveSeconds": 60, "lostSeconds": 20, "unsavedSeconds": 5},
        "ledger": {"stage": "Running", "seenAt": "2026-01-01T00:01:00.000Z"},
    }
    found = goodput(status, 1767225660.0 + 15)
    assert found is not None
    assert (found["unsaved_seconds"], found["wall_seconds"], found["percent"]) == (20, 100, 80)
    status["ledger"] = {"stage": "Complete", "seenAt": "2026-01-01T00:01:00.000Z"}
    ended = goodput(status, 1767225660.0 + 15)
    assert ended is not None
    assert (ended["wall_seconds"], ended["percent"]) == (85, 76)
    status["goodput"]["percent"] = 77
    ended = goodput(status, 1767225660.0 + 15)
    assert ended is not None
    assert ended["percent"] == 77, "as the status has it, which counts milliseconds"
    assert goodput({}, 0.0) is None


def test_a_jobs_details() -> None:
    attempt = {"number": 1, "reason": "OOMKilled", "group": "worker", "rank": 1, "exitCode": 137, "counted": True}
    body = job(
        phase="Running",
        attempts=[attempt, {"number": 2, "resumedFromStep": 300}],
        progress={"step": 4, "slowestGroup": "worker", "slowestRank": 2, "metrics": [{"name": "loss", "value": "0.5"}]},
    )
    found = job_detail(body, [], 0.0)
    assert [one["number"] for one in found["attempts"]] == [2, 1]
    assert (found["slowest"], found["metrics"]) == ("worker-2", {"loss": "0.5"})
    assert [(one["name"], one["role"], one["least"], one["most"]) for one in found["groups"]] == [
        ("worker", "worker", 1, 4),
        ("eval", "evaluator", None, None),
    ]


def test_nodes_with_what_they_have_and_who_has_it() -> None:
    labels = {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "81920"}
    allocatable = {"cpu": "8", "memory": "1Ki", "nvidia.com/gpu": "4", "pods": "110", "example.com/disk": "3"}
    ready = [{"type": "Ready", "status": "True"}]
    nodes = [
        {"metadata": {"name": "n1", "labels": labels}, "status": {"allocatable": allocatable, "conditions": ready}},
        {"metadata": {"name": "n0"}, "spec": {"unschedulable": True}},
    ]
    others = pod()
    others["metadata"] = {"name": "secret", "namespace": "other"}
    over = pod("Succeeded")
    n0, n1 = nodes_view(nodes, [pod(), others, over], "team")
    assert (n0["ready"], n0["schedulable"], n0["accelerators"]) == (False, False, [])
    assert (n1["product"], n1["accelerator_memory_mib"], n1["cpu_used"], n1["pods"]) == ("A100", 81920, 5.0, 2)
    (found,) = n1["accelerators"]
    assert (found["resource"], found["total"], found["used"]) == ("nvidia.com/gpu", 4, 4)
    assert found["by"] == [
        {"pod": "", "training_job": "", "count": 2},
        {"pod": "bert-worker-a2-1", "training_job": "bert", "count": 2},
    ]


def test_who_waits_and_what_the_quota_is() -> None:
    unplaced = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}]}
    rows = waiting_view([pod("Pending", "", status=unplaced), pod("Pending"), pod()])
    assert [(row["training_job"], row["accelerators"], row["why"]) for row in rows] == [
        ("bert", 2, "Insufficient nvidia.com/gpu")
    ]
    quota = {"metadata": {"name": "team"}, "status": {"hard": {"pods": "4"}, "used": {"pods": "1"}}}
    assert quotas_view([quota]) == [{"quota": "team", "resource": "pods", "hard": "4", "used": "1"}]


def test_what_keeps_a_rank_from_its_place_is_told_with_what_may_be_done() -> None:
    placed = {"type": "Placed", "status": "False", "message": "no place for worker-1"}
    pinned = {"type": "PinnedToNode", "status": "True", "message": "Allow that its claim goes"}
    status = {"phase": "Starting", "conditions": [placed, pinned]}
    assert why(status) == "no place for worker-1. Allow that its claim goes"
    assert why({**status, "conditions": [placed, {**pinned, "status": "False"}]}) == "no place for worker-1"
