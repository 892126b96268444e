"""A rank's pod: its place, its environment, its rights."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.apis.objects import training_job
from mlplatform.planning.training.facts import Ledger, RankKey, Stage, Start
from mlplatform.render.training.environment import TrainingSettings, hostfile
from mlplatform.render.training.names import base36, pod_name
from mlplatform.render.training.objects import claims, devices
from mlplatform.render.training.pod import rank_pod
from tests.support.kube.training import group, job

Object = dict[str, Any]


def rendered(body: Object, key: RankKey, settings: TrainingSettings | None = None, **start: Any) -> Object:
    read = training_job(body | {"metadata": {"name": "job", "namespace": "team", "uid": "u-1"}})
    attempts = {one.name: key.attempt for one in read.spec.groups}
    ledger = Ledger(Stage.PLACING, 0.0, 0.0, attempt=key.attempt, attempts_of=attempts)
    return rank_pod(read, Start(key, **start), ledger, settings or TrainingSettings())


def env(pod: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"] if "value" in one}


def nodes(pod: Object) -> list[Object]:
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return required["nodeSelectorTerms"]


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1, "1"), (35, "z"), (36, "10"), (46655, "zzz")])
def test_base_36(number: int, text: str) -> None:
    assert base36(number) == text


def test_the_longest_name_fits_a_host_name() -> None:
    assert len(pod_name("j" * 40, RankKey("g" * 12, 4999, 46655))) == 63


def test_a_pod_is_named_and_found_by_its_attempt() -> None:
    pod = rendered(job(), RankKey("worker", 1, 40))
    assert pod["metadata"]["name"] == pod["spec"]["hostname"] == "job-worker-a14-1"
    assert pod["spec"]["subdomain"] == "job-ranks"
    assert pod["spec"]["restartPolicy"] == "Never"


def test_torch_of_a_fixed_size() -> None:
    table = env(rendered(job(group(replicas=3, procsPerReplica=4)), RankKey("worker", 2, 5), resume_from=70))
    assert {name: table[name] for name in table if name.startswith("PET_")} == {
        "PET_NPROC_PER_NODE": "4",
        "PET_NNODES": "3",
        "PET_NODE_RANK": "2",
        "PET_MASTER_ADDR": "job-worker-a5-0.job-ranks",
        "PET_MASTER_PORT": "29500",
    }
    assert (table["RANK"], table["WORLD_SIZE"], table["MASTER_ADDR"]) == ("2", "3", "job-worker-a5-0.job-ranks")
    assert (table["MLP_JOB"], table["MLP_RANK"], table["MLP_ATTEMPT"]) == ("job", "2", "5")
    assert (table["MLP_RESUME_FROM"], table["MLP_CHECKPOINT_DIR"]) == ("70", "/mlplatform/checkpoint")


def test_torch_elastic() -> None:
    table = env(rendered(job(group(elastic={"min": 1, "max": 4})), RankKey("worker", 0, 2)))
    assert {name: table[name] for name in table if name.startswith("PET_")} == {
        "PET_NPROC_PER_NODE": "1",
        "PET_NNODES": "1:4",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_CONF": "last_call_timeout=10",
        "PET_RDZV_ENDPOINT": "job-worker-a2-0.job-ranks:29500",
        "PET_RDZV_ID": "u-1-a2",
        "PET_MAX_RESTARTS": "3",
    }


def test_jax() -> None:
    table = env(rendered(job(framework="jax"), RankKey("worker", 1, 1)))
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    assert [table[name] for name in names] == ["job-worker-a1-0.job-ranks:1234", "2", "1"]


def test_ray_workers_join_the_head_with_its_token() -> None:
    body = job(group("head", 1, role="head"), group(), framework="ray")
    pod = rendered(body, RankKey("worker", 0, 1))
    assert (env(pod)["RAY_ADDRESS"], env(pod)["RAY_AUTH_MODE"]) == ("job-head-a1-0.job-ranks:6379", "token")
    assert (env(pod)["RAY_USAGE_STATS_ENABLED"], env(pod)["MLP_RAY_NODES"]) == ("0", "3")
    token = next(one for one in pod["spec"]["containers"][0]["env"] if one["name"] == "RAY_AUTH_TOKEN")
    assert token["valueFrom"] == {"secretKeyRef": {"name": "job-keys", "key": "ray-token"}}
    assert {"name": "mlplatform-shm", "emptyDir": {"medium": "Memory"}} in pod["spec"]["volumes"]


def test_mpi_workers_wait_for_the_launcher() -> None:
    worker = {"name": "worker", "replicas": 2, "template": {"spec": {"containers": [{"name": "m", "image": "x"}]}}}
    body = job(group("launcher", 1, role="launcher"), worker, framework="mpi")
    pod = rendered(body, RankKey("worker", 0, 1))
    [container] = pod["spec"]["containers"]
    assert "/usr/sbin/sshd -D -e -f /etc/mpi/sshd_config" in container["command"][2]
    assert {"name": "mlplatform-environment", "mountPath": "/var/run/mlplatform/environment"} in container[
        "volumeMounts"
    ]
    assert "OMPI_MCA_plm_rsh_args" not in env(pod)
    launcher = rendered(body, RankKey("launcher", 0, 1))
    assert env(launcher)["OMPI_MCA_orte_default_hostfile"] == "/etc/mpi/hostfile"
    # told to end, it leaves its workers the time to save
    [container] = launcher["spec"]["containers"]
    assert container["lifecycle"] == {"preStop": {"exec": {"command": ["/bin/sh", "-c", "exec sleep 115"]}}}


def test_mpi_workers_that_have_a_command_of_their_own_run_it() -> None:
    own = {"name": "m", "image": "x", "command": ["/run"], "lifecycle": {"postStart": {}}}
    worker = {"name": "worker", "replicas": 2, "template": {"spec": {"containers": [own]}}}
    launcher = group("launcher", 1, role="launcher")
    launcher["template"] = {"spec": {"containers": [own]}}
    body = job(worker, launcher, framework="mpi")
    assert rendered(body, RankKey("worker", 0, 1))["spec"]["containers"][0]["command"] == ["/run"]
    assert rendered(body, RankKey("launcher", 0, 1))["spec"]["containers"][0]["lifecycle"] == {"postStart": {}}


def test_what_mpirun_runs_finds_the_library_in_the_workers() -> None:
    worker = {"name": "worker", "replicas": 2, "template": {"spec": {"containers": [{"name": "m", "image": "x"}]}}}
    launcher = group("launcher", 1, role="launcher")
    launcher["template"] = {"spec": {"containers": [{"name": "m", "command": ["mpirun", "sh", "-c", "$MLP_LIBRARY"]}]}}
    body = job(worker, launcher, framework="mpi")
    for key in (RankKey("worker", 0, 1), RankKey("launcher", 0, 1)):
        pod = rendered(body, key, TrainingSettings(launcher_image="launcher:1"))
        assert env(pod)["MLP_LIBRARY"] == "/var/run/mlplatform/library"


def test_mpi_finds_its_workers_by_their_names() -> None:
    worker = {"name": "worker", "replicas": 2, "template": {"spec": {"containers": [{"name": "m", "image": "x"}]}}}
    body = job(worker, group("launcher", 1, role="launcher"), framework="mpi")
    read = training_job(body | {"metadata": {"name": "job", "namespace": "team"}})
    ledger = Ledger(Stage.PLACING, 0.0, 0.0, attempts_of={"worker": 37})
    assert hostfile(read, ledger).splitlines()[0] == "job-worker-a11-0.job-ranks.team.svc slots=1"


# ---------------------------------------------------------------------- where it runs
def test_products_and_memory_hold_together_with_what_the_user_asks_for() -> None:
    asked = {"count": 2, "products": ["A100", "H100"], "minMemoryMiB": 40000}
    body = job(group(accelerator=asked))
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    rack = {"key": "rack", "operator": "Exists"}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [zone]}, {"matchExpressions": [rack]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    body["spec"]["groups"][0]["template"]["spec"]["affinity"] = affinity
    pod = rendered(body, RankKey("worker", 0, 1), avoid_nodes=("b", "a"))
    ours = [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100", "H100"]},
        {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["39999"]},
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["a", "b"]},
    ]
    assert nodes(pod) == [{"matchExpressions": [zone, *ours]}, {"matchExpressions": [rack, *ours]}]
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert pod["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert env(pod)["PET_NPROC_PER_NODE"] == "2"


def test_a_part_of_a_gpu_stands_the_taint_of_gpus() -> None:
    asked = {"resourceName": "nvidia.com/mig-1g.10gb"}
    spec = rendered(job(group(accelerator=asked)), RankKey("worker", 0, 1))["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_devices_by_claim() -> None:
    asked = {"via": "DRA", "deviceClassName": "gpu.example", "count": 2, "selector": "true"}
    body = job(group(accelerator=asked))
    spec = rendered(body, RankKey("worker", 0, 1))["spec"]
    assert spec["resourceClaims"] == [{"name": "devices", "resourceClaimTemplateName": "job-worker-devices"}]
    assert spec["containers"][0]["resources"] == {"claims": [{"name": "devices"}]}
    template = devices(training_job(body))[0]
    request = template["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    assert (request["deviceClassName"], request["count"]) == ("gpu.example", 2)


@pytest.mark.parametrize("mode", ["Required", "Preferred"])
def test_topology(mode: str) -> None:
    body = job(group(topology={"key": "rack", "mode": mode, "exclusive": True}))
    affinity = rendered(body, RankKey("worker", 0, 1))["spec"]["affinity"]
    own = {"training.mlplatform.dev/job": "job", "training.mlplatform.dev/group": "worker"}
    term = {"topologyKey": "rack", "labelSelector": {"matchLabels": own}}
    if mode == "Required":
        assert affinity["podAffinity"] == {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    else:
        wanted = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
        assert affinity["podAffinity"] == wanted
    anti = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert anti["labelSelector"]["matchExpressions"][1]["operator"] == "NotIn"


# ---------------------------------------------------------------------- storage
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("checkpoint", "claim", "together"),
    [
        ({"claimName": "mine"}, "mine", False),
        ({"claimSpec": CLAIM}, "job-checkpoint", True),
        ({"claimSpec": CLAIM | {"accessModes": ["ReadWriteMany"]}}, "job-checkpoint", False),
        ({"scope": "Rank", "claimSpec": CLAIM}, "job-worker-1", False),
    ],
)
def test_claims_and_the_node_that_they_bind(checkpoint: Object, claim: str, together: bool) -> None:
    pod = rendered(job(checkpoint=checkpoint), RankKey("worker", 1, 3))
    spec = pod["spec"]
    assert env(pod)["MLP_CHECKPOINT_CLAIM"] == claim
    volume = next(one for one in spec["volumes"] if one["name"] == "mlplatform-checkpoint")
    assert volume["persistentVolumeClaim"] == {"claimName": claim}
    assert ("affinity" in spec) is together


def test_why_it_failed_is_left_where_the_kubelet_reads_it() -> None:
    pod = rendered(job(), RankKey("worker", 0, 1))
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    table = env(pod)
    assert (table["MLP_LAST_WORD"], "MLP_SECRET_NAMES" in table) == ("/dev/termination-log", False)
    body = job()
    secret = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "its", "key": "t"}}}
    own = {"terminationMessagePath": "/why", "terminationMessagePolicy": "File", "env": [secret]}
    body["spec"]["groups"][0]["template"]["spec"]["containers"][0] |= own
    pod = rendered(body, RankKey("worker", 0, 1))
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
    table = env(pod)
    assert (table["MLP_LAST_WORD"], table["MLP_SECRET_NAMES"]) == ("/why", "TOKEN")


def test_claims_that_outlive_the_job_are_nobodys() -> None:
    kept = claims(training_job(job(checkpoint={"claimSpec": CLAIM})))[0]
    gone = claims(training_job(job(checkpoint={"claimSpec": CLAIM, "whenDeleted": "Delete"})))[0]
    assert kept["metadata"]["ownerReferences"] == []
    assert "ownerReferences" not in gone["metadata"]


# ---------------------------------------------------------------------- rights
def test_it_has_no_more_rights_than_it_needs() -> None:
    spec = rendered(job(), RankKey("worker", 0, 1))["spec"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 1000)
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False


def test_a_template_may_say_otherwise() -> None:
    body = job()
    body["spec"]["groups"][0]["template"]["spec"]["securityContext"] = {"runAsUser": 0}
    assert rendered(body, RankKey("worker", 0, 1))["spec"]["securityContext"]["runAsNonRoot"] is False


def test_an_empty_template_is_one_container() -> None:
    body = job({"name": "worker", "template": {}})
    pod = rendered(body, RankKey("worker", 0, 1), TrainingSettings(default_image="train:1"))
    assert [(one["name"], one["image"]) for one in pod["spec"]["containers"]] == [("main", "train:1")]


def test_a_token_for_progress_only_where_there_is_a_server() -> None:
    settings = TrainingSettings(progress="https://mlplatform")
    pod = rendered(job(), RankKey("worker", 0, 1), settings)
    assert env(pod)["MLP_PROGRESS_URL"] == "https://mlplatform/api/training/team/job/progress"
    assert any(one["name"] == "mlplatform-token" for one in pod["spec"]["volumes"])
    assert "MLP_PROGRESS_URL" not in env(rendered(job(), RankKey("worker", 0, 1)))


# ---------------------------------------------------------------------- what the platform brings
def test_the_library_comes_to_those_who_ask_for_it() -> None:
    settings = TrainingSettings(launcher_image="localhost/launcher:1")
    assert "initContainers" not in rendered(job(), RankKey("worker", 0, 1), settings)["spec"]
    body = job()
    container = body["spec"]["groups"][0]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "PYTHONPATH", "value": "/app:$(MLP_LIBRARY)"}]
    assert "initContainers" not in rendered(body, RankKey("worker", 0, 1))["spec"], "nobody brings it"
    spec = rendered(body, RankKey("worker", 0, 1), settings)["spec"]
    (brings,) = spec["initContainers"]
    folder = "/var/run/mlplatform/library"
    assert (brings["image"], brings["command"][1:]) == ("localhost/launcher:1", ["library", folder])
    assert brings["securityContext"]["allowPrivilegeEscalation"] is False
    names = [one["name"] for one in spec["containers"][0]["env"]]
    assert names.index("MLP_LIBRARY") < names.index("PYTHONPATH"), "a variable refers to those before it only"
    mount = {"name": "mlplatform-library", "mountPath": folder, "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]


def test_a_rank_has_a_token_for_each_that_it_speaks_to() -> None:
    settings = TrainingSettings(progress="http://operator:8081", server="http://server:8787")
    pod = rendered(job(), RankKey("worker", 0, 1), settings)
    volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "mlplatform-token")
    tokens = [one["serviceAccountToken"] for one in volume["projected"]["sources"]]
    assert [(one["audience"], one["path"]) for one in tokens] == [
        ("progress.training.mlplatform.dev", "token"),
        ("mlplatform", "server"),
    ]
    assert env(pod)["MLP_SERVER_TOKEN_FILE"] == "/var/run/mlplatform/token/server"
    own = job(tracking={"mlflowTrackingUri": "http://mine"})
    table = env(rendered(own, RankKey("worker", 0, 1), settings))
    assert ("MLPLATFORM_SERVER" in table, table["MLFLOW_TRACKING_URI"]) == (False, "http://mine")


def test_a_rank_knows_how_it_saves() -> None:
    body = job(checkpoint={"scope": "Rank", "claimSpec": CLAIM, "keep": 7})
    table = env(rendered(body, RankKey("worker", 0, 1)))
    names = ("MLP_FRAMEWORK", "MLP_CHECKPOINT_SCOPE", "MLP_CHECKPOINT_KEEP")
    assert [table[name] for name in names] == ["torch", "Rank", "7"]
