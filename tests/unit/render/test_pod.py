"""A task as a pod: what of the document gets there, and what a pod never has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlplatform.apis.pipelinerun import EnvVar, PipelineRun, PipelineRunSpec, Store
from mlplatform.core.errors import InvalidParameters, PlanningError
from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.values import ParameterType
from mlplatform.ir.kubernetes import (
    ConfigMapAsVolume,
    EmptyDirMount,
    FieldPathAsEnv,
    GenericEphemeralVolume,
    InitContainer,
    KeyToEnv,
    KubernetesConfig,
    NodeAffinityTerm,
    NodeSelector,
    PodAffinityTerm,
    PodMetadata,
    PodResourceClaim,
    PvcMount,
    SecretAsEnv,
    SecretAsVolume,
    SecurityContext,
    SelectorRequirement,
    SharedMemory,
    Toleration,
)
from mlplatform.ir.model import (
    Accelerator,
    ArtifactType,
    Component,
    ContainerExecutor,
    Dag,
    OutputArtifactSpec,
    OutputDefinitions,
    OutputParameterSpec,
    ParameterSource,
    Pipeline,
    Resources,
)
from mlplatform.planning.model import StartTask
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.templates import RunContext
from mlplatform.render.places import run_store
from mlplatform.render.pod import task_pod
from mlplatform.render.request import Asked
from mlplatform.render.settings import PodSettings

RUN = PipelineRun("run-a", "team", "0123abcd-uid", spec=PipelineRunSpec(store=Store(uri="s3://bucket/root/")))
EXECUTOR = ContainerExecutor(
    "alpine:3",
    command=("sh", "-c", "echo {{$.inputs.parameters['word']}} $HOME > {{$.outputs.artifacts['data'].path}}"),
    args=("{{$.outputs.artifacts['data'].uri}}", "{{$.inputs.artifacts['source'].path}}"),
    env={"PRICE": "5$(X)"},
)
COMPONENT = Component(
    outputs=OutputDefinitions(
        parameters={"count": OutputParameterSpec(ParameterType.NUMBER_INTEGER)},
        artifacts={"data": OutputArtifactSpec(ArtifactType("system.Dataset"))},
    )
)
INPUTS = Values({"word": "$(HOME) 'x'"}, {"source": Artifact("source", "s3://bucket/root/team/x/1/source", digest="d")})


class Driver:
    """A run whose parameters are found and whose tasks are not."""

    def __init__(self) -> None:
        self.run = self
        self.run_id = "u"
        self.parameters: dict[str, Any] = {"zone": {"disk": "ssd"}, "secret": "token"}
        self.pipeline = Pipeline("p", Component(dag=Dag({})), {}, {})
        self.ledger = self

    def get(self, key: TaskKey) -> None:
        return None


def constant(value: Any) -> ParameterSource:
    return ParameterSource(constant=value, has_constant=True)


NOTHING = KubernetesConfig()


def made(config: KubernetesConfig = NOTHING, run: PipelineRun = RUN, **executor: Any) -> Any:
    start = StartTask(TaskKey(("train",)), 1, "comp", "exec", INPUTS)
    context = RunContext("u", "p-u", "s3://bucket/root", "train", "train")
    asked = Asked(start, COMPONENT, replace(EXECUTOR, **executor), context, run_store(run))
    values = SourceValues(Driver(), start.key, start.inputs)
    return task_pod(run, asked, config, values, PodSettings(launcher_image="launcher:1"))


def request_of(pod: Any) -> Any:
    env = {entry["name"]: entry for entry in pod["spec"]["containers"][0]["env"]}
    return json.loads(env["MLPLATFORM_REQUEST"]["value"].replace("$$", "$"))


def test_the_same_every_time() -> None:
    assert made() == made()


def test_who_it_is() -> None:
    meta = made().pod["metadata"]
    assert meta["name"].startswith("run-a-")
    assert meta["finalizers"] == ["pipelines.mlplatform.dev/result"]
    assert meta["labels"]["pipelines.mlplatform.dev/run"] == "run-a"
    assert json.loads(meta["annotations"]["pipelines.mlplatform.dev/task-key"]) == [["train"], []]


def test_a_restricted_pod() -> None:
    spec = made().pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsUser"] == 1000
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    paths = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert {"/tmp", "/s3", "/gcs", "/minio", "/oci", "/var/run/mlplatform/work"} <= paths


def test_what_the_launcher_is_told() -> None:
    told = request_of(made().pod)
    here = "/var/run/mlplatform/work"
    uri = "s3://bucket/root/team/run-a-0123abcd/"
    assert told["kind"] == "command"
    assert told["command"][2] == f"echo $(HOME) 'x' $HOME > {here}/outputs/artifacts/data"
    assert told["command"][3].startswith(uri)
    assert told["command"][3].endswith("/1/data")
    assert told["command"][4] == told["fetch"]["s3://bucket/root/team/x/1/source"]
    assert told["outputs"]["parameters"] == {
        "count": {"path": f"{here}/outputs/parameters/count", "type": "NUMBER_INTEGER"}
    }
    assert told["outputs"]["artifacts"]["data"]["type"] == "system.Dataset"


def test_kubernetes_expands_nothing_in_values() -> None:
    env = {entry["name"]: entry.get("value") for entry in made().pod["spec"]["containers"][0]["env"]}
    assert env["PRICE"] == "5$$(X)"


def test_a_large_request_travels_in_an_object() -> None:
    found = made(args=("x" * 40_000,))
    assert found.request["immutable"] is True
    assert found.request["metadata"]["name"] == found.pod["metadata"]["name"]
    assert json.loads(found.request["data"]["request.json"])["command"][3] == "x" * 40_000
    names = {entry["name"] for entry in found.pod["spec"]["containers"][0]["env"]}
    assert "MLPLATFORM_REQUEST_FILE" in names
    assert "MLPLATFORM_REQUEST" not in names
    with pytest.raises(PlanningError, match="more than the 900 KiB"):
        made(args=("x" * 1_000_000,))


def test_a_shared_claim_is_written_directly() -> None:
    run = replace(RUN, spec=PipelineRunSpec(store=Store(claim_name="data", sub_path="/deep/")))
    pod = made(run=run).pod
    entry = request_of(pod)["outputs"]["artifacts"]["data"]
    assert entry["uri"].startswith("pvc://data/deep/team/run-a-0123abcd/")
    assert entry["path"] == entry["uri"].replace("pvc://data/deep", "/var/run/mlplatform/store")
    mount = next(m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "mlplatform-store")
    assert (mount["mountPath"], mount["subPath"]) == ("/var/run/mlplatform/store", "deep")


def test_root_is_refused() -> None:
    with pytest.raises(InvalidParameters) as raised:
        made(KubernetesConfig(security_context=SecurityContext(run_as_user=0)))
    assert raised.value.findings[0].code == "root"


def test_later_variables_win() -> None:
    run = replace(RUN, spec=replace(RUN.spec, env=(EnvVar("A", "run"), EnvVar("PRICE", "run"))))
    config = KubernetesConfig(secrets_as_env=(SecretAsEnv(constant("s"), (KeyToEnv("k", "A"),)),))
    entries = {entry["name"]: entry for entry in made(config, run).pod["spec"]["containers"][0]["env"]}
    assert entries["A"] == {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert entries["PRICE"]["value"] == "5$$(X)"
    assert request_of(made(config, run).pod)["secret_env"] == ["A"]


def test_every_field_of_kfp_kubernetes() -> None:
    requirement = SelectorRequirement("zone", "In", ("a", "b"))
    config = KubernetesConfig(
        secrets_as_volume=(SecretAsVolume(ParameterSource(runtime_parameter="secret"), "/keys", optional=True),),
        config_maps_as_volume=(ConfigMapAsVolume(constant("cm"), "/conf"),),
        pvc_mounts=(PvcMount(constant("data"), "/data", "sub"), PvcMount(constant("data"), "/more")),
        node_selector=NodeSelector(json=ParameterSource(runtime_parameter="zone")),
        pod_metadata=PodMetadata({"team": "x"}, {"note": "y"}),
        image_pull_secrets=(constant("login"),),
        image_pull_policy="Always",
        active_deadline=60,
        field_paths_as_env=(FieldPathAsEnv("POD", "metadata.name"),),
        tolerations=(Toleration("gpu", "Exists", effect="NoExecute", seconds=5),),
        ephemeral_volumes=(GenericEphemeralVolume("scratch", "/scratch", size="1Gi", storage_class_name="fast"),),
        node_affinity=(
            NodeAffinityTerm(match_expressions=(requirement,)),
            NodeAffinityTerm(match_fields=(requirement,), weight=7),
        ),
        pod_affinity=(PodAffinityTerm(match_pod_labels={"app": "x"}, topology_key="zone", anti=True, weight=3),),
        shared_memory=SharedMemory(size="64Mi"),
        empty_dirs=(EmptyDirMount("cache", "/cache", "Memory", "10Mi"),),
        security_context=SecurityContext(run_as_user=12, run_as_group=34),
        init_containers=(InitContainer("prepare", "busybox", ("true",), env={"A": "b"}),),
        resource_claims=(PodResourceClaim("gpu-template"),),
    )
    pod = made(config).pod
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in main["volumeMounts"]}
    assert volumes["secret-0"]["secret"] == {"secretName": "token", "optional": True}
    assert mounts["/keys"]["readOnly"] is True
    assert volumes["config-map-0"]["configMap"] == {"name": "cm"}
    assert mounts["/data"] == {"name": "claim-0", "mountPath": "/data", "subPath": "sub"}
    assert mounts["/more"]["name"] == "claim-0"
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert pod["metadata"]["labels"]["team"] == "x"
    assert pod["metadata"]["annotations"]["note"] == "y"
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert main["imagePullPolicy"] == "Always"
    assert spec["activeDeadlineSeconds"] == 60
    assert {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in main["env"]
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    template = volumes["scratch"]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert template["storageClassName"] == "fast"
    assert template["resources"]["requests"]["storage"] == "1Gi"
    node = spec["affinity"]["nodeAffinity"]
    wanted = {"key": "zone", "operator": "In", "values": ["a", "b"]}
    required = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert required == [{"matchExpressions": [wanted]}]
    assert node["preferredDuringSchedulingIgnoredDuringExecution"] == [
        {"weight": 7, "preference": {"matchFields": [wanted]}}
    ]
    anti = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert anti == {
        "weight": 3,
        "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}},
    }
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert mounts["/dev/shm"]["name"] == "shm"
    assert volumes["cache"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "10Mi"}
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (12, 34)
    assert [container["name"] for container in spec["initContainers"]] == ["launcher", "prepare"]
    assert spec["resourceClaims"] == [{"name": "claim-0", "resourceClaimTemplateName": "gpu-template"}]
    assert main["resources"]["claims"] == [{"name": "claim-0"}]


@pytest.mark.parametrize(
    "path", ["/var/run/mlplatform", "/var/run/mlplatform/work", "/var", "relative", "/", "/a/../b"]
)
def test_nothing_takes_the_launchers_place(path: str) -> None:
    with pytest.raises(PlanningError):
        made(KubernetesConfig(empty_dirs=(EmptyDirMount("v", path),)))


def test_resources_and_gpus() -> None:
    asked = Resources("1", "2", "1Gi", "2Gi", Accelerator("NVIDIA_TESLA_K80", "2"))
    spec = made(resources=asked).pod["spec"]
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "2"},
    }
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    keys = {term["matchExpressions"][0]["key"]: term["matchExpressions"][0]["values"] for term in terms}
    assert keys["cloud.google.com/gke-accelerator"] == ["nvidia-tesla-k80"]
    assert "Tesla-K80" in keys["nvidia.com/gpu.product"]
    plain = made(resources=Resources(accelerator=Accelerator("nvidia.com/gpu", "1"))).pod["spec"]
    assert plain["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert "affinity" not in plain
