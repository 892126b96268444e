"""TrainingJobs in the queues of a real Kueue: gangs are admitted whole or wait and say why, one after the other; what
is taken back saves first and goes on. The behaviours 31 to 35, 37 and 41. Nodes and pods are kwok's, all else is
real."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from mlplatform.apis.times import read_time, told_time
from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.controllers.trainingjob.resources import FLAVORS, QUEUE_PRIORITIES, TOPOLOGIES, WORKLOADS
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import NODES, PODS, Key, Object, Resource
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.kube.transport import connect
from tests.cluster.addons import kwok_node
from tests.cluster.binaries import CannotBuild
from tests.cluster.cluster import Cluster
from tests.cluster.kueue import Kueue
from tests.cluster.kueue_program import program
from tests.cluster.network import CannotRun
from tests.support.kube.arena import make_namespace
from tests.support.kube.platform import apply_crds
from tests.support.kube.training import group, job

pytestmark = [
    pytest.mark.cannot_run_here("Kueue takes minutes to build, beside the other tests: tests/cluster/kueue_program.py"),
    pytest.mark.timeout(2400),
    # It has a cluster of its own, but goes last as those do that share one: what it is made of may just be built.
    pytest.mark.usefixtures("api_server"),
]

CLUSTER_QUEUES = Resource("kueue.x-k8s.io", "v1beta2", "clusterqueues", "ClusterQueue", namespaced=False)
LOCAL_QUEUES = Resource("kueue.x-k8s.io", "v1beta2", "localqueues", "LocalQueue")
GPU = "nvidia.com/gpu"
POOL, RACK = "test/pool", "test/rack"
SPACE = "team"
PATIENCE = 120.0


@dataclass
class Site:
    """``kueue`` looks after the queues ``gpus`` (4 GPUs of the pool gpus) and ``racks`` (2 racks of 2 GPUs)."""

    cluster: Cluster
    kueue: Kueue
    client: Client

    def submit(self, name: str, replicas: int = 1, queue: str = "gpus", priority: str = "", **more: Any) -> Key:
        """``limit``: of requeues."""
        of_group = {key: more.pop(key) for key in ("elastic", "topology") if key in more}
        ranks = group(replicas=replicas, accelerator={"count": 1}, **of_group)
        ranks["template"]["metadata"] = {"annotations": {"mlplatform.test/forever": "true"}}
        asked: Object = {"name": queue, **({"priorityClassName": priority} if priority else {})}
        if (limit := more.pop("limit", None)) is not None:
            asked["maxRequeues"] = limit
        more.setdefault("preemption", {"gracePeriodSeconds": 1})
        body = job(ranks, name=name, queue=asked, **more)
        body["metadata"]["namespace"] = SPACE
        self.client.create(TRAINING_JOBS, body)
        return Key(SPACE, name)

    def change(self, key: Key, **spec: Any) -> None:
        self.client.patch(TRAINING_JOBS, key, {"spec": spec})

    def status(self, key: Key) -> Object:
        return self.client.get(TRAINING_JOBS, key).get("status") or {}

    def says(self, key: Key, kind: str) -> tuple[str, str, str]:
        for one in self.status(key).get("conditions", ()):
            if one["type"] == kind:
                return one["status"], one["reason"], one.get("message", "")
        return "", "", ""

    def pods(self, key: Key) -> list[Object]:
        found = self.client.list(PODS, SPACE).items
        return [pod for pod in found if pod["metadata"]["labels"].get("training.mlplatform.dev/job") == key.name]

    def workload(self, key: Key) -> Object | None:
        found = [
            one
            for one in self.client.list(WORKLOADS, SPACE).items
            if one["metadata"]["ownerReferences"][0]["name"] == key.name
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def workload_says(self, key: Key, kind: str) -> tuple[str, str]:
        found = self.workload(key) or {}
        for one in (found.get("status") or {}).get("conditions", ()):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""

    def until(self, key: Key, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                told = (self.status(key), [pod["metadata"]["name"] for pod in self.pods(key)], self.workload(key))
                raise AssertionError(f"waited in vain: {told}\n{self.kueue.log[-1500:]}")
            time.sleep(0.05)

    def phase(self, key: Key, *words: str) -> None:
        self.until(key, lambda: self.status(key).get("phase") in words)

    def waits(self, key: Key, words: str) -> str:
        """The job has no place, and its status says why."""
        self.until(key, lambda: words in self.says(key, "QuotaReserved")[2])
        status, reason, message = self.says(key, "QuotaReserved")
        assert (status, reason) == ("False", "WaitingForQuota")
        assert (self.status(key)["phase"], self.pods(key)) == ("Queued", [])
        return message

    def nodes(self, key: Key) -> list[str]:
        return sorted(pod["spec"].get("nodeName", "") for pod in self.pods(key))

    def complete(self, key: Key) -> None:
        """Its ranks end well."""
        self.end_well(*self.pods(key))
        self.phase(key, "Complete")

    def end_well(self, *pods: Object) -> None:
        for pod in pods:
            [container] = pod["status"]["containerStatuses"]
            ended = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": told_time(time.time())}}
            status = {"phase": "Succeeded", "containerStatuses": [{**container, "ready": False, "state": ended}]}
            self.client.patch(PODS, Key(SPACE, pod["metadata"]["name"]), {"status": status}, subresource="status")

    @contextmanager
    def cleared(self) -> Generator[None]:
        """Nothing is left afterwards."""
        try:
            yield
        finally:
            for body in self.client.list(TRAINING_JOBS, SPACE).items:
                self.client.delete(TRAINING_JOBS, Key(SPACE, body["metadata"]["name"]))
            end = time.monotonic() + PATIENCE
            while self.client.list(PODS, SPACE).items or self.client.list(WORKLOADS, SPACE).items:
                assert time.monotonic() < end, "something leaks"
                time.sleep(0.05)


@pytest.fixture(scope="module")
def running() -> Generator[Site]:
    try:
        program()
        cluster = Cluster.start(node=False)
    except (CannotRun, CannotBuild) as error:
        pytest.skip(str(error))
    try:
        try:
            kueue = Kueue(cluster)
            kueue.start()
        except (CannotRun, CannotBuild) as error:
            pytest.skip(str(error))
        apply_crds(cluster)
        client = connect(str(cluster.kubeconfig))
        found = Site(cluster, kueue, client)
        make_namespace(client, SPACE)
        _queues(found)
        parts = Parts(client, Recorder(client, "training", "training-test"), Metrics(), width=4)
        operator = Manager(client, parts, [TrainingJobs(kueue=True)], Settings())
        operator.start(60)
        yield found
        operator.stop(10)
        kueue.stop()
    finally:
        cluster.stop()


@pytest.fixture
def site(running: Site) -> Generator[Site]:
    with running.cleared():
        yield running


def _queues(site: Site) -> None:
    """Nodes and what of them may be used."""
    for number in range(2):
        _node(site, f"gpu-{number}", {POOL: "gpus"})
    for name in ("a-0", "a-1", "b-0", "b-1"):
        _node(site, f"rack-{name}", {POOL: "racks", RACK: name[0]}, gpus=1)
    levels = [{"nodeLabel": RACK}, {"nodeLabel": "kubernetes.io/hostname"}]
    site.client.create(TOPOLOGIES, _kueue("Topology", "racks", {"levels": levels}))
    stands = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    # of racks there is more quota than there are machines: what fits is then the topology's to say
    for name, quota, more in (("gpus", 4, {}), ("racks", 8, {"topologyName": "racks"})):
        spec: Object = {"nodeLabels": {POOL: name}, "tolerations": stands, **more}
        site.client.create(FLAVORS, _kueue("ResourceFlavor", name, spec))
        resources = [{"name": GPU, "nominalQuota": quota}]
        given = {"coveredResources": [GPU], "flavors": [{"name": name, "resources": resources}]}
        preemption = {"withinClusterQueue": "LowerPriority"}
        spec = {"namespaceSelector": {}, "resourceGroups": [given], "preemption": preemption}
        site.client.create(CLUSTER_QUEUES, _kueue("ClusterQueue", name, spec))
        queue = _kueue("LocalQueue", name, {"clusterQueue": name})
        queue["metadata"]["namespace"] = SPACE
        site.client.create(LOCAL_QUEUES, queue)
    for name, value in (("low", 10), ("high", 1000)):
        body = _kueue("WorkloadPriorityClass", name, {})
        del body["spec"]
        site.client.create(QUEUE_PRIORITIES, {**body, "value": value})


def _node(site: Site, name: str, labels: dict[str, str], gpus: int = 2) -> None:
    body = kwok_node(name, gpus=gpus)
    body["metadata"]["labels"] |= labels
    site.client.create(NODES, body)
    site.cluster.api.wait(f"/api/v1/nodes/{name}", lambda node: node["status"].get("phase") == "Running")


def _kueue(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}


# ---------------------------------------------------------------------- admitted whole, or not at all
def test_31_admitted_its_ranks_go_where_the_flavor_is(site: Site) -> None:
    key = site.submit("fits", 4)
    site.phase(key, "Running")
    assert site.nodes(key) == ["gpu-0", "gpu-0", "gpu-1", "gpu-1"]
    assert site.says(key, "QuotaReserved") == ("True", "Reserved", "")
    selectors = [pod["spec"]["nodeSelector"] for pod in site.pods(key)]
    assert selectors == [{POOL: "gpus"}] * 4
    site.until(key, lambda: site.workload_says(key, "PodsReady") == ("True", "Started"))
    # the job itself was not changed, so there is nothing to restore: elsewhere it would go elsewhere
    template = site.client.get(TRAINING_JOBS, key)["spec"]["groups"][0]["template"]
    assert "nodeSelector" not in template["spec"]
    site.change(key, suspend=True)
    site.phase(key, "Suspended")
    site.until(key, lambda: site.workload(key) is None)
    site.change(key, suspend=False, queue={"name": "racks"})
    site.phase(key, "Running")
    assert site.nodes(key) == ["rack-a-0", "rack-a-1", "rack-b-0", "rack-b-1"]
    site.complete(key)
    site.until(key, lambda: site.workload_says(key, "Finished") == ("True", "Succeeded"))


def test_a_gang_that_cannot_fit_waits_and_says_why(site: Site) -> None:
    key = site.submit("wide", 5)
    words = site.waits(key, "insufficient quota for nvidia.com/gpu in flavor gpus")
    assert words.startswith("waits in queue gpus: couldn't assign flavors to pod set worker")
    lost = site.submit("lost", queue="nowhere")
    assert "LocalQueue nowhere doesn't exist" in site.waits(lost, "nowhere doesn't exist")
    unknown = site.submit("unknown", priority="royal")
    site.waits(unknown, "there is no WorkloadPriorityClass royal")


def test_32_two_jobs_for_one_place_run_one_after_the_other(site: Site) -> None:
    first = site.submit("first", 3)
    site.phase(first, "Running")
    second = site.submit("second", 3)
    site.waits(second, "insufficient unused quota for nvidia.com/gpu in flavor gpus")
    site.complete(first)
    site.phase(second, "Running")
    assert len(site.pods(second)) == 3
    assert site.status(second)["attempt"] == 1


def test_33_an_elastic_gang_takes_what_there_is(site: Site) -> None:
    key = site.submit("elastic", 6, elastic={"min": 2, "max": 6})
    site.phase(key, "Running")
    assert len(site.pods(key)) == 4
    told = site.status(key)["groups"][0]
    assert (told["desired"], told["admitted"], told["ready"]) == (6, 4, 4)
    small = site.submit("too-small", 6, elastic={"min": 5, "max": 6})
    site.waits(small, "insufficient")


def test_35_a_topology_that_cannot_fit_is_told(site: Site) -> None:
    topology = {"key": RACK, "mode": "Required"}
    key = site.submit("near", 2, "racks", topology=topology)
    site.phase(key, "Running")
    assert len({node[: len("rack-a")] for node in site.nodes(key)}) == 1
    selectors = sorted(pod["spec"]["nodeSelector"]["kubernetes.io/hostname"] for pod in site.pods(key))
    assert selectors == site.nodes(key)
    wide = site.submit("far", 3, "racks", topology=topology)
    assert "topology" in site.waits(wide, 'topology "racks" allows to fit only')


# ---------------------------------------------------------------------- taken back
def test_37_preempted_it_saves_and_goes_on_later(site: Site) -> None:
    low = site.submit("low", 4, priority="low", failurePolicy={"maxRestarts": 0})
    site.phase(low, "Running")
    progress = {"step": 50, "checkpointStep": 50, "checkpointTime": told_time(time.time())}
    site.client.patch(TRAINING_JOBS, low, {"status": {"progress": progress}}, subresource="status")
    high = site.submit("high", 2, priority="high")
    site.until(low, lambda: site.status(low).get("phase") == "Queued")
    site.phase(high, "Running")
    first = site.status(low)["attempts"][0]
    assert first["reason"] == "Preempted"
    site.waits(low, "insufficient unused quota")
    site.complete(high)
    site.until(low, lambda: site.status(low).get("phase") == "Running" and site.status(low)["attempt"] == 2)
    status = site.status(low)
    assert (status["restartsUncounted"], status.get("restartsCounted", 0)) == (1, 0)
    assert status["attempts"][1]["resumedFromStep"] == 50
    env = {one["name"]: one.get("value") for one in site.pods(low)[0]["spec"]["containers"][0]["env"]}
    assert env["MLP_RESUME_STEP"] == "50"
    assert site.workload_says(low, "Requeued")[0] == "True"


def test_41_half_of_the_ranks_done_evicted_and_resumed_all_of_them_run(site: Site) -> None:
    low = site.submit("half", 4, priority="low")
    site.phase(low, "Running")
    site.end_well(*site.pods(low)[:2])
    site.until(low, lambda: site.status(low)["groups"][0].get("succeeded") == 2)
    high = site.submit("over", 3, priority="high")
    site.phase(low, "Queued")
    site.phase(high, "Running")
    site.complete(high)
    site.until(low, lambda: site.status(low).get("phase") == "Running" and site.status(low)["attempt"] == 2)
    told = site.status(low)["groups"][0]
    assert (told["ready"], told.get("succeeded", 0), told.get("done", "")) == (4, 0, "")
    names = sorted(pod["metadata"]["name"] for pod in site.pods(low))
    assert names == [f"half-worker-a2-{rank}" for rank in range(4)]


def test_put_back_once_more_than_it_may_it_fails(site: Site) -> None:
    key = site.submit("patient", 2, limit=1)
    for attempt in (1, 2):
        site.until(key, lambda attempt=attempt: site.workload_says(key, "PodsReady")[0] == "True")
        assert site.status(key)["attempt"] == attempt
        _evict(site, key)
    site.phase(key, "Failed")
    status = site.status(key)
    assert status["reason"] == "RequeueLimitExceeded"
    assert status["message"].startswith("it was put back 2 times, queue.maxRequeues is 1; the last time: Preempted: ")
    assert (status["restartsUncounted"], site.pods(key)) == (2, [])
    site.until(key, lambda: site.workload_says(key, "Finished") == ("True", "Failed"))
    site.phase(site.submit("next", 4), "Running")


def _evict(site: Site, key: Key) -> None:
    """A more important job takes the place, and ends."""
    high = site.submit(f"pushes-{site.status(key)['attempt']}", 4, priority="high")
    site.phase(high, "Running")
    site.complete(high)


def test_a_workload_that_is_deleted_is_no_quota_any_more(site: Site) -> None:
    key = site.submit("deleted", 2)
    site.phase(key, "Running")
    before = site.workload(key)
    assert before is not None
    site.client.delete(WORKLOADS, Key(SPACE, before["metadata"]["name"]))
    site.until(key, lambda: site.status(key).get("attempt") == 2 and site.status(key).get("phase") == "Running")
    after = site.workload(key)
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert site.status(key)["attempts"][0]["reason"] == "WorkloadDeleted"


def test_a_queue_that_is_stopped_lets_its_jobs_save(site: Site) -> None:
    key = site.submit("held", 2)
    site.phase(key, "Running")
    site.client.patch(CLUSTER_QUEUES, Key("", "gpus"), {"spec": {"stopPolicy": "HoldAndDrain"}})
    try:
        site.until(key, lambda: site.status(key).get("phase") == "Queued" and not site.pods(key))
        assert site.status(key)["attempts"][0]["reason"] == "ClusterQueueStopped"
        site.waits(key, "ClusterQueue gpus is inactive")
    finally:
        site.client.patch(CLUSTER_QUEUES, Key("", "gpus"), {"spec": {"stopPolicy": "None"}})
    site.phase(key, "Running")


def test_deleted_in_the_foreground_it_leaves_nothing(site: Site) -> None:
    key = site.submit("foreground", 2)
    site.phase(key, "Running")
    path = f"{TRAINING_JOBS.path(SPACE)}/{key.name}"
    site.cluster.api.request("DELETE", path, {"propagationPolicy": "Foreground"})


def test_34_ranks_that_are_never_ready_go_back_and_are_given_up(site: Site) -> None:
    """Last: for it Kueue begins anew, with a short patience."""
    site.kueue.stop()
    again = {"timestamp": "Eviction", "backoffBaseSeconds": 1, "backoffLimitCount": 3, "backoffMaxSeconds": 60}
    site.kueue.start(waitForPodsReady={"timeout": "3s", "requeuingStrategy": again})
    try:
        # nodes of that name are not there: admitted, no rank ever finds a place
        key = site.submit("never", 2, topology={"key": "test/no-such-label"})
        site.until(key, lambda: "gave it up" in site.says(key, "QuotaReserved")[2] and not site.pods(key))
        attempts = site.status(key)["attempts"]
        reasons = [one["reason"] for one in attempts]
        assert reasons == [*["PodsReadyTimeout"] * 3, "DeactivatedDueToRequeuingLimitExceeded"]
        # Kueue's pauses double; beside them there is what stopping, being admitted and placed takes each time
        pauses = [_pause(one, other) for one, other in pairwise(attempts)]
        assert pauses[0] >= 1.0
        assert pauses[1] >= 2.0
        assert pauses[2] >= 4.0
        assert pauses[2] - pauses[0] >= 2.0
        assert site.status(key)["phase"] == "Queued"
        assert site.says(key, "QuotaReserved")[2] == (
            "queue gpus gave it up: The workload is deactivated due to exceeding the maximum number of re-queuing "
            "retries. Suspend the job and resume it to have it tried again."
        )
        site.change(key, suspend=True)
        site.until(key, lambda: site.workload(key) is None)
        site.change(key, suspend=False)
        site.until(key, lambda: site.status(key)["attempt"] == 5)
    finally:
        site.kueue.stop()
        site.kueue.start()


def _pause(attempt: Mapping[str, Any], following: Mapping[str, Any]) -> float:
    """Seconds from the end of an attempt to the beginning of the next."""
    ended, began = read_time(attempt["endTime"]), read_time(following["startTime"])
    assert ended is not None
    assert began is not None
    return began - ended
