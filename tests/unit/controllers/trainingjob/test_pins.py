"""Ranks that their claims keep on a node: told, and moved where somebody allowed that the claim goes."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.controllers.trainingjob.pins import leave_in, node_of
from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.objects import CLAIMS, VOLUMES, Key, Object, uid_of
from tests.support.kube.faults import Mortal
from tests.support.kube.training import KEY, TrainingCluster, group, job

SPEC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
AVOID = {"rules": [{"action": "RestartAvoidNode", "exitCodes": {"values": [9]}}], "backoffSeconds": 0}


def _need(key: str, *values: str, operator: str = "In") -> Object:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "node"),
    [
        ([_need("kubernetes.io/hostname", "a")], "a"),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}], "a"),
        ([_need("kubernetes.io/hostname", "a", "b")], ""),
        ([_need("kubernetes.io/hostname", "a"), _need("kubernetes.io/hostname", "b")], ""),
        ([_need("kubernetes.io/hostname", "a", operator="NotIn")], ""),
        ([_need("topology.kubernetes.io/zone", "z")], ""),
        ([], ""),
    ],
)
def test_the_one_node_of_a_volume(terms: list[Object], node: str) -> None:
    assert node_of({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}) == node
    assert node_of({"spec": {}}) == ""


@pytest.mark.parametrize(("text", "claims"), [("a, b", {"a", "b"}), ("all", {"all"}), ("", set[str]()), (",", set())])
def test_which_claims_may_go(text: str, claims: set[str]) -> None:
    assert leave_in({"metadata": {"annotations": {"training.mlplatform.dev/give-up": text}}}) == claims
    assert leave_in({"metadata": {}}) == set()


def bind(cluster: TrainingCluster) -> None:
    """Each rank's claim gets a volume of the node that the rank is on."""
    for claim in cluster.client.list(CLAIMS, "default").items:
        name = claim["metadata"]["name"]
        if "volumeName" in claim["spec"]:
            continue
        rank = name.rpartition("-")[2]
        affinity = {"required": {"nodeSelectorTerms": [_need("kubernetes.io/hostname", f"node-{rank}")]}}
        meta = {"name": f"{uid_of(claim)}"}
        body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": {"nodeAffinity": affinity}}
        cluster.client.create(VOLUMES, body)
        cluster.client.patch(CLAIMS, Key("default", name), {"spec": {"volumeName": meta["name"]}})
    cluster.run()


def avoided(cluster: TrainingCluster, rank: int) -> list[str]:
    """The nodes that the newest pod of a rank must not be on."""
    affinity: Object = cluster.of("worker", rank)["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms: list[Object] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
        "nodeSelectorTerms", []
    )
    return [value for term in terms for need in term["matchExpressions"] for value in need["values"]]


def claim(cluster: TrainingCluster, rank: int) -> Any:
    return uid_of(cluster.client.get(CLAIMS, Key("default", f"job-worker-{rank}")))


def test_a_rank_on_a_node_to_avoid_stays_with_its_claim_until_that_may_go() -> None:
    cluster = TrainingCluster()
    cluster.submit(job(group(), checkpoint={"scope": "Rank", "claimSpec": SPEC}, failurePolicy=AVOID))
    bind(cluster)
    cluster.report(step=9, checkpointStep=9, checkpointTime="2023-11-14T22:13:20.000Z")
    before = [claim(cluster, rank) for rank in range(2)]
    cluster.end("worker", 1, 9)
    cluster.run()
    assert (cluster.phase, cluster.status["attempt"]) == ("Running", 2)
    assert cluster.status["attempts"][0]["action"] == "RestartAvoidNode"
    assert cluster.says("PinnedToNode") == (
        "True",
        "ClaimOfOneNode",
        "rank 1 of worker stays on node-1, which is to be avoided: its claim job-worker-1 is there alone. Elsewhere "
        "everything would begin anew, without the checkpoint of step 9. To allow that: "
        "kubectl annotate trainingjob job training.mlplatform.dev/give-up=job-worker-1",
    )
    assert (avoided(cluster, 0), avoided(cluster, 1)) == (["node-1"], [])
    assert cluster.env("job-worker-a2-1")["MLP_RESUME_STEP"] == "9"

    notes = {"metadata": {"annotations": {"training.mlplatform.dev/give-up": "job-worker-1"}}}
    cluster.client.patch(TRAINING_JOBS, KEY, notes)
    cluster.run()
    assert "It is given up" in (cluster.says("PinnedToNode") or ("", "", ""))[2]
    assert cluster.status["attempt"] == 2
    cluster.end("worker", 1, 9)
    cluster.run(1)
    assert (cluster.phase, cluster.status["attempt"]) == ("Running", 3)
    assert claim(cluster, 0) == before[0]
    assert claim(cluster, 1) != before[1]
    assert (avoided(cluster, 0), avoided(cluster, 1)) == (["node-1"], ["node-1"])
    assert "MLP_RESUME_STEP" not in cluster.env("job-worker-a3-0")
    assert "checkpoint" not in cluster.status
    assert cluster.says("PinnedToNode") == ("False", "Past", "")
    told = cluster.status["attempts"]
    assert "resumedFromStep" not in told[2]
    assert told[1]["reason"] == "ExitCode9"


def life(die_at: int = 0) -> tuple[TrainingCluster, int]:
    """A job that may give up its claims; the operator dies before its n-th write."""
    cluster = TrainingCluster()
    mortal = Mortal(cluster.fake, die_at, "before")
    cluster.operator = cluster.new_operator(mortal)
    body = job(group(), checkpoint={"scope": "Rank", "claimSpec": SPEC}, failurePolicy=AVOID)
    body["metadata"]["annotations"] = {"training.mlplatform.dev/give-up": "all"}
    cluster.submit(body)
    bind(cluster)
    cluster.report(step=9, checkpointStep=9, checkpointTime="2023-11-14T22:13:20.000Z")
    before = [claim(cluster, rank) for rank in range(2)]
    cluster.end("worker", 1, 9)
    cluster.run(1)
    cluster.run(30)
    assert (claim(cluster, 0) == before[0], claim(cluster, 1) == before[1]) == (True, False)
    cluster.end_all()
    cluster.run()
    cluster.run(10)
    return cluster, len(mortal.written)


def test_an_operator_that_dies_at_any_write_gives_up_the_same_claim_once() -> None:
    first, writes = life()
    wanted = first.status
    assert (wanted["phase"], wanted["attempt"]) == ("Complete", 2)
    assert "resumedFromStep" not in wanted["attempts"][1]
    assert writes > 15
    for number in range(1, writes + 1):
        cluster, _ = life(number)
        assert (cluster.deaths, cluster.status) == (1, wanted), number
