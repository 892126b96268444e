"""What a pod says of its rank."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform.apis.times import told_time
from mlplatform.controllers.trainingjob.pods import OVERDUE, PULLING, NodeSeen, RankPod, read_pod
from mlplatform.planning.training.facts import RankKey, RankState

NOW = 1_700_000_000.0
Object = dict[str, Any]


def pod(node: str = "n", deleted_at: float | None = None, grace: int = 30, **status: Any) -> Object:
    labels = {
        "training.mlplatform.dev/group": "worker",
        "training.mlplatform.dev/rank": "1",
        "training.mlplatform.dev/attempt": "2",
    }
    meta: Object = {"name": "job-worker-a2-1", "namespace": "default", "uid": "u", "labels": labels}
    meta["finalizers"] = ["training.mlplatform.dev/rank-result"]
    if deleted_at is not None:
        meta |= {"deletionTimestamp": told_time(deleted_at + grace), "deletionGracePeriodSeconds": grace}
    spec: Object = {"containers": [{"name": "main"}, {"name": "sidecar"}]} | ({"nodeName": node} if node else {})
    return {"metadata": meta, "spec": spec, "status": {"phase": "Pending", **status}}


def read(body: Object, node: NodeSeen | None = NodeSeen(), now: float = NOW) -> RankPod:  # noqa: B008 - it is frozen
    found = read_pod(body, {"n": node}, now)
    assert found is not None
    return found


def ended(code: int, at: float = NOW, reason: str = "Error", **status: Any) -> Object:
    state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": told_time(at)}}
    status.setdefault("phase", "Failed" if code else "Succeeded")
    return status | {"containerStatuses": [{"name": "main", "state": state}]}


def test_one_that_is_no_ranks() -> None:
    body = pod()
    del body["metadata"]["labels"]["training.mlplatform.dev/rank"]
    assert read_pod(body, {}, NOW) is None


def test_waiting_for_a_place() -> None:
    told = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    fact = read(pod("", conditions=[told])).fact
    assert (fact.key, fact.state, fact.message) == (
        RankKey("worker", 1, 2),
        RankState.PENDING,
        "0/3 nodes are available",
    )


def test_running_and_ready() -> None:
    since = {"type": "PodScheduled", "status": "True", "lastTransitionTime": told_time(NOW - 60)}
    body = pod(phase="Running", conditions=[since, {"type": "Ready", "status": "True"}])
    fact = read(body).fact
    assert (fact.state, fact.ready, fact.node, fact.placed_at) == (RankState.RUNNING, True, "n", NOW - 60)
    assert not read(pod(phase="Running", conditions=[since])).fact.ready


@pytest.mark.parametrize(
    ("status", "code", "reasons"),
    [
        (ended(3), 3, set[str]()),
        (ended(137, reason="OOMKilled"), 137, {"OOMKilled"}),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, None, {"Evicted"}),
        ({"phase": "Failed", "reason": "NodeLost"}, None, {"NodeLost"}),
        ({"phase": "Failed"}, None, {"Evicted"}),
        (ended(0, phase="Failed", reason="x") | {"reason": "DeadlineExceeded"}, 0, {"DeadlineExceeded"}),
    ],
)
def test_how_it_failed(status: Object, code: int | None, reasons: set[str]) -> None:
    fact = read(pod(**status)).fact
    assert (fact.state, fact.exit_code, set(fact.reasons)) == (RankState.FAILED, code, reasons)


UNSAVED = "mlplatform.training.checkpoints.CheckpointError: the checkpoint of step 9 could not be saved in /c: full"
LAST_WORD = json.dumps(
    {"mlplatform": 1, "state": "FAILED", "error": {"message": "OSError: gone"}}, separators=(",", ":")
)


@pytest.mark.parametrize(
    ("code", "reason", "said", "told", "reasons"),
    [
        (1, "Error", "step 1\nTraceback ...\nValueError: bad\n", (1, "ValueError: bad"), set[str]()),
        (1, "Error", "nothing that says why", (1, ""), set[str]()),
        (1, "Error", UNSAVED, (1, UNSAVED), {"CheckpointFailed"}),
        (1, "Error", LAST_WORD, (1, "OSError: gone"), set[str]()),
        (128, "StartError", "exec: no such file", (127, "StartError: exec: no such file"), set[str]()),
        (0, "Completed", "ValueError: of no account", (0, ""), set[str]()),
    ],
)
def test_what_it_said_last(code: int, reason: str, said: str, told: tuple[int, str], reasons: set[str]) -> None:
    body = pod(**ended(code, reason=reason))
    body["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = said
    fact = read(body).fact
    assert ((fact.exit_code, fact.message), set(fact.reasons)) == (told, reasons)


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("PreemptionByScheduler", "Preempted"),
        ("EvictionByEvictionAPI", "Evicted"),
        ("DeletionByTaintManager", "Evicted"),
        ("DeletionByPodGC", "NodeLost"),
        ("TerminationByKubelet", "Evicted"),
    ],
)
def test_a_disruption(why: str, reason: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": why, "message": "told"}
    fact = read(pod(**ended(143), conditions=[condition])).fact
    assert (fact.state, set(fact.conditions), set(fact.reasons)) == (RankState.FAILED, {"DisruptionTarget"}, {reason})
    assert fact.message == "told"


def test_the_rank_is_done_although_a_sidecar_goes_on() -> None:
    assert read(pod(**ended(0, phase="Running"))).fact.state is RankState.SUCCEEDED


def test_an_init_container_that_failed() -> None:
    state = {"terminated": {"exitCode": 9, "finishedAt": told_time(NOW)}}
    fact = read(pod(phase="Failed", initContainerStatuses=[{"name": "init", "state": state}])).fact
    assert (fact.state, fact.exit_code) == (RankState.FAILED, 9)


@pytest.mark.parametrize(
    ("ended_at", "state"),
    [(NOW - 20, RankState.SUCCEEDED), (NOW - 10, RankState.FAILED), (NOW - 5, RankState.FAILED)],
)
def test_stopping_in_good_order_is_no_success(ended_at: float, state: RankState) -> None:
    fact = read(pod(deleted_at=NOW - 10, **ended(0, at=ended_at))).fact
    assert fact.state is state
    assert ("Deleted" in fact.reasons) is (state is RankState.FAILED)


def test_saved_and_stopped_keeps_its_exit_code() -> None:
    fact = read(pod(deleted_at=NOW - 10, **ended(75))).fact
    assert (fact.state, fact.exit_code, set(fact.reasons)) == (RankState.FAILED, 75, {"Deleted"})


def test_what_never_ran_is_a_ghost_when_it_is_deleted() -> None:
    found = read(pod("", deleted_at=NOW, grace=0))
    assert (found.ghost, found.fact.state, found.held) == (True, RankState.STOPPING, True)
    assert not read(pod(deleted_at=NOW)).ghost


@pytest.mark.parametrize("node", [None, NodeSeen(ready=False, fenced=True)])
def test_a_node_that_is_gone_or_off(node: NodeSeen | None) -> None:
    found = read(pod(phase="Running"), node)
    assert (found.lost, found.fact.state, set(found.fact.reasons)) == (True, RankState.FAILED, {"NodeLost"})


def test_a_node_that_is_only_silent_is_waited_for() -> None:
    silent = NodeSeen(ready=False)
    assert read(pod(phase="Running"), silent).fact.state is RankState.RUNNING
    in_time = read(pod(deleted_at=NOW, phase="Running"), silent, NOW + 30 + OVERDUE - 1)
    assert not in_time.waiting_for_node
    late = read(pod(deleted_at=NOW, phase="Running"), silent, NOW + 30 + OVERDUE)
    assert (late.waiting_for_node, late.lost, late.fact.state) == (True, False, RankState.STOPPING)
    assert "node n is silent" in late.fact.message


@pytest.mark.parametrize(
    ("reason", "after", "state"),
    [
        ("ImagePullBackOff", 0, RankState.STARTING),
        ("ErrImagePull", PULLING - 1, RankState.STARTING),
        ("ImagePullBackOff", PULLING, RankState.FAILED),
        ("InvalidImageName", 0, RankState.FAILED),
        ("CreateContainerConfigError", PULLING, RankState.STARTING),
    ],
)
def test_what_cannot_start(reason: str, after: float, state: RankState) -> None:
    status = {"name": "main", "state": {"waiting": {"reason": reason, "message": "no such thing"}}}
    fact = read(pod(startTime=told_time(NOW), containerStatuses=[status]), now=NOW + after).fact
    assert (fact.state, fact.message) == (state, f"{reason}: no such thing")
    assert ("ImagePull" in fact.reasons) is (state is RankState.FAILED)
