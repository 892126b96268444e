"""The operator's rights (operators/trainingjob/rights.yaml) are what it uses: each verb, and none else."""

from __future__ import annotations

import yaml

from mlplatform.cli.manifests import root
from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS, WORKLOADS
from mlplatform.kube.objects import Key, Object
from tests.support.kube.faults import Recording
from tests.support.kube.training import KEY, TrainingCluster, group, job

Rights = set[tuple[str, str]]
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

#: Used by no request of this test: clusters that guard what owner references block ask for the first, the server for
#: the second where a Service that is applied is not there, and events that repeat need the third.
NOT_SEEN = {
    ("update", "trainingjobs.training.mlplatform.dev/finalizers"),
    ("create", "services"),
    ("patch", "events.events.k8s.io"),
    ("create", "tokenreviews.authentication.k8s.io"),  # asked where ranks report (test_desk.py)
}


def held() -> Rights:
    found: Rights = set()
    for body in yaml.safe_load_all((root() / "trainingjob" / "rights.yaml").read_text(encoding="utf-8")):
        for rule in body.get("rules") or ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            for of in rule["apiGroups"]:
                for name in rule["resources"]:
                    plural, _, part = name.partition("/")
                    resource = (f"{plural}.{of}" if of else plural) + (f"/{part}" if part else "")
                    found |= {(verb, resource) for verb in rule["verbs"]}
    return found


def played(body: Object) -> Rights:
    """A whole life: a failure, an end, its time to live."""
    cluster = TrainingCluster()
    recording = Recording(cluster.fake)
    cluster.operator = cluster.new_operator(recording)
    cluster.submit(body)
    cluster.end("worker", 0, 1)
    cluster.run()
    cluster.run(60)
    cluster.end_all()
    cluster.run()
    cluster.run(60)
    assert cluster.client.list(TRAINING_JOBS).items == []
    return recording.used


def test_it_uses_what_it_may_and_may_what_it_uses() -> None:
    ends = {"runPolicy": {"ttlSecondsAfterFinished": 60}}
    storage = {"claimSpec": CLAIM, "whenFinished": "Delete"}
    device = {"via": "DRA", "deviceClassName": "gpu.example", "count": 1}
    used = played(job(group("launcher", 1, role="launcher"), group(), framework="mpi", **ends))
    used |= played(job(group(accelerator=device), checkpoint=storage, **ends))
    used |= _leftovers()
    used |= _queued()
    may = held()
    assert used - may == set()
    # An operator that looks once more and again, as here, has no watches; and nobody else makes the same things.
    unused = {(verb, name) for verb, name in may - used if verb not in ("watch", "get")}
    assert unused == {right for right in NOT_SEEN if right in unused}


def _queued() -> Rights:
    """A job in a queue, admitted, evicted and deleted."""
    cluster = TrainingCluster(kueue=True)
    recording = Recording(cluster.fake)
    cluster.operator = cluster.new_operator(recording)
    cluster.submit(job(queue={"name": "gpus"}))
    for evicted in ("False", "True"):
        told = {"QuotaReserved": "True", "Admitted": "True", "Evicted": evicted}
        conditions = [{"type": kind, "status": status, "reason": "Preempted"} for kind, status in told.items()]
        [body] = cluster.client.list(WORKLOADS, "default").items
        key = Key("default", body["metadata"]["name"])
        status = {"status": {"admission": {}, "conditions": conditions}}
        cluster.client.patch(WORKLOADS, key, status, subresource="status")
        cluster.run()
    cluster.change(suspend=True)
    assert cluster.client.list(WORKLOADS, "default").items == []
    return recording.used


def _leftovers() -> Rights:
    """A job that is deleted while it runs."""
    cluster = TrainingCluster()
    recording = Recording(cluster.fake)
    cluster.operator = cluster.new_operator(recording)
    cluster.submit(job())
    cluster.client.delete(TRAINING_JOBS, KEY)
    cluster.run()
    assert cluster.pods() == []
    return recording.used
