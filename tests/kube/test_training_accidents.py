"""What goes wrong with training jobs on a real API server with a real scheduler: the condition says what and why, and
nothing is left behind. (A quota that is full, an image that is missing: ``test_training_behaviours``.)"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

from mlplatform.apis.names import PROGRESS_AUDIENCE
from mlplatform.controllers.trainingjob.desk import Desk
from mlplatform.controllers.trainingjob.endpoint import Endpoint
from mlplatform.kube.client import Client
from mlplatform.kube.objects import (
    CLAIMS,
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Key,
    Object,
    labels_of,
)
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import make_namespace
from tests.support.kube.faults import Recording
from tests.support.kube.platform import apply_crds
from tests.support.kube.scheduled import Site, ranks
from tests.support.kube.training import job

OURS = (PODS, SERVICES, CLAIMS, CONFIG_MAPS, SECRETS)


@pytest.fixture(scope="module")
def whole(api_server: Cluster) -> Generator[Site]:
    """Two machines with two accelerators each."""
    apply_crds(api_server)
    client = connect(str(api_server.kubeconfig))
    word = uuid.uuid4().hex[:6]
    made = Site(api_server, client, f"accidents-{word}", word)
    make_namespace(client, made.namespace)
    for number in range(2):
        made.node(f"host-{number}", "T4", gpus=2)
    made.await_nodes()
    operator = made.operator(made.namespace)
    try:
        yield made
    finally:
        client.delete(NAMESPACES, Key("", made.namespace))
        operator.stop(10)
        for name in made.nodes:
            client.delete(NODES, Key("", made.named(name)))
        client.transport.close()


@pytest.fixture
def site(whole: Site) -> Generator[Site]:
    """Nothing of a job is there any more when it was deleted."""
    yield whole
    jobs = [
        Key(whole.namespace, one["metadata"]["name"]) for one in whole.client.list(TRAINING_JOBS, whole.namespace).items
    ]
    for key in jobs:
        whole.client.delete(TRAINING_JOBS, key)
    end = time.monotonic() + 120
    while found := left(whole):
        assert time.monotonic() < end, found
        time.sleep(0.05)


def left(site: Site) -> list[str]:
    """What is there that is ours."""
    return [
        f"{kind.kind} {body['metadata']['name']}"
        for kind in OURS
        for body in site.client.list(kind, site.namespace).items
        if labels_of(body).get("app.kubernetes.io/managed-by") == "mlplatform"
    ]


def gpus(site: Site, replicas: int, count: int = 1, **more: Any) -> Object:
    return ranks(replicas, {"count": count, "products": [site.named("T4")]}, **more)


def test_a_claim_that_cannot_bind_is_told(site: Site) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "none",
    }
    checkpoint = {"scope": "Rank", "claimSpec": claim, "whenDeleted": "Delete"}
    key = site.submit(job(gpus(site, 2), checkpoint=checkpoint))
    words = site.told(key, "unbound immediate PersistentVolumeClaims")
    assert words.startswith("no place for worker-0, worker-1: ")
    assert (site.status(key)["phase"], site.places(key)) == ("Starting", ["", ""])


def test_ranks_that_share_a_claim_of_one_node_and_do_not_fit_there_are_told(site: Site) -> None:
    size, modes = {"storage": "1Mi"}, ["ReadWriteOnce"]
    volume = site.named("one-node")
    bound = {"namespace": site.namespace, "name": "job-checkpoint"}
    spec = {"capacity": size, "accessModes": modes, "storageClassName": "static", "claimRef": bound}
    spec |= {"hostPath": {"path": "/nowhere"}, "persistentVolumeReclaimPolicy": "Retain"}
    body: Object = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": spec}
    site.cluster.api.create("/api/v1/persistentvolumes", body)
    claim = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": "static"}
    try:
        checkpoint = {"scope": "Job", "claimSpec": claim, "whenDeleted": "Delete"}
        key = site.submit(job(gpus(site, 2, count=2), checkpoint=checkpoint))
        words = site.told(key, "didn't match pod affinity rules")
        assert "all ranks have to be on one node: they share a claim without ReadWriteMany" in words
        [placed] = [one for one in site.status(key)["conditions"] if one["type"] == "Placed"]
        assert placed["reason"] == "StorageInvalid"
        assert len([place for place in site.places(key) if place]) == 1
        assert site.status(key)["phase"] == "Starting"
    finally:
        site.cluster.api.delete(f"/api/v1/persistentvolumes/{volume}")


def test_a_claim_that_is_not_there_is_told(site: Site) -> None:
    key = site.submit(job(gpus(site, 1), checkpoint={"claimName": "nobodys"}))
    assert 'persistentvolumeclaim "nobodys" not found' in site.told(key, "nobodys")


def test_one_rank_without_a_place_takes_the_others_back(site: Site) -> None:
    key = site.submit(job(gpus(site, 3, count=2), gang={"mode": "Own", "scheduleTimeoutSeconds": 60}))
    words = site.told(key, "Insufficient nvidia.com/gpu")
    assert words.startswith("no place for worker-")
    site.wait(key, lambda: len([place for place in site.places(key) if place]) == 2)
    assert site.status(key)["phase"] == "Starting"
    site.later(61)
    site.wait(key, lambda: site.status(key).get("phase") == "Queued" and site.pods(key) == [])
    [placed] = [one for one in site.status(key)["conditions"] if one["type"] == "Placed"]
    assert (placed["status"], placed["reason"]) == ("False", "ScheduleTimeout")
    assert "Insufficient nvidia.com/gpu" in placed["message"]
    # what it gave back is others'
    other = site.submit(job(gpus(site, 2, count=2), name="other"))
    assert site.running(other) == ["host-0", "host-1"]


def test_a_node_that_ranks_fail_on_is_avoided(site: Site) -> None:
    rules = [{"action": "RestartAvoidNode", "exitCodes": {"values": [9]}}]
    key = site.submit(job(gpus(site, 1), failurePolicy={"rules": rules, "backoffSeconds": 0}))
    [first] = site.running(key)
    _end(site, site.pods(key)[0], 9)
    site.wait(key, lambda: site.status(key).get("attempt") == 2)
    [second] = site.running(key)
    assert {first, second} == {"host-0", "host-1"}
    assert site.status(key)["attempts"][0]["action"] == "RestartAvoidNode"
    _end(site, site.pods(key)[0], 9)
    words = site.told(key, "didn't match Pod's node affinity/selector")
    assert words.startswith("no place for worker-0")


def test_a_local_claim_keeps_its_rank_on_a_node_to_avoid_until_it_may_go(site: Site) -> None:
    with local_volumes(site) as storage:
        claim = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": storage,
        }
        checkpoint = {"scope": "Rank", "claimSpec": claim, "whenDeleted": "Delete"}
        rules = [{"action": "RestartAvoidNode", "exitCodes": {"values": [9]}}]
        failures = {"rules": rules, "backoffSeconds": 0}
        key = site.submit(job(gpus(site, 1), checkpoint=checkpoint, failurePolicy=failures))
        [first] = site.running(key)
        other = ({"host-0", "host-1"} - {first}).pop()
        volume = _volume(site)
        assert volume == site.named(first)

        _end(site, site.pods(key)[0], 9)
        site.wait(key, lambda: site.status(key).get("attempt") == 2)
        assert site.running(key) == [first]
        words = f"rank 0 of worker stays on {volume}, which is to be avoided: its claim job-worker-0 is there alone."
        assert _pinned(site, key)["message"].startswith(words)

        notes = {"metadata": {"annotations": {"training.mlplatform.dev/give-up": "job-worker-0"}}}
        site.client.patch(TRAINING_JOBS, key, notes)
        site.wait(key, lambda: "It is given up" in _pinned(site, key)["message"])
        _end(site, site.pods(key)[0], 9)
        site.wait(key, lambda: site.status(key).get("attempt") == 3)
        assert site.running(key) == [other]
        assert _volume(site) == site.named(other)
        site.wait(key, lambda: _pinned(site, key)["status"] == "False")
        # what it held is there still, for whoever looks after the node
        left = site.cluster.api.get(f"/api/v1/persistentvolumes/{volume}")
        assert left["status"]["phase"] == "Released"
        site.remove(key)


def _pinned(site: Site, key: Key) -> Object:
    found = [one for one in site.status(key).get("conditions", ()) if one["type"] == "PinnedToNode"]
    return found[0] if found else {"status": "", "message": ""}


def _volume(site: Site) -> str:
    claim = site.client.get(CLAIMS, Key(site.namespace, "job-worker-0"))
    return str(claim["spec"].get("volumeName") or "")


@contextmanager
def local_volumes(site: Site) -> Generator[str]:
    """A volume of each node's own, called like the node; the class they are of."""
    name = site.named("local")
    classes, volumes = "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/persistentvolumes"
    first = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    site.cluster.api.create(classes, {"metadata": {"name": name}, **first})
    for node in (site.named("host-0"), site.named("host-1")):
        need = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        spec = {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": "/nowhere"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [need]}]}},
        }
        site.cluster.api.create(volumes, {"metadata": {"name": node}, "spec": spec})
    try:
        yield name
    finally:
        for node in (site.named("host-0"), site.named("host-1")):
            site.cluster.api.delete(f"{volumes}/{node}")
        site.cluster.api.delete(f"{classes}/{name}")


def _end(site: Site, pod: Object, code: int = 0) -> None:
    [container] = pod["status"]["containerStatuses"]
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
    status = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{**container, "ready": False, "state": state}],
    }
    key = Key(site.namespace, pod["metadata"]["name"])
    site.client.patch(PODS, key, {"status": status}, subresource="status")


def test_one_that_is_deleted_by_its_age_is_not_the_next_of_its_name(site: Site) -> None:
    """Its time to live is over at once, again and again, while others of its name are made."""
    for _ in range(4):
        body = job(gpus(site, 2), runPolicy={"ttlSecondsAfterFinished": 0})
        body["spec"]["groups"][0]["template"]["metadata"] = {}
        key = site.submit(body)
        uid = site.client.get(TRAINING_JOBS, key)["metadata"]["uid"]
        end = time.monotonic() + 120
        while any(one["metadata"]["uid"] == uid for one in site.client.list(TRAINING_JOBS, site.namespace).items):
            assert time.monotonic() < end
            time.sleep(0.02)
    last = site.submit(job(gpus(site, 2)))
    assert len(site.running(last)) == 2
    assert site.status(last)["attempt"] == 1


# ---------------------------------------------------------------------- reports of progress
def _token(site: Site, pod: Object) -> str:
    """What a kubelet gives a rank."""
    meta = pod["metadata"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    spec = {"audiences": [PROGRESS_AUDIENCE], "boundObjectRef": bound, "expirationSeconds": 600}
    path = f"/api/v1/namespaces/{site.namespace}/serviceaccounts/default/token"
    return site.cluster.api.create(
        path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    )["status"]["token"]


def test_progress_that_is_a_lie_or_a_flood_changes_nothing(site: Site) -> None:
    key = site.submit(job(gpus(site, 2)))
    other = site.submit(job(gpus(site, 1), name="other"))
    site.running(key)
    site.running(other)
    recording = Recording(site.client.transport)
    endpoint = Endpoint(Desk(Client(recording), site.operators[0].loops[0].caches.get), "127.0.0.1", 0)
    endpoint.start()
    try:
        mine, theirs = (_token(site, site.pods(one)[0]) for one in (key, other))

        def say(token: str, body: Any, name: str = "job") -> tuple[int, Object]:
            connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=30)
            path = f"/api/training/{site.namespace}/{name}/progress"
            text = body if isinstance(body, str) else json.dumps(body)
            connection.request("POST", path, text, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, json.loads(read or b"{}")

        assert say(mine, {"step": 5, "progressPercentage": 50})[0] == 200
        endpoint.desk.flush(all_of_it=True)
        before = site.status(key)["progress"]
        assert (before["step"], before["percent"]) == (5, 50)
        lies = [
            (mine, {"step": 6, "progressPercentage": 101}, "job", 422),
            (mine, {"step": -1}, "job", 422),
            (mine, "not json", "job", 400),
            (mine, {"step": 6}, "other", 403),
            (theirs, {"step": 6}, "job", 403),
            ("forged", {"step": 6}, "job", 401),
            ("", {"step": 6}, "job", 401),
        ]
        time.sleep(1)
        assert [say(*one[:3])[0] for one in lies] == [one[3] for one in lies]
        with ThreadPoolExecutor(8) as pool:
            answers = [status for status, _ in pool.map(say, [mine] * 200, [{"step": step} for step in range(10, 210)])]
        assert answers.count(200) <= 40
        assert answers.count(429) + answers.count(503) + answers.count(422) >= 150
        endpoint.desk.flush(all_of_it=True)
        writes = [one for one in recording.used if one[0] == "patch"]
        assert {resource for _, resource in writes} == {"trainingjobs.training.mlplatform.dev/status"}
        assert site.status(other).get("progress") is None
        assert site.status(key)["phase"] == "Running"
    finally:
        endpoint.stop()
