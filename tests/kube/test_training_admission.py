"""Which TrainingJobs the real API server takes: the shared cases, and objects that a first draft of the API took.

``MLPLATFORM_TRAININGJOB`` names the folder with the shared cases; without it, ``shared/design/trainingjob`` beside the
checkout is looked for.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplatform.apis.crd import crds
from tests.cluster.api import Refused
from tests.cluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("MLPLATFORM_TRAININGJOB") or ROOT.parent / "shared" / "design" / "trainingjob")
CASES_FILE = FOLDER / "admission-cases.json"
CRD = "training.mlplatform.dev_trainingjobs.yaml"
Object = dict[str, Any]


BESIDE = pytest.mark.cannot_run_here("the design is kept beside this repository, not in it")


def _cases() -> list[Any]:
    if not CASES_FILE.is_file():
        reason = f"the shared admission cases are not at {CASES_FILE}"
        marks = (pytest.mark.skip(reason=reason), BESIDE)
        return [pytest.param(None, marks=marks, id="none")]
    return [pytest.param(case, id=case["name"]) for case in json.loads(CASES_FILE.read_text(encoding="utf-8"))]


def job(**spec: Any) -> Object:
    image = {"spec": {"containers": [{"name": "main", "image": "localhost/train:1"}]}}
    spec.setdefault("framework", "torch")
    spec.setdefault("groups", [{"name": "worker", "replicas": 2, "template": image}])
    return {
        "apiVersion": "training.mlplatform.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "t"},
        "spec": spec,
    }


def group(name: str = "worker", **more: Any) -> Object:
    return {
        "name": name,
        "template": {"spec": {"containers": [{"name": "main", "image": "localhost/train:1"}]}},
        **more,
    }


@pytest.fixture(scope="module")
def jobs(api_server: Cluster) -> str:
    """The path of the jobs in a namespace of this module."""
    base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    path = f"{base}/trainingjobs.training.mlplatform.dev"
    api_server.api.apply(path, crds()[CRD])
    api_server.api.wait(
        path,
        lambda crd: any(
            c["type"] == "Established" and c["status"] == "True"
            for c in (crd.get("status") or {}).get("conditions") or ()
        ),
    )
    try:
        api_server.api.create("/api/v1/namespaces", {"metadata": {"name": "admission"}})
    except Refused as error:
        if error.status != 409:
            raise
    found = "/apis/training.mlplatform.dev/v1alpha1/namespaces/admission/trainingjobs"
    api_server.api.wait(found, lambda _: True)
    return found


def _told(error: Refused) -> str:
    if error.status != 422:
        raise error
    return error.body["message"]


def verdict(api: Any, path: str, body: Object, before: Object | None = None) -> str:
    """What the API server says: empty, or why it refuses."""
    if before is None:
        try:
            api.create(f"{path}?dryRun=All", body)
        except Refused as error:
            return _told(error)
        return ""
    name = before["metadata"]["name"]
    made = api.create(path, before)
    try:
        after = copy.deepcopy(body)
        after["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        api.request("PUT", f"{path}/{name}?dryRun=All", after)
    except Refused as error:
        return _told(error)
    finally:
        api.delete(f"{path}/{name}")
    return ""


@pytest.mark.parametrize("case", _cases())
def test_a_shared_case(api_server: Cluster, jobs: str, case: Object) -> None:
    said = verdict(api_server.api, jobs, case["object"], case.get("update_from"))
    assert (said == "") is case["accept"], said


# ---------------------------------------------------------------------- hostile objects
def _with_env(name: str) -> Object:
    body = job()
    body["spec"]["groups"][0]["template"]["spec"]["containers"][0]["env"] = [{"name": name, "value": "x"}]
    return body


def _cycle() -> Object:
    return job(groups=[group("a", dependsOn=[{"group": "b"}]), group("b", dependsOn=[{"group": "a"}])])


def _pod(**spec: Any) -> Object:
    return job(groups=[{"name": "worker", "template": {"spec": {"containers": [{"name": "m"}], **spec}}}])


def _named(**metadata: Any) -> Object:
    return {**job(), "metadata": {"name": "t", **metadata}}


def _chain(count: int) -> Object:
    names = [f"g{number}" for number in range(count)]
    needs: list[list[Object]] = [[], *([{"group": name, "status": "Ready"}] for name in names)]
    return job(groups=[group(name, dependsOn=needs[at]) for at, name in enumerate(names)])


FAR = 2**63 - 1
TWELVE = "a23456789012"
HOSTILE: dict[str, tuple[Object, str]] = {
    "a cycle of dependsOn": (_cycle(), "earlier groups only"),
    "dependsOn a later group": (
        job(groups=[group("a", dependsOn=[{"group": "b"}]), group("b")]),
        "earlier groups only",
    ),
    "scope Rank without claimSpec": (job(checkpoint={"scope": "Rank"}), "scope Rank needs claimSpec"),
    "containers that are no list": (job(groups=[{"name": "w", "template": {"spec": {"containers": "x"}}}]), "array"),
    "a container without a name": (_pod(containers=[{"image": "x"}]), "name"),
    "a reserved variable of torch": (_with_env("PET_NNODES"), "env[0].name"),
    "a reserved variable of ours": (_with_env("MLP_RANK"), "env[0].name"),
    "a reserved variable of MPI": (_with_env("OMPI_MCA_plm_rsh_args"), "env[0].name"),
    "a restart policy of one's own": (_pod(restartPolicy="Always"), "restartPolicy can only be Never"),
    "a host name of one's own": (_pod(hostname="other-job-worker-a1-0"), "hostname and subdomain"),
    "past the scheduler": (_pod(nodeName="node-1"), "nodeName"),
    "a colon in the mount path": (job(checkpoint={"mountPath": "/a:b"}), "mountPath"),
    "in-place restarts": (job(failurePolicy={"rules": [{"action": "InPlace", "reasons": ["Hung"]}]}), "action"),
    "a rule that fits nothing": (job(failurePolicy={"rules": [{"action": "Fail", "reasons": []}]}), "needs exitCodes"),
    "a fourth head": (job(framework="ray", groups=[group("h", role="head", replicas=4)]), "exactly one head"),
    "a backend that is not done yet": (
        job(framework="ray", backend="kuberay", groups=[group("head", role="head")]),
        "leave backend out",
    ),
    "a backend that nobody knows": (job(backend="slurm"), "backend"),
    "no group": (job(groups=[]), "groups"),
    "no template": (job(groups=[{"name": "w"}]), "groups[0].template"),
    "a dash at the end": (_named(name="a-"), "RFC 1035"),
    "a dot in the name": (_named(name="a.b"), "RFC 1035"),
    "a generated name that is too long": (
        {**job(), "metadata": {"generateName": "a" * 37}},
        "at most 40 characters",
    ),
    "a group in capitals": (job(groups=[group("Worker")]), "groups[0].name"),
    "a group's name with a dash at its end": (job(groups=[group("w-")]), "groups[0].name"),
    "a group of thirteen letters": (job(groups=[group(TWELVE + "3")]), "groups[0].name"),
    "a group without a name": (job(groups=[{"template": {}}]), "groups[0].name"),
    "dependsOn nobody": (job(groups=[group(dependsOn=[{"group": "ghost"}])]), "earlier groups only"),
    "dependsOn six": (job(groups=[group("a"), group("b", dependsOn=[{"group": "a"}] * 6)]), "at most 5"),
    "a cycle of three": (
        job(groups=[group(one, dependsOn=[{"group": other}]) for one, other in ("ac", "ba", "cb")]),
        "earlier groups only",
    ),
    "elastic python": (job(framework="python", groups=[group(elastic={"min": 1, "max": 2})]), "elastic needs"),
    "elastic that is larger": (job(groups=[group(replicas=3, elastic={"min": 1, "max": 2})]), "elastic.min"),
    "elastic that is smaller": (job(groups=[group(replicas=1, elastic={"min": 2, "max": 3})]), "elastic.min"),
    "elastic down to nothing": (job(groups=[group(elastic={"min": 0, "max": 3})]), "elastic.min"),
    "an elastic launcher": (
        job(framework="mpi", groups=[group("l", role="launcher", elastic={"min": 1, "max": 2})]),
        "elastic needs",
    ),
    "mpi whose launcher is for later": (job(framework="mpi", groups=[group("l", role="launcher", replicas=0)]), "mpi"),
    "rank by rank in jax": (job(framework="jax", failurePolicy={"restartScope": "Pod"}), "restartScope Pod"),
    "two kinds of claims": (job(checkpoint={"claimName": "a", "claimSpec": {}}), "exclude each other"),
    "a claim of each rank's own in a store": (job(checkpoint={"scope": "Rank", "uri": "s3://b"}), "needs claimSpec"),
    "devices of no class": (job(groups=[group(accelerator={"via": "DRA", "selector": "true"})]), "deviceClassName"),
    "an exit code for all": (
        job(failurePolicy={"rules": [{"action": "Fail", "exitCodes": {"values": []}}]}),
        "exitCodes.values",
    ),
    "an exit code twice": (
        job(failurePolicy={"rules": [{"action": "Fail", "exitCodes": {"values": [1, 1]}}]}),
        "Duplicate value",
    ),
    "a deadline before the beginning": (job(runPolicy={"activeDeadlineSeconds": 0}), "activeDeadlineSeconds"),
    "gone before the end": (job(runPolicy={"ttlSecondsAfterFinished": -1}), "ttlSecondsAfterFinished"),
    "success of a ghost beside one that is there": (
        job(successPolicy={"groups": ["worker", "ghost"]}),
        "successPolicy names an unknown group",
    ),
    "a variable of the platform's in what comes before": (
        _pod(initContainers=[{"name": "i", "env": [{"name": "MLP_ATTEMPT", "value": "9"}]}]),
        "env[0].name",
    ),
    "and in a sidecar": (
        _pod(containers=[{"name": "m"}, {"name": "s", "env": [{"name": "RAY_AUTH_MODE", "value": "disabled"}]}]),
        "env[0].name",
    ),
    "a variable of the platform's from a secret": (
        _pod(containers=[{"name": "m", "env": [{"name": "WORLD_SIZE", "valueFrom": {"secretKeyRef": {}}}]}]),
        "env[0].name",
    ),
    "containers of a debugger": (_pod(ephemeralContainers=[{"name": "e", "image": "x"}]), "ephemeralContainers"),
    "eleven containers": (_pod(containers=[{"name": f"c{number}"} for number in range(11)]), "containers"),
    "no spec": ({**job(), "spec": None}, "spec"),
    "two launchers": (
        job(framework="mpi", groups=[group("l", role="launcher", replicas=1), group("m", role="launcher", replicas=3)]),
        "exactly one launcher",
    ),
    "two heads": (
        job(framework="ray", groups=[group("h", role="head", replicas=1), group("i", role="head", replicas=0)]),
        "exactly one head",
    ),
    "two of a name": (job(groups=[group("a"), group("a")]), "Duplicate value"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_object_is_refused_and_told_why(api_server: Cluster, jobs: str, name: str) -> None:
    body, words = HOSTILE[name]
    assert words in verdict(api_server.api, jobs, body)


#: As strange as they look, nothing is wrong with them.
TAKEN: dict[str, Object] = {
    "one letter": _named(name="a"),
    "dashes inside": _named(name="a--b-9"),
    "forty, with twelve a group, of five thousand": {
        **job(groups=[group(TWELVE, replicas=5000)]),
        "metadata": {"name": "a" * 40},
    },
    "eight groups in a row": _chain(8),
    "a chain that is named twice": job(
        groups=[group("a"), group("b", dependsOn=[{"group": "a"}, {"group": "a", "status": "Ready"}])]
    ),
    "labels of ours, finalizers and owners of theirs": _named(
        labels={"training.mlplatform.dev/job": "other", "app.kubernetes.io/managed-by": "mlplatform"},
        annotations={"training.mlplatform.dev/resume-from": "9" * 6000},
        finalizers=["example.com/mine"],
        ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}],
    ),
    "elastic with no room": job(groups=[group(replicas=3, elastic={"min": 3, "max": 3})]),
    "no rank at all": job(groups=[group(replicas=0)]),
    "ray with workers that come and go": job(
        framework="ray",
        groups=[group("head", role="head"), group(replicas=2, elastic={"min": 1, "max": 9})],
        failurePolicy={"restartScope": "Pod"},
    ),
    "mpi with a launcher alone": job(framework="mpi", groups=[group("l", role="launcher")]),
    "python, rank by rank": job(framework="python", failurePolicy={"restartScope": "Pod"}, gang={"mode": "None"}),
    "a head where none is needed": job(groups=[group(), group("h", role="head")]),
    "deadlines past the end of the world": job(
        runPolicy=dict.fromkeys(("activeDeadlineSeconds", "pendingDeadlineSeconds", "ttlSecondsAfterFinished"), FAR),
        health={"startupTimeoutSeconds": FAR, "progressTimeoutSeconds": FAR},
        gang={"scheduleTimeoutSeconds": FAR},
    ),
    "made of pods": job(backend="pods"),
    "gone at once": job(runPolicy={"ttlSecondsAfterFinished": 0}, failurePolicy={"maxRestarts": 0}),
    "a part of a GPU": job(groups=[group(accelerator={"resourceName": "nvidia.com/mig-1g.10gb", "count": 64})]),
    "no GPU after all": job(groups=[group(accelerator={"count": 0, "products": ["NVIDIA-A100-SXM4-80GB"]})]),
    "devices by claims": job(
        groups=[group(accelerator={"via": "DRA", "deviceClassName": "gpu", "selector": "device.driver == 'ü'"})]
    ),
    "near to each other, somewhere": job(groups=[group(topology={"mode": "Preferred", "exclusive": True})]),
    "checkpoints in a store": job(checkpoint={"uri": "s3://bucket/ünï"}),
    "a claim for each rank": job(checkpoint={"scope": "Rank", "claimSpec": {"accessModes": ["ReadWriteOncePod"]}}),
    "somebody else's": job(managedBy="kueue.x-k8s.io/multikueue"),
    "a rule for all that is not listed": job(
        failurePolicy={"rules": [{"action": "Fail", "exitCodes": {"operator": "NotIn", "values": [1, 255]}}]}
    ),
    "a rule that is given an empty list beside": job(
        failurePolicy={"rules": [{"action": "Fail", "reasons": [], "podConditions": ["Mine"]}]}
    ),
    "sidecars, variables from elsewhere, a volume of each kind": _pod(
        containers=[{"name": "m", "image": "x", "envFrom": [{"configMapRef": {"name": "c"}}]}, {"name": "s"}],
        initContainers=[{"name": "proxy", "image": "y", "restartPolicy": "Always"}],
        volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
    ),
    "what the namespace's policy judges": _pod(hostNetwork=True, securityContext={"runAsUser": 0}, hostIPC=True),
    "words of every alphabet": _pod(containers=[{"name": "m", "args": ["日本語", "\U0001f600", "\u202e"]}]),
    "a megabyte of arguments": _pod(containers=[{"name": "m", "args": ["a" * 131072] * 8}]),
    "all that is not done yet": job(
        gang={"mode": "PodGroup"},
        groups=[group(spares=64)],
        failurePolicy={"restartMode": "InPlace", "rules": [{"action": "Restart", "reasons": ["Straggler"]}]},
        health={"stragglerFactorPercent": 300},
    ),
}


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_strange_object_is_taken(api_server: Cluster, jobs: str, name: str) -> None:
    assert verdict(api_server.api, jobs, TAKEN[name]) == ""


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "MY_RANK", "RANKED", "NCCL_DEBUG", "mlp_rank"])
def test_other_variables_are_the_users_own(api_server: Cluster, jobs: str, name: str) -> None:
    assert verdict(api_server.api, jobs, _with_env(name)) == ""


def _elastic_added(spec: Object) -> None:
    spec["groups"][0] |= {"elastic": {"min": 1, "max": 4}, "replicas": 3}


def _image(spec: Object) -> None:
    spec["groups"][0]["template"]["spec"]["containers"][0]["image"] = "localhost/other:1"


def _command(spec: Object) -> None:
    spec["groups"][0]["template"]["spec"]["containers"][0]["command"] = ["sh"]


def _where(spec: Object) -> None:
    spec["groups"][0]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}


def _user(spec: Object) -> None:
    spec["groups"][0]["template"]["spec"]["serviceAccountName"] = "admin"


def _put(**more: Any) -> Callable[[Object], None]:
    def change(spec: Object) -> None:
        spec |= more

    return change


def _in_group(**more: Any) -> Callable[[Object], None]:
    def change(spec: Object) -> None:
        spec["groups"][0] |= more

    return change


#: The change, and whether it is taken while the job runs and while it is suspended.
CHANGES: dict[str, tuple[Callable[[Object], None], bool, bool]] = {
    "elastic added to change replicas": (_elastic_added, False, True),
    "checkpoint": (_put(checkpoint={"claimName": "other"}), False, False),
    "accelerator": (_in_group(accelerator={"count": 8}), False, False),
    "role": (_in_group(role="evaluator"), False, False),
    "queue": (_put(queue={"name": "big", "preemptible": False}), False, True),
    "run of MLflow": (_put(tracking={"runId": "abc"}), False, False),
    "topology": (_in_group(topology={"key": "rack"}), False, False),
    "processes": (_in_group(procsPerReplica=4), False, False),
    "restart scope": (_put(failurePolicy={"restartScope": "Group"}), False, True),
    "image": (_image, False, False),
    "command": (_command, False, False),
    "service account": (_user, False, False),
    "where it may run": (_where, False, True),
    "restarts that are allowed": (_put(failurePolicy={"maxRestarts": 9}), True, True),
    "deadline": (_put(runPolicy={"activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 5}), True, True),
    "health": (_put(health={"progressTimeoutSeconds": 60}), True, True),
    "success": (_put(successPolicy={"rank0Only": True}), False, False),
    "suspend": (_put(suspend=True), True, True),
}


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change(api_server: Cluster, jobs: str, name: str, suspended: bool) -> None:
    change, running_takes, suspended_takes = CHANGES[name]
    before = job(suspend=suspended)
    after = copy.deepcopy(before)
    change(after["spec"])
    said = verdict(api_server.api, jobs, after, before)
    assert (said == "") is (suspended_takes if suspended else running_takes), said


def test_defaults_are_filled_in(api_server: Cluster, jobs: str) -> None:
    body = job(groups=[{"name": "w", "template": {}}])
    made = api_server.api.create(f"{jobs}?dryRun=All", body)["spec"]
    assert made["groups"] == [
        {"name": "w", "replicas": 1, "role": "worker", "template": {"metadata": {}, "spec": {}}},
    ]
    assert made["failurePolicy"]["maxRestarts"] == 3
    assert made["managedBy"] == "training.mlplatform.dev/controller"


def test_jobs_are_found_by_framework(api_server: Cluster, jobs: str) -> None:
    api_server.api.create(jobs, job(suspend=True))
    try:
        found = [
            len(api_server.api.get(f"{jobs}?fieldSelector=spec.framework%3D{word}")["items"])
            for word in ("torch", "jax")
        ]
    finally:
        api_server.api.delete(f"{jobs}/t")
    assert found == [1, 0]
