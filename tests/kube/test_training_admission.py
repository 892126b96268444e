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


def _cases() -> list[Any]:
    if not CASES_FILE.is_file():
        reason = f"the shared admission cases are not at {CASES_FILE}"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
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
    "straggler rules": (job(failurePolicy={"rules": [{"action": "Restart", "reasons": ["Straggler"]}]}), "reasons"),
    "a native pod group": (job(gang={"mode": "PodGroup"}), "mode"),
    "a rule with nothing to fit": (job(failurePolicy={"rules": [{"action": "Fail", "reasons": []}]}), "reasons"),
    "a fourth head": (job(framework="ray", groups=[group("h", role="head", replicas=4)]), "exactly one head"),
    "no group": (job(groups=[]), "groups"),
    "two of a name": (job(groups=[group("a"), group("a")]), "Duplicate value"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_object_is_refused_and_told_why(api_server: Cluster, jobs: str, name: str) -> None:
    body, words = HOSTILE[name]
    assert words in verdict(api_server.api, jobs, body)


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
    body = job(groups=[{"name": "w"}])
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
