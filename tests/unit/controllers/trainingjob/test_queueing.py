"""A training job in a queue, on an API server in memory where the test plays Kueue (the real one: tests/kube)."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.controllers.trainingjob.resources import (
    FLAVORS,
    QUEUE_PRIORITIES,
    TOPOLOGIES,
    TRAINING_JOBS,
    WORKLOADS,
)
from mlplatform.kube.objects import Key, Object
from mlplatform.kube.times import timestamp
from tests.support.kube.training import KEY, TrainingCluster, group, job

QUEUE = {"name": "gpus"}


@pytest.fixture
def cluster() -> TrainingCluster:
    made = TrainingCluster(kueue=True)
    spec = {"nodeLabels": {"pool": "a100"}, "tolerations": [{"key": "pool", "operator": "Exists"}]}
    made.client.create(FLAVORS, {"metadata": {"name": "a100"}, "spec": spec})
    return made


def workload(cluster: TrainingCluster) -> Object | None:
    found = cluster.client.list(WORKLOADS, "default").items
    assert len(found) <= 1
    return found[0] if found else None


def tell(cluster: TrainingCluster, status: Object | None = None, **conditions: tuple[bool, str, str]) -> None:
    """What Kueue writes."""
    body = workload(cluster)
    assert body is not None
    at = timestamp(cluster.now)
    before = {one["type"]: one for one in (body.get("status") or {}).get("conditions", ())}
    for kind, (so, reason, words) in conditions.items():
        told = {"status": "True" if so else "False", "reason": reason, "message": words, "lastTransitionTime": at}
        before[kind] = {"type": kind, **told}
    patch = {**(status or {}), "conditions": list(before.values())}
    key = Key("default", body["metadata"]["name"])
    cluster.client.patch(WORKLOADS, key, {"status": patch}, subresource="status")
    cluster.run()


def admit(cluster: TrainingCluster, count: int = 2, **more: Any) -> None:
    sets = [{"name": "worker", "count": count, "flavors": {"nvidia.com/gpu": "a100"}, **more}]
    tell(
        cluster,
        {"admission": {"clusterQueue": "gpus", "podSetAssignments": sets}},
        QuotaReserved=(True, "QuotaReserved", ""),
        Admitted=(True, "Admitted", ""),
        Evicted=(False, "QuotaReserved", ""),
    )


def evict(cluster: TrainingCluster, reason: str = "Preempted") -> None:
    tell(cluster, Evicted=(True, reason, "for another one"))


def said(cluster: TrainingCluster, kind: str) -> tuple[str, str]:
    for one in ((workload(cluster) or {}).get("status") or {}).get("conditions", ()):
        if one["type"] == kind:
            return one["status"], one["reason"]
    return "", ""


def test_it_waits_for_its_queue_and_says_so(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE))
    assert (cluster.phase, cluster.names()) == ("Queued", [])
    assert cluster.says("QuotaReserved") == ("False", "WaitingForQuota", "queue gpus has not looked at it yet")
    tell(cluster, QuotaReserved=(False, "Pending", "insufficient quota"))
    assert cluster.says("QuotaReserved") == ("False", "WaitingForQuota", "waits in queue gpus: insufficient quota")
    body = workload(cluster)
    assert body is not None
    assert (body["spec"]["queueName"], body["spec"]["podSets"][0]["count"]) == ("gpus", 2)
    assert cluster.status["goodput"].get("productiveSeconds", 0) == 0


def test_admitted_its_ranks_have_the_flavor_and_the_job_has_not(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE))
    admit(cluster)
    assert cluster.phase == "Running"
    spec = cluster.pod("job-worker-a1-0")["spec"]
    assert spec["nodeSelector"] == {"pool": "a100"}
    assert {"key": "pool", "operator": "Exists"} in spec["tolerations"]
    assert "nodeSelector" not in cluster.body()["spec"]["groups"][0]["template"]["spec"]
    assert said(cluster, "PodsReady") == ("True", "Started")
    cluster.end_all()
    cluster.run()
    assert (cluster.phase, said(cluster, "Finished")) == ("Complete", ("True", "Succeeded"))
    body = workload(cluster)
    assert body is not None
    assert not body["metadata"].get("finalizers")


def test_evicted_it_gives_its_quota_back_when_the_last_rank_is_gone(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE, failurePolicy={"maxRestarts": 0}))
    admit(cluster)
    cluster.silent.add(f"{cluster.nodes}-1")
    evict(cluster)
    assert (cluster.phase, cluster.names()) == ("Queued", ["job-worker-a1-1"])
    assert said(cluster, "QuotaReserved") == ("True", "QuotaReserved")
    cluster.silent.clear()
    cluster.run()
    assert cluster.names() == []
    assert said(cluster, "QuotaReserved") == ("False", "Pending")
    assert said(cluster, "Admitted") == ("False", "NoReservation")
    assert said(cluster, "Requeued") == ("True", "Preempted")
    body = workload(cluster)
    assert body is not None
    assert "admission" not in body["status"]
    assert cluster.status["attempts"][0]["reason"] == "Preempted"
    admit(cluster)
    assert (cluster.phase, cluster.status["attempt"], cluster.status["restartsUncounted"]) == ("Running", 2, 1)


def test_evicted_for_its_own_fault_it_waits_for_kueues_word(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE))
    admit(cluster)
    evict(cluster, "PodsReadyTimeout")
    assert said(cluster, "Requeued") == ("False", "PodsReadyTimeout")


def test_fewer_ranks_are_admitted_than_asked_for(cluster: TrainingCluster) -> None:
    cluster.submit(job(group(replicas=6, elastic={"min": 2, "max": 6}), queue=QUEUE))
    body = workload(cluster)
    assert body is not None
    assert body["spec"]["podSets"][0]["minCount"] == 2
    admit(cluster, 3)
    assert (cluster.phase, len(cluster.names())) == ("Running", 3)
    told = cluster.status["groups"][0]
    assert (told["desired"], told["admitted"], told["ready"]) == (6, 3, 3)


def test_each_rank_goes_where_the_topology_says(cluster: TrainingCluster) -> None:
    cluster.client.create(TOPOLOGIES, {"metadata": {"name": "racks"}, "spec": {"levels": [{"nodeLabel": "rack"}]}})
    cluster.submit(job(group(topology={"key": "rack"}), queue=QUEUE))
    body = workload(cluster)
    assert body is not None
    assert body["spec"]["podSets"][0]["topologyRequest"] == {"required": "rack"}
    values = [{"individual": {"prefix": "r-", "roots": ["1", "2"]}}]
    part = {"domainCount": 2, "valuesPerLevel": values, "podCounts": {"universal": 1}}
    admit(cluster, topologyAssignment={"levels": ["rack"], "slices": [part]})
    selectors = [pod["spec"]["nodeSelector"] for pod in cluster.pods()]
    assert selectors == [{"pool": "a100", "rack": "r-1"}, {"pool": "a100", "rack": "r-2"}]


def test_suspended_it_has_no_place_in_the_queue(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE, suspend=True))
    assert workload(cluster) is None
    cluster.change(suspend=False)
    admit(cluster)
    cluster.change(suspend=True)
    assert (cluster.phase, cluster.names(), workload(cluster)) == ("Suspended", [], None)


def test_an_elastic_job_that_grows_stands_in_line_again(cluster: TrainingCluster) -> None:
    elastic = {"min": 1, "max": 4}
    cluster.submit(job(group(replicas=2, elastic=elastic), queue=QUEUE))
    admit(cluster)
    cluster.change(groups=[group(replicas=1, elastic=elastic)])
    assert (cluster.phase, cluster.names()) == ("Running", ["job-worker-a1-0"])
    cluster.change(groups=[group(replicas=3, elastic=elastic)])
    assert (cluster.phase, cluster.names()) == ("Queued", [])
    body = workload(cluster)
    assert body is not None
    assert body["spec"]["podSets"][0]["count"] == 3
    assert cluster.status["attempts"][0]["reason"] == "Resized"


def test_a_workload_that_is_deleted_is_made_again(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE))
    admit(cluster)
    before = workload(cluster)
    assert before is not None
    cluster.silent |= {f"{cluster.nodes}-0", f"{cluster.nodes}-1"}
    cluster.client.delete(WORKLOADS, Key("default", before["metadata"]["name"]))
    cluster.run()
    held = workload(cluster)
    assert held is not None
    assert held["metadata"]["uid"] == before["metadata"]["uid"]
    cluster.silent.clear()
    cluster.run()
    after = workload(cluster)
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_a_job_that_goes_takes_its_workload_along(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue=QUEUE))
    admit(cluster)
    cluster.client.delete(TRAINING_JOBS, KEY)
    cluster.run()
    assert (cluster.names(), workload(cluster)) == ([], None)


def test_priorities(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue={**QUEUE, "priorityClassName": "high"}))
    told = cluster.says("QuotaReserved")
    assert told is not None
    assert told[2] == "there is no WorkloadPriorityClass high"
    cluster.client.create(QUEUE_PRIORITIES, {"metadata": {"name": "high"}, "value": 7})
    cluster.run()
    body = workload(cluster)
    assert body is not None
    assert (body["spec"]["priority"], body["spec"]["priorityClassRef"]["name"]) == (7, "high")


@pytest.mark.parametrize(("mode", "named"), [("Own", True), ("None", True), ("Auto", False)])
def test_who_asks_no_queue_has_no_workload(cluster: TrainingCluster, mode: str, named: bool) -> None:
    cluster.submit(job(gang={"mode": mode}, **({"queue": QUEUE} if named else {})))
    assert (cluster.phase, workload(cluster)) == ("Running", None)


def test_a_queue_without_kueue_keeps_nobody_waiting(cluster: TrainingCluster) -> None:
    alone = TrainingCluster()
    alone.submit(job(queue=QUEUE))
    assert alone.phase == "Running"


def test_kueue_without_a_queue_is_told(cluster: TrainingCluster) -> None:
    cluster.submit(job(gang={"mode": "Kueue"}))
    told = cluster.says("QuotaReserved")
    assert told is not None
    assert "queue.name names no queue" in told[2]


def test_what_no_queue_can_promise_is_not_put_in_line_and_the_way_out_works(cluster: TrainingCluster) -> None:
    cluster.submit(job(suspend=True, queue={**QUEUE, "preemptible": False}))
    cluster.client.patch(TRAINING_JOBS, KEY, {"spec": {"suspend": False}})
    cluster.run(60)
    told = cluster.says("QuotaReserved")
    assert told is not None
    assert told[0] == "False"
    assert told[2].startswith("queue.preemptible is false, which Kueue cannot promise")
    assert (workload(cluster), cluster.pods()) == (None, [])
    cluster.client.patch(TRAINING_JOBS, KEY, {"spec": {"suspend": True}})
    cluster.run()
    cluster.client.patch(TRAINING_JOBS, KEY, {"spec": {"suspend": False, "queue": {"preemptible": True}}})
    cluster.run()
    assert workload(cluster) is not None


def test_what_is_never_preempted_where_nobody_preempts_runs(cluster: TrainingCluster) -> None:
    cluster.submit(job(queue={**QUEUE, "preemptible": False}, gang={"mode": "Own"}))
    assert (workload(cluster), cluster.phase) == (None, "Running")
