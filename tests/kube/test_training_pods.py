"""TrainingJobs on a real cluster: real pods that find each other, fail, start again, save and go on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlplatform.apis.crd import crds
from mlplatform.apis.objects import training_job
from mlplatform.cli.manifests import root
from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.http import HttpTransport
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.transport import connect, target
from mlplatform.planning.training.facts import Ledger, RankKey, Stage, Start
from mlplatform.render.training import objects
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.pod import rank_pod
from tests.cluster.cluster import Cluster
from tests.support.images import archive
from tests.support.kube.training import group, job

Object = dict[str, Any]
IMAGE = "mlplatform-training/busybox:1"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.training.mlplatform.dev"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}


def _with_kinds(cluster: Cluster) -> None:
    cluster.api.apply(CRD, crds()["training.mlplatform.dev_trainingjobs.yaml"])
    cluster.api.wait(
        CRD, lambda crd: any(c["type"] == "Established" for c in (crd.get("status") or {}).get("conditions") or ())
    )


def _as_operator(cluster: Cluster, name: str) -> Client:
    """Somebody with the rights of operators/trainingjob/rights.yaml, and no others."""
    body = next(yaml.safe_load_all((root() / "trainingjob" / "rights.yaml").read_text(encoding="utf-8")))
    role = f"training-{name}"
    cluster.api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", body | {"metadata": {"name": role}})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}
    binding = {"metadata": {"name": role}, "roleRef": reference, "subjects": [subject]}
    cluster.api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    known = target(str(cluster.kubeconfig))
    return Client(HttpTransport(lambda: replace(known, headers={"Impersonate-User": role})))


@pytest.fixture
def submit(cluster: Cluster, namespace: str) -> Generator[Callable[[Object], str]]:
    """Submits a job and gives its path; an operator for the namespace runs meanwhile."""
    _with_kinds(cluster)
    cluster.push(IMAGE, archive("busybox"))
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", label)
    client = _as_operator(cluster, namespace)
    parts = Parts(client, Recorder(client, "training", "training-test"), Metrics(), width=4)
    operator = Manager(client, parts, [TrainingJobs()], Settings(namespace=namespace))
    operator.start(60)
    path = f"/apis/training.mlplatform.dev/v1alpha1/namespaces/{namespace}/trainingjobs"

    def create(body: Object) -> str:
        body["metadata"]["namespace"] = namespace
        body["spec"].setdefault("preemption", {"gracePeriodSeconds": 5})
        cluster.api.create(path, body)
        return f"{path}/{body['metadata']['name']}"

    yield create
    for item in cluster.api.get(path)["items"]:
        cluster.api.delete(f"{path}/{item['metadata']['name']}")
    cluster.api.wait(f"/api/v1/namespaces/{namespace}/pods", lambda pods: not pods["items"])
    operator.stop(10)
    client.transport.close()
    for kind in ("clusterrolebindings", "clusterroles"):
        cluster.api.delete(f"/apis/rbac.authorization.k8s.io/v1/{kind}/training-{namespace}")


def script(text: str, replicas: int = 2, **more: Any) -> Object:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", text]}
    return group(replicas=replicas, **more) | {"template": {"spec": {"containers": [container]}}}


def phase(*words: str) -> Callable[[Object], bool]:
    return lambda body: (body.get("status") or {}).get("phase") in words


def logs(cluster: Cluster, namespace: str, pod: str) -> str:
    return cluster.api.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log").decode()


def test_ranks_find_each_other_and_complete(cluster: Cluster, namespace: str, submit: Callable[[Object], str]) -> None:
    other = f"job-worker-a1-1.job-ranks.{namespace}.svc.cluster.local"
    text = f'until nslookup {other} >/dev/null 2>&1; do sleep 0.2; done; echo "$RANK $WORLD_SIZE $MASTER_ADDR"'
    done = cluster.api.wait(submit(job(script(text))), phase("Complete", "Failed"))
    assert done["status"]["phase"] == "Complete", done["status"]
    assert logs(cluster, namespace, "job-worker-a1-1") == "1 2 job-worker-a1-0.job-ranks\n"
    assert done["status"]["groups"][0]["succeeded"] == 2
    pods = cluster.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert [pod["metadata"].get("finalizers") for pod in pods] == [None, None]


def test_a_failed_rank_starts_again_with_its_own_data(
    cluster: Cluster, namespace: str, submit: Callable[[Object], str]
) -> None:
    text = (
        "echo $MLP_ATTEMPT >> $MLP_CHECKPOINT_DIR/seen; cat $MLP_CHECKPOINT_DIR/seen; "
        "[ $MLP_ATTEMPT = 2 ] || exit $RANK"
    )
    body = job(
        script(text),
        checkpoint={"scope": "Rank", "claimSpec": CLAIM, "whenDeleted": "Delete"},
        failurePolicy={"backoffSeconds": 0},
    )
    done = cluster.api.wait(submit(body), phase("Complete", "Failed"))
    status = done["status"]
    assert (status["phase"], status["attempt"], status["restartsCounted"]) == ("Complete", 2, 1)
    first = status["attempts"][0]
    assert (first["rank"], first["exitCode"], first["node"]) == (1, 1, cluster.node)
    assert logs(cluster, namespace, "job-worker-a2-1") == "1\n2\n"


def test_suspended_it_saves_and_resumed_it_goes_on(
    cluster: Cluster, namespace: str, submit: Callable[[Object], str]
) -> None:
    text = (
        "if [ -f $MLP_CHECKPOINT_DIR/saved ]; then exit 0; fi; "
        "trap 'touch $MLP_CHECKPOINT_DIR/saved; exit 75' TERM; while true; do sleep 0.1; done"
    )
    path = submit(job(script(text, 1), checkpoint={"claimSpec": CLAIM, "whenDeleted": "Delete"}))
    cluster.api.wait(path, phase("Running"))
    cluster.api.patch(path, {"spec": {"suspend": True}})
    cluster.api.wait(path, phase("Suspended"))
    assert cluster.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"] == []
    cluster.api.patch(path, {"spec": {"suspend": False}})
    status = cluster.api.wait(path, phase("Complete", "Failed"))["status"]
    assert (status["phase"], status["attempt"], status.get("restartsCounted", 0)) == ("Complete", 2, 0)


def test_a_running_rank_that_is_deleted_restarts_the_gang_once(
    cluster: Cluster, namespace: str, submit: Callable[[Object], str]
) -> None:
    text = 'trap "exit 0" TERM; [ $MLP_ATTEMPT = 2 ] && exit 0; while true; do sleep 0.1; done'
    path = submit(job(script(text), failurePolicy={"maxRestarts": 0, "backoffSeconds": 0}))
    cluster.api.wait(path, phase("Running"))
    cluster.api.delete(f"/api/v1/namespaces/{namespace}/pods/job-worker-a1-1")
    status = cluster.api.wait(path, phase("Complete", "Failed"))["status"]
    assert (status["phase"], status["attempt"], status["restartsUncounted"]) == ("Complete", 2, 1)
    assert status["attempts"][0]["reason"] == "Deleted"


def test_what_cannot_run_says_why(cluster: Cluster, namespace: str, submit: Callable[[Object], str]) -> None:
    body = job(script("true", 1))
    body["spec"]["groups"][0]["template"]["spec"]["hostNetwork"] = True
    path = submit(body)

    def told(seen: Object) -> bool:
        conditions = (seen.get("status") or {}).get("conditions", ())
        return any(one["type"] == "Placed" and "PodSecurity" in one.get("message", "") for one in conditions)

    assert phase("Starting")(cluster.api.wait(path, told))


# ---------------------------------------------------------------------- what the API server thinks of the objects
FRAMEWORKS: dict[str, Object] = {
    "torch": job(
        group(
            accelerator={"count": 8, "products": ["NVIDIA-A100-SXM4-80GB"], "minMemoryMiB": 80000},
            topology={"key": "topology.kubernetes.io/zone", "exclusive": True},
        )
    ),
    "torch elastic": job(group(elastic={"min": 1, "max": 4})),
    "mig": job(group(accelerator={"resourceName": "nvidia.com/mig-1g.10gb", "count": 1})),
    "dra": job(
        group(
            accelerator={
                "via": "DRA",
                "deviceClassName": "gpu.nvidia.com",
                "count": 2,
                "selector": "device.driver == 'gpu.nvidia.com'",
            }
        )
    ),
    "jax": job(group(), framework="jax", checkpoint={"scope": "Job", "claimSpec": CLAIM}),
    "mpi": job(group("launcher", 1, role="launcher"), group(), framework="mpi"),
    "ray": job(group("head", 1, role="head"), group(), framework="ray"),
    "python": job(group(), framework="python", checkpoint={"scope": "Rank", "claimSpec": CLAIM}),
}


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_the_api_server_takes_every_object(api_server: Cluster, namespace: str, name: str) -> None:
    body = FRAMEWORKS[name] | {"metadata": {"name": "job", "namespace": namespace, "uid": "u-1"}}
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    api_server.api.patch(f"/api/v1/namespaces/{namespace}", label)
    read = training_job(body)
    ledger = Ledger(Stage.PLACING, 0.0, 0.0, attempt=1, attempts_of={one.name: 1 for one in read.spec.groups})
    settings = TrainingSettings(progress="https://mlplatform.mlplatform-system.svc")
    starts = [
        Start(RankKey(one.name, rank, 1), 5, ("node-7",)) for one in read.spec.groups for rank in range(one.replicas)
    ]
    made = [
        objects.service(read),
        *objects.claims(read),
        *objects.devices(read),
        *objects.hosts(read, ledger),
        *([objects.keys(read, "a", "b", "c")] if objects.needs_keys(read) else []),
        *[rank_pod(read, start, ledger, settings) for start in starts],
    ]
    for one in made:
        where = f"/apis/{one['apiVersion']}" if "/" in one["apiVersion"] else "/api/v1"
        plural = f"{one['kind'].lower()}s"
        dry = f"{where}/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict"
        assert api_server.api.create(dry, one)["metadata"]["name"] == one["metadata"]["name"]


def test_claims_on_devices_are_known(api_server: Cluster) -> None:
    client: Client = connect(str(api_server.kubeconfig))
    assert client.read("/apis/resource.k8s.io/v1")["kind"] == "APIResourceList"
    client.transport.close()
