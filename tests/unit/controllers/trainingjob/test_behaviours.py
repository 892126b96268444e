"""The behaviours that a training job must hold, by their numbers (docs: design of TrainingJob), on an API server in
memory. Those of admission are in tests/kube; those of Kueue and of the scheduler need the real ones."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.apis.names import FINALIZER_RANK
from mlplatform.apis.times import told_time
from mlplatform.controllers.trainingjob.plan import refused_words
from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.objects import CLAIMS, CONFIG_MAPS, PODS, SECRETS, SERVICES, Key, Object, Resource, uid_of
from mlplatform.kube.wire import Request
from tests.support.kube.refusals import refuse
from tests.support.kube.training import KEY, TrainingCluster, group, job

OTHER = "kueue.x-k8s.io/multikueue"


@pytest.fixture
def cluster() -> TrainingCluster:
    return TrainingCluster()


def named(cluster: TrainingCluster, resource: Resource) -> list[str]:
    return [body["metadata"]["name"] for body in cluster.client.list(resource, "default").items]


def uids(cluster: TrainingCluster, of: str = "") -> dict[str, str]:
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in cluster.pods()
        if not of or pod["metadata"]["name"].startswith(f"job-{of}-")
    }


def test_01_created_suspended_it_has_no_pods(cluster: TrainingCluster) -> None:
    cluster.submit(job(suspend=True))
    assert (cluster.phase, cluster.names()) == ("Suspended", [])
    assert cluster.says("Suspended") == ("True", "Suspended", "its ranks have saved and are gone")


def test_02_unsuspended_it_is_resumed(cluster: TrainingCluster) -> None:
    cluster.submit(job(suspend=True))
    cluster.change(suspend=False)
    assert cluster.says("Suspended") == ("False", "Resumed", "")
    assert cluster.names() == ["job-worker-a1-0", "job-worker-a1-1"]


def test_03_all_ranks_succeed(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    cluster.run(30)
    cluster.end_all()
    cluster.run()
    assert cluster.phase == "Complete"
    assert cluster.status["groups"][0] | {"done": ""} == {
        "name": "worker",
        "desired": 2,
        "succeeded": 2,
        "attempt": 1,
        "begun": True,
        "whole": 2,
        "done": "",
    }
    assert cluster.status["goodput"] == {"percent": 100, "wallSeconds": 30, "productiveSeconds": 30}
    assert all(FINALIZER_RANK not in pod["metadata"].get("finalizers", []) for pod in cluster.pods())


def test_04_ranks_fail(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    cluster.end("worker", 1, 3)
    cluster.run()
    assert (cluster.phase, cluster.status["reason"]) == ("Failed", "RestartsExhausted")
    assert cluster.status["groups"][0]["failed"] == 1
    assert cluster.names() == ["job-worker-a1-1"]
    last = cluster.status["attempts"][-1]
    assert (last["rank"], last["exitCode"], last["node"]) == (1, 3, f"{cluster.nodes}-1")


def test_05_what_somebody_else_manages_is_left_alone(cluster: TrainingCluster) -> None:
    cluster.submit(job(managedBy=OTHER))
    cluster.change(suspend=True)
    cluster.change(suspend=False)
    assert cluster.status == {}
    assert cluster.names() == []
    assert named(cluster, SERVICES) == []


def test_06_a_node_selector_that_is_set_while_suspended_reaches_the_pods(cluster: TrainingCluster) -> None:
    cluster.submit(job(suspend=True))
    groups = cluster.body()["spec"]["groups"]
    groups[0]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    cluster.change(groups=groups)
    cluster.change(suspend=False)
    assert cluster.pod("job-worker-a1-0")["spec"]["nodeSelector"] == {"disk": "ssd"}


def test_07_past_its_deadline_it_fails_and_its_pods_go(cluster: TrainingCluster) -> None:
    cluster.submit(job(runPolicy={"activeDeadlineSeconds": 60}))
    cluster.run(59)
    assert cluster.phase == "Running"
    cluster.run(1)
    assert (cluster.phase, cluster.status["reason"], cluster.names()) == ("Failed", "DeadlineExceeded", [])


def test_08_suspended_past_its_deadline_it_goes_on_with_a_new_clock(cluster: TrainingCluster) -> None:
    cluster.submit(job(runPolicy={"activeDeadlineSeconds": 60}))
    cluster.run(50)
    cluster.change(suspend=True)
    cluster.run(500)
    assert cluster.phase == "Suspended"
    cluster.change(suspend=False)
    cluster.run(59)
    assert cluster.phase == "Running"


def test_11_a_group_of_no_ranks_is_fine(cluster: TrainingCluster) -> None:
    cluster.submit(job(group(replicas=1), group("extra", 0)))
    cluster.end_all()
    cluster.run()
    assert cluster.phase == "Complete"


def test_12_what_is_deleted_is_made_again(cluster: TrainingCluster) -> None:
    cluster.room = 0
    cluster.submit(job())
    before = uids(cluster)
    cluster.delete_pod("job-worker-a1-0")
    cluster.run()
    after = uids(cluster)
    assert after.keys() == before.keys()
    assert after["job-worker-a1-0"] != before["job-worker-a1-0"]
    assert after["job-worker-a1-1"] == before["job-worker-a1-1"]
    assert cluster.status["attempt"] == 1


def test_13_the_grace_period_reaches_the_pods(cluster: TrainingCluster) -> None:
    cluster.submit(job(preemption={"gracePeriodSeconds": 45}))
    assert cluster.pod("job-worker-a1-0")["spec"]["terminationGracePeriodSeconds"] == 45


def test_14_mpi_has_its_hosts_and_an_immutable_secret(cluster: TrainingCluster) -> None:
    groups = (group("launcher", 1, role="launcher"), group("worker", 2, procsPerReplica=4))
    cluster.submit(job(*groups, framework="mpi"))
    hosts = cluster.client.get(CONFIG_MAPS, Key("default", "job-hosts-a1"))
    assert hosts["data"]["hostfile"] == (
        "job-worker-a1-0.job-ranks.default.svc slots=4\njob-worker-a1-1.job-ranks.default.svc slots=4\n"
    )
    secret = cluster.client.get(SECRETS, Key("default", "job-keys"))
    assert secret["immutable"] is True
    assert sorted(secret.get("stringData") or secret["data"]) == ["ssh-privatekey", "ssh-publickey"]
    assert cluster.env("job-launcher-a1-0")["OMPI_MCA_orte_default_hostfile"] == "/etc/mpi/hostfile"
    before = secret["metadata"]["uid"]
    cluster.end("worker", 0, 1)
    cluster.run()
    cluster.run(20)
    assert [name for name in named(cluster, CONFIG_MAPS) if name.startswith("job-")] == ["job-hosts-a2"]
    assert cluster.client.get(SECRETS, Key("default", "job-keys"))["metadata"]["uid"] == before


def test_17_a_pod_of_another_uid_is_not_ours(cluster: TrainingCluster) -> None:
    cluster.submit(job(suspend=True))
    other = cluster.client.create(TRAINING_JOBS, job(name="other", managedBy=OTHER))
    cluster.client.create(PODS, _stranger("job-worker-a1-0", other["metadata"]["uid"]))
    cluster.change(suspend=False)
    assert cluster.phase == "Starting"
    said = cluster.says("Placed")
    assert said is not None
    assert said[1] == "CreationRefused"
    assert "is there already and belongs to TrainingJob other" in said[2]
    assert "deletionTimestamp" not in cluster.pod("job-worker-a1-0")["metadata"]


def _stranger(name: str, uid: str) -> Object:
    owner = {
        "apiVersion": TRAINING_JOBS.api_version,
        "kind": "TrainingJob",
        "name": "other",
        "uid": uid,
        "controller": True,
    }
    labels = {
        "app.kubernetes.io/managed-by": "mlplatform",
        "training.mlplatform.dev/job": "other",
        "training.mlplatform.dev/group": "worker",
        "training.mlplatform.dev/rank": "0",
        "training.mlplatform.dev/attempt": "1",
    }
    meta = {"name": name, "namespace": "default", "labels": labels, "ownerReferences": [owner]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }


def test_18_success_of_any_group_ends_the_others(cluster: TrainingCluster) -> None:
    cluster.submit(job(group("one", 1), group("two", 2), successPolicy={"operator": "Any"}))
    cluster.end("one", 0)
    cluster.run()
    assert (cluster.phase, cluster.names()) == ("Complete", ["job-one-a1-0"])


def test_19_all_waits_for_all(cluster: TrainingCluster) -> None:
    cluster.submit(job(group("one", 1), group("two", 1)))
    cluster.end("one", 0)
    cluster.run()
    assert cluster.phase == "Running"
    cluster.end("two", 0)
    cluster.run()
    assert cluster.phase == "Complete"


def test_20_without_restarts_the_first_failure_fails(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    cluster.end("worker", 0, 1)
    cluster.run()
    assert cluster.phase == "Failed"


def test_21_restarts_reach_their_limit(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 2}))
    for _ in range(3):
        assert cluster.phase == "Running"
        cluster.end("worker", 0, 1)
        cluster.run()
        cluster.run(300)
    assert (cluster.phase, cluster.status["restartsCounted"]) == ("Failed", 2)
    said = cluster.says("Failed")
    assert said is not None
    assert said[1:] == (
        "RestartsExhausted",
        "2 restarts were allowed; the last failure: rank 0 of worker ended with exit code 1",
    )


def test_22_an_uncounted_restart_spares_the_budget(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    cluster.end("worker", 0, 75)
    cluster.run()
    cluster.run(10)
    assert (cluster.phase, cluster.status["restartsUncounted"]) == ("Running", 1)
    assert "restartsCounted" not in cluster.status


def test_23_the_first_rule_that_fits_wins(cluster: TrainingCluster) -> None:
    rules = [
        {"action": "Fail", "groups": ["two"], "reasons": ["OOMKilled"]},
        {"action": "RestartUncounted", "reasons": ["OOMKilled"]},
        {"action": "Fail", "reasons": ["OOMKilled"]},
    ]
    cluster.submit(job(group("one", 1), group("two", 1), failurePolicy={"rules": rules}))
    cluster.end("one", 0, 137, "OOMKilled")
    cluster.run()
    cluster.run(10)
    assert cluster.phase == "Running"
    cluster.end("two", 0, 137, "OOMKilled")
    cluster.run()
    assert (cluster.phase, cluster.status["reason"]) == ("Failed", "OOMKilled")


def test_24_no_new_pod_before_all_old_ones_are_gone(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    cluster.silent.add(f"{cluster.nodes}-1")
    cluster.end("worker", 0, 1)
    cluster.run()
    cluster.run(1000)
    assert cluster.names() == ["job-worker-a1-1"]
    assert cluster.phase == "Restarting"
    cluster.silent.clear()
    cluster.run()
    assert cluster.names() == ["job-worker-a2-0", "job-worker-a2-1"]


def test_25_restarting_a_group_leaves_the_other_pods(cluster: TrainingCluster) -> None:
    cluster.submit(job(group("one", 2), group("two", 2), failurePolicy={"restartScope": "Group"}))
    before = uids(cluster, "one")
    cluster.end("two", 1, 1)
    cluster.run()
    cluster.run(60)
    assert cluster.phase == "Running"
    assert uids(cluster, "one") == before
    assert sorted(uids(cluster, "two")) == ["job-two-a2-0", "job-two-a2-1"]


def test_26_a_deleted_service_is_made_again(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    assert named(cluster, SERVICES) == ["job-ranks"]
    cluster.client.delete(SERVICES, Key("default", "job-ranks"))
    cluster.run()
    spec = cluster.client.get(SERVICES, Key("default", "job-ranks"))["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)


def test_27_it_waits_for_both_it_depends_on_also_after_suspension(cluster: TrainingCluster) -> None:
    needs = [{"group": "data", "status": "Complete"}, {"group": "server", "status": "Ready"}]
    cluster.submit(job(group("data", 1, role="initializer"), group("server", 1), group("worker", 1, dependsOn=needs)))
    for attempt in (1, 2):
        assert cluster.names() == [f"job-data-a{attempt}-0", f"job-server-a{attempt}-0"]
        cluster.end("data", 0)
        cluster.run()
        assert f"job-worker-a{attempt}-0" in cluster.names()
        cluster.change(suspend=True)
        assert cluster.names() == []
        cluster.change(suspend=False)


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize("when", ["Retain", "Delete"])
def test_28_claims_when_it_ends(cluster: TrainingCluster, when: str) -> None:
    cluster.submit(job(checkpoint={"scope": "Rank", "claimSpec": CLAIM, "whenFinished": when}))
    assert named(cluster, CLAIMS) == ["job-worker-0", "job-worker-1"]
    cluster.end_all()
    cluster.run()
    assert cluster.phase == "Complete"
    assert len(named(cluster, CLAIMS)) == (2 if when == "Retain" else 0)
    assert len(cluster.names()) == (2 if when == "Retain" else 0), "a pod that has ended holds its claim"


@pytest.mark.parametrize("when", ["Retain", "Delete"])
def test_28_claims_when_it_is_deleted(cluster: TrainingCluster, when: str) -> None:
    cluster.submit(job(checkpoint={"scope": "Job", "claimSpec": CLAIM, "whenDeleted": when}))
    assert named(cluster, CLAIMS) == ["job-checkpoint"]
    cluster.client.delete(TRAINING_JOBS, KEY)
    cluster.run()
    assert cluster.names() == []
    assert len(named(cluster, CLAIMS)) == (1 if when == "Retain" else 0)
    cluster.submit(job(checkpoint={"scope": "Job", "claimSpec": CLAIM, "whenDeleted": when}))
    assert (cluster.phase, named(cluster, CLAIMS)) == ("Running", ["job-checkpoint"])


def test_28_a_ranks_claim_stays_the_same_over_attempts(cluster: TrainingCluster) -> None:
    cluster.submit(job(checkpoint={"scope": "Rank", "claimSpec": CLAIM}))
    for attempt in (1, 2):
        volumes = cluster.pod(f"job-worker-a{attempt}-1")["spec"]["volumes"]
        claims = [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
        assert claims == ["job-worker-1"]
        cluster.end("worker", 0, 1)
        cluster.run()
        cluster.run(60)


def test_29_after_its_time_it_is_deleted_and_nothing_comes_back(cluster: TrainingCluster) -> None:
    cluster.submit(job(runPolicy={"ttlSecondsAfterFinished": 30}))
    cluster.end_all()
    cluster.run()
    cluster.run(29)
    assert cluster.phase == "Complete"
    cluster.run(1)
    assert cluster.client.list(TRAINING_JOBS, "default").items == []
    cluster.run()
    assert (cluster.names(), named(cluster, SERVICES)) == ([], [])


def test_30_an_elastic_group_grows_and_shrinks(cluster: TrainingCluster) -> None:
    elastic = {"min": 1, "max": 4}
    cluster.submit(job(group(replicas=2, elastic=elastic)))
    before = uids(cluster)
    cluster.change(groups=[group(replicas=4, elastic=elastic)])
    assert (cluster.phase, len(cluster.names())) == ("Running", 4)
    assert before.items() <= uids(cluster).items()
    cluster.change(groups=[group(replicas=2, elastic=elastic)])
    assert uids(cluster) == before
    assert cluster.status["attempt"] == 1
    env = cluster.env("job-worker-a1-0")
    assert (env["PET_NNODES"], env["PET_RDZV_ENDPOINT"]) == ("1:4", "job-worker-a1-0.job-ranks:29500")


def test_36_a_node_dies(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    cluster.lose_node(f"{cluster.nodes}-1")
    cluster.delete_pod("job-worker-a1-1")  # what the taint manager does
    cluster.run()
    cluster.run(200)
    assert cluster.phase == "Restarting"
    said = cluster.says("Running")
    assert said is not None
    assert "worker-1" in said[2]
    assert f"node {cluster.nodes}-1 is silent" in said[2]
    cluster.lose_node(f"{cluster.nodes}-1", fenced=True)
    cluster.silent.clear()
    cluster.run()
    cluster.run(30)
    assert (cluster.phase, cluster.status["restartsUncounted"]) == ("Running", 1)
    assert cluster.names() == ["job-worker-a2-0", "job-worker-a2-1"]
    assert cluster.status["attempts"][0]["reason"] == "NodeLost"


def test_38_suspended_and_resumed_while_it_stops(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    cluster.silent |= {f"{cluster.nodes}-0", f"{cluster.nodes}-1"}
    cluster.change(suspend=True)
    assert cluster.phase == "Suspending"
    cluster.change(suspend=False)
    assert cluster.phase == "Suspending"
    cluster.change(suspend=True)
    cluster.change(suspend=False)
    assert cluster.names() == ["job-worker-a1-0", "job-worker-a1-1"]
    cluster.silent.clear()
    cluster.run()
    assert cluster.phase == "Running"
    assert cluster.names() == ["job-worker-a2-0", "job-worker-a2-1"]
    assert cluster.says("Suspended") == ("False", "Resumed", "")


def test_39_a_rays_head_that_is_deleted_comes_back(cluster: TrainingCluster) -> None:
    groups = (group("head", 1, role="head"), group("worker", 2))
    cluster.submit(job(*groups, framework="ray", failurePolicy={"restartScope": "Group"}))
    workers = uids(cluster, "worker")
    cluster.delete_pod("job-head-a1-0")
    cluster.run()
    cluster.run(30)
    assert cluster.phase == "Running"
    assert sorted(uids(cluster, "head")) == ["job-head-a2-0"]
    assert uids(cluster, "worker") == workers


def test_40_a_running_rank_that_is_deleted_restarts_the_gang_once(cluster: TrainingCluster) -> None:
    cluster.submit(job(group(replicas=3)))
    cluster.delete_pod("job-worker-a1-1")
    cluster.run()
    cluster.run(30)
    assert cluster.phase == "Running"
    assert cluster.names() == ["job-worker-a2-0", "job-worker-a2-1", "job-worker-a2-2"]
    assert (cluster.status["attempt"], cluster.status["restartsUncounted"]) == (2, 1)
    assert cluster.status["attempts"][0]["reason"] == "Deleted"


def test_41_half_of_the_ranks_done_suspended_resumed_all_run(cluster: TrainingCluster) -> None:
    cluster.submit(job(group(replicas=4)))
    cluster.end("worker", 0)
    cluster.end("worker", 1)
    cluster.run()
    assert cluster.status["groups"][0]["done"] == "0-1"
    cluster.change(suspend=True)
    assert cluster.names() == []
    cluster.change(suspend=False)
    assert len([pod for pod in cluster.pods() if pod["status"]["phase"] == "Running"]) == 4


def test_42_one_rank_without_a_place_is_never_running(cluster: TrainingCluster) -> None:
    cluster.room = 1
    cluster.submit(job(gang={"mode": "Own", "scheduleTimeoutSeconds": 60}))
    assert cluster.phase == "Starting"
    assert cluster.says("Placed") == ("False", "WaitingForPlaces", "no place for worker-1: 0/2 nodes are available")
    cluster.run(60)
    assert (cluster.phase, cluster.names()) == ("Queued", [])
    assert cluster.says("Placed") == ("False", "ScheduleTimeout", "no place for worker-1: 0/2 nodes are available")
    cluster.room = 2
    cluster.run(25)
    assert cluster.phase == "Running"


def test_43_what_the_api_refuses_to_make_is_told(cluster: TrainingCluster) -> None:
    def quota(verb: str, resource: Resource, body: Object) -> None:
        if resource == PODS and verb == "create":
            raise refuse(403, f'pods "{body["metadata"]["name"]}" is forbidden: exceeded quota: gpus', "Forbidden")

    cluster.fake.admit.append(quota)
    cluster.submit(job())
    said = cluster.says("Placed")
    assert said is not None
    assert said[:2] == ("False", "CreationRefused")
    assert "exceeded quota: gpus" in said[2]
    cluster.fake.admit.clear()
    cluster.run(30)
    assert cluster.phase == "Running"


def test_44_resumed_and_running_its_phase_is_running(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    cluster.run(30)
    cluster.report(step=100, checkpointStep=100, checkpointTime=told_time(cluster.now - 10))
    cluster.run()
    cluster.change(suspend=True)
    assert cluster.phase == "Suspended"
    cluster.change(suspend=False)
    assert cluster.phase == "Running"
    assert cluster.env("job-worker-a2-0")["MLP_RESUME_STEP"] == "100"
    assert cluster.status["goodput"]["productiveSeconds"] == 20
    assert cluster.status["goodput"]["lostSeconds"] == 10


def test_goodput_tells_where_each_second_went(cluster: TrainingCluster) -> None:
    cluster.room = 1
    cluster.submit(job(gang={"mode": "Own", "scheduleTimeoutSeconds": 12}))
    cluster.run(12)  # startup: one rank has no place, and both are taken back
    cluster.room = 2
    cluster.run(25)  # queued until both are tried again
    cluster.run(30)
    cluster.report(step=30, checkpointStep=30, checkpointTime=told_time(cluster.now))
    cluster.run()  # what was worked is safe
    cluster.run(11)
    cluster.end("worker", 1, 1)
    cluster.run()  # lost
    cluster.run(17)  # restart
    cluster.run(8)
    cluster.report(step=38, checkpointStep=38, checkpointTime=told_time(cluster.now - 3))
    cluster.change(suspend=True)  # saved 3 s ago
    cluster.run(1000)
    cluster.change(suspend=False)
    cluster.run(40)
    cluster.end_all()
    cluster.run()
    assert cluster.phase == "Complete"
    assert cluster.status["goodput"] == {
        "percent": 52,
        "wallSeconds": 143,
        "productiveSeconds": 30 + 5 + 40,
        "queuedSeconds": 25,
        "startupSeconds": 12,
        "lostSeconds": 11 + 3,
        "restartSeconds": 17,
    }


# ---------------------------------------------------------------------- accidents beyond the list
def test_nobody_looks_for_the_one_rank_of_a_python_job(cluster: TrainingCluster) -> None:
    cluster.submit(job(group(replicas=1), framework="python"))
    cluster.end_all()
    cluster.run()
    assert (cluster.phase, named(cluster, SERVICES)) == ("Complete", [])


def test_an_image_that_cannot_be_pulled_is_told_and_then_fails(cluster: TrainingCluster) -> None:
    cluster.broken_images.add("worker")
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    said = cluster.says("Running")
    assert said is not None
    assert said[2] == "waiting for worker-0, worker-1: ImagePullBackOff: no such image"
    cluster.run(299)
    assert cluster.phase == "Starting"
    cluster.run(1)
    assert (cluster.phase, cluster.status["attempts"][-1]["message"]) == ("Failed", "ImagePullBackOff: no such image")


def test_an_evicted_rank_restarts_uncounted(cluster: TrainingCluster) -> None:
    cluster.submit(job(failurePolicy={"maxRestarts": 0}))
    disrupted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "preempted",
    }
    cluster.end("worker", 0, 143, conditions=[disrupted])
    cluster.run()
    cluster.run(30)
    assert (cluster.phase, cluster.status["restartsUncounted"]) == ("Running", 1)
    assert cluster.status["attempts"][0]["reason"] == "DisruptionTarget"


def test_looking_again_writes_nothing(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    cluster.run(30)
    cluster.fake.requests.clear()
    cluster.operator = cluster.new_operator()
    cluster.run(1000)
    assert [request.path for request in cluster.fake.writes()] == []


def test_a_job_made_anew_waits_for_what_the_old_one_left(cluster: TrainingCluster) -> None:
    cluster.submit(job())
    before = uids(cluster)
    cluster.client.delete(TRAINING_JOBS, KEY)
    cluster.submit(job())
    cluster.run(30)
    assert cluster.phase == "Running"
    assert not set(before.values()) & set(uids(cluster).values())


def test_a_hang_restarts_elsewhere(cluster: TrainingCluster) -> None:
    cluster.submit(job(health={"progressTimeoutSeconds": 60}))
    cluster.report(step=5, slowestGroup="worker", slowestRank=1, lastReportTime=told_time(cluster.now))
    cluster.run(60)
    assert cluster.phase == "Restarting"
    said = cluster.says("Hung")
    assert said is not None
    assert said[0] == "True"
    cluster.run(30)
    affinity: Any = cluster.pod("job-worker-a2-0")["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [f"{cluster.nodes}-1"]}]}
    ]


def test_a_job_that_only_kueue_may_admit_waits_and_says_so(cluster: TrainingCluster) -> None:
    cluster.submit(job(gang={"mode": "Kueue"}, queue={"name": "big"}))
    assert (cluster.phase, cluster.names()) == ("Queued", [])
    said = cluster.says("QuotaReserved")
    assert said is not None
    assert said[:2] == ("False", "WaitingForQuota")
    assert "install it and restart the operator, or suspend the job and set gang.mode to Own" in said[2]
    cluster.change(suspend=True)
    cluster.change(suspend=False, gang={"mode": "Own"})
    assert cluster.phase == "Running"


def test_what_only_tells_is_written_with_what_follows() -> None:
    cluster = TrainingCluster(patience=0.5)
    cluster.submit(job(group(replicas=1), framework="python"))
    # its rank is made at once and works; nobody has been told yet
    assert (cluster.names(), cluster.status) == (["job-worker-a1-0"], {})
    began = cluster.now
    cluster.run(1)
    assert (cluster.phase, cluster.says("Placed")) == ("Running", ("True", "Placed", ""))
    assert cluster.status["ledger"]["since"] == told_time(began)
    cluster.run(9)
    version = cluster.body()["metadata"]["resourceVersion"]
    cluster.run()
    assert cluster.body()["metadata"]["resourceVersion"] == version
    cluster.end_all()
    cluster.run()
    assert (cluster.phase, cluster.status["goodput"]["productiveSeconds"]) == ("Complete", 10)


def test_a_job_that_ends_before_anything_was_told_is_written_once() -> None:
    cluster = TrainingCluster(patience=0.5)
    writes: list[str] = []

    def note(request: Request) -> None:
        if "/trainingjobs/" in request.path and request.path.endswith("/status"):
            writes.append(request.method)

    cluster.fake.after.append(note)
    cluster.submit(job(group(replicas=2)))
    cluster.end_all()
    cluster.run()
    cluster.run(10)
    assert (cluster.phase, writes) == ("Complete", ["PATCH"])
    assert [pod["metadata"].get("finalizers") for pod in cluster.pods()] == [[], []]


def test_ranks_whose_maker_died_at_once_are_the_first_attempts() -> None:
    """Nothing says that they were made: they are taken over as they are, even where they have ended since."""
    cluster = TrainingCluster(patience=0.5)
    cluster.submit(job(group(replicas=2), framework="python"))
    uids = [uid_of(pod) for pod in cluster.pods()]
    cluster.end("worker", 0, 0)
    assert cluster.status == {}
    cluster.operator = cluster.new_operator()
    cluster.run()
    cluster.run(10)
    assert (cluster.status["attempt"], cluster.status["groups"][0]["succeeded"]) == (1, 1)
    assert [uid_of(pod) for pod in cluster.pods()] == uids


def test_43_a_rank_without_an_image_is_told_where_one_may_come_from() -> None:
    said = refused_words([({"metadata": {"name": "job-worker-a1-0"}}, "- spec.containers[0].image: Required value")])
    assert said["job-worker-a1-0"].endswith(
        "The job names no image, and this operator has none for such jobs (MLPLATFORM_TRAINING_IMAGE)."
    )
    assert refused_words([({"metadata": {"name": "p"}}, "exceeded quota")]) == {"p": "exceeded quota"}
