"""The platforms document, typed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir import kubernetes as k8s
from mlplatform.ir.load import loads
from mlplatform.ir.model import ParameterSource, Pipeline
from mlplatform.ir.platform import all_configs, kubernetes_config, pipeline_config, sources, workspace_config
from mlplatform.ir.reading import snake


def constant(value: Any) -> ParameterSource:
    return ParameterSource(constant=value, has_constant=True)


def by_input(name: str) -> ParameterSource:
    return ParameterSource(component_input=name)


MAPPINGS = [{"secretKey": "user", "envVar": "USER_NAME"}]
EVERYTHING: dict[str, Any] = {
    "secretAsVolume": [{"secretName": "s", "mountPath": "/s", "optional": True}],
    "secretAsEnv": [
        {"secretName": "old", "secretNameParameter": {"componentInputParameter": "s"}, "keyToEnv": MAPPINGS}
    ],
    "configMapAsVolume": [{"configMapNameParameter": {"runtimeValue": {"constant": "c"}}, "mountPath": "/c"}],
    "configMapAsEnv": [{"configMapName": "c", "keyToEnv": [{"configMapKey": "k", "envVar": "K"}], "optional": False}],
    "pvcMount": [
        {"constant": "claim", "mountPath": "/a", "subPath": "x/y"},
        {"componentInputParameter": "claim", "mountPath": "/b"},
        {"taskOutputParameter": {"producerTask": "t", "outputParameterKey": "name"}, "mountPath": "/c"},
        {"pvcNameParameter": {"componentInputParameter": "p"}, "componentInputParameter": "p", "mountPath": "/d"},
    ],
    "nodeSelector": {"labels": {"disk": "ssd"}, "nodeSelectorJson": {"componentInputParameter": "selector"}},
    "podMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "imagePullSecret": [{"secretName": "pull"}],
    "imagePullPolicy": "Always",
    "activeDeadlineSeconds": "60",
    "fieldPathAsEnv": [{"name": "POD", "fieldPath": "metadata.name"}],
    "tolerations": [
        {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule", "tolerationSeconds": "10"},
        {"tolerationJson": {"runtimeValue": {"constant": {"key": "z"}}}},
    ],
    "genericEphemeralVolume": [
        {
            "volumeName": "v",
            "mountPath": "/v",
            "accessModes": ["ReadWriteOnce"],
            "size": "5Gi",
            "defaultStorageClass": True,
            "metadata": {"annotations": {"x": "y"}},
        }
    ],
    "nodeAffinity": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}], "weight": 5},
        {"nodeAffinityJson": {"componentInputParameter": "affinity"}},
    ],
    "podAffinity": [{"matchPodLabels": {"app": "db"}, "topologyKey": "host", "namespaces": ["n"], "anti": True}],
    "enabledSharedMemory": {"volumeName": "shm", "size": "1Gi"},
    "emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/t", "medium": "Memory", "sizeLimit": "1Gi"}],
    "securityContext": {"runAsUser": "1000", "runAsGroup": 0, "runAsNonRoot": True},
    "initContainers": [
        {
            "name": "side",
            "image": "alpine",
            "command": ["sh"],
            "args": ["-c"],
            "env": [{"name": "A", "value": "1"}],
            "volumeMounts": [{"volumeName": "tmp", "mountPath": "/t"}],
            "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}},
        }
    ],
    "podResourceClaims": [{"resourceClaimTemplateName": "gpu"}],
}

EXPECTED = k8s.KubernetesConfig(
    secrets_as_volume=(k8s.SecretAsVolume(constant("s"), "/s", True),),
    secrets_as_env=(k8s.SecretAsEnv(by_input("s"), (k8s.KeyToEnv("user", "USER_NAME"),)),),
    config_maps_as_volume=(k8s.ConfigMapAsVolume(constant("c"), "/c"),),
    config_maps_as_env=(k8s.ConfigMapAsEnv(constant("c"), (k8s.KeyToEnv("k", "K"),)),),
    pvc_mounts=(
        k8s.PvcMount(constant("claim"), "/a", "x/y"),
        k8s.PvcMount(by_input("claim"), "/b"),
        k8s.PvcMount(ParameterSource(producer_task="t", output_parameter="name"), "/c"),
        k8s.PvcMount(by_input("p"), "/d"),
    ),
    node_selector=k8s.NodeSelector({"disk": "ssd"}, by_input("selector")),
    pod_metadata=k8s.PodMetadata({"a": "b"}, {"c": "d"}),
    image_pull_secrets=(constant("pull"),),
    image_pull_policy="Always",
    active_deadline=60,
    field_paths_as_env=(k8s.FieldPathAsEnv("POD", "metadata.name"),),
    tolerations=(
        k8s.Toleration("k", "Equal", "v", "NoSchedule", 10),
        k8s.Toleration(json=constant({"key": "z"})),
    ),
    ephemeral_volumes=(
        k8s.GenericEphemeralVolume(
            "v", "/v", ("ReadWriteOnce",), "5Gi", True, metadata=k8s.PodMetadata(annotations={"x": "y"})
        ),
    ),
    node_affinity=(
        k8s.NodeAffinityTerm((k8s.SelectorRequirement("zone", "In", ("a", "b")),), weight=5),
        k8s.NodeAffinityTerm(json=by_input("affinity")),
    ),
    pod_affinity=(
        k8s.PodAffinityTerm(match_pod_labels={"app": "db"}, topology_key="host", namespaces=("n",), anti=True),
    ),
    shared_memory=k8s.SharedMemory("shm", "1Gi"),
    empty_dirs=(k8s.EmptyDirMount("tmp", "/t", "Memory", "1Gi"),),
    security_context=k8s.SecurityContext(1000, 0, True),
    init_containers=(
        k8s.InitContainer(
            "side",
            "alpine",
            ("sh",),
            ("-c",),
            {"A": "1"},
            (k8s.VolumeMount("tmp", "/t"),),
            "Always",
            {"cpu": "500m"},
            {"cpu": "1"},
        ),
    ),
    resource_claims=(k8s.PodResourceClaim("gpu"),),
)


def with_platform(document: dict[str, Any], kubernetes: dict[str, Any]) -> Pipeline:
    return loads(yaml.safe_dump_all([document, {"platforms": {"kubernetes": kubernetes}}]))


def snake_case(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict):
        return {snake(key): snake_case(item) for key, item in value.items()}
    return [snake_case(item) for item in value] if isinstance(value, list) else value


def test_every_field(document: dict[str, Any]) -> None:
    pipeline = with_platform(document, {"deploymentSpec": {"executors": {"exec-make": EVERYTHING}}})
    assert kubernetes_config(pipeline, "exec-make") == EXPECTED
    assert kubernetes_config(pipeline, "exec-use") == k8s.KubernetesConfig()
    found = dict(sources(EXPECTED))
    assert len(found) == 12
    assert found["pvcMount[2]"].producer_task == "t"
    assert found["nodeSelector.nodeSelectorJson"] == by_input("selector")
    assert found["tolerations[1]"] == constant({"key": "z"})


def test_snake_case_is_the_same(document: dict[str, Any]) -> None:
    spec = {"deployment_spec": {"executors": {"exec-make": snake_case(EVERYTHING)}}}
    assert kubernetes_config(with_platform(document, spec), "exec-make") == EXPECTED


def test_nothing_given(document: dict[str, Any]) -> None:
    pipeline = loads(json.dumps(document))
    assert kubernetes_config(pipeline, "exec-make") == k8s.KubernetesConfig()
    assert workspace_config(pipeline) is None
    assert all_configs(pipeline) == ({}, ())


def test_settings_of_the_run(document: dict[str, Any]) -> None:
    settings = {
        "workspace": {"size": "5Gi", "kubernetes": {"pvcSpecPatch": {"accessModes": ["ReadWriteMany"]}}},
        "resourceTtlOnCompletion": 60,
        "resourceTtlOnSuccess": "30",
        "resourceTtlOnFailure": 90.0,
        "activeDeadlineSeconds": 3600,
        "semaphoreKey": "one",
        "mutexName": "two",
    }
    pipeline = with_platform(document, {"pipelineConfig": settings})
    workspace = k8s.WorkspaceConfig("5Gi", {"accessModes": ["ReadWriteMany"]})
    assert workspace_config(pipeline) == workspace
    assert pipeline_config(pipeline) == k8s.PlatformPipelineConfig(workspace, 60, 30, 90, 3600, "one", "two")
    assert pipeline_config(with_platform(document, {"pipelineConfig": {"resourceTtl": 5}})).ttl_on_completion == 5


@pytest.mark.parametrize(
    ("config", "path", "code"),
    [
        ({"bogus": 1}, ".bogus", "unknown-field"),
        ({"securityContext": {"privileged": True}}, ".securityContext.privileged", "unknown-field"),
        ({"secretAsEnv": [{"keyToEnv": []}]}, ".secretAsEnv[0]", "missing"),
        ({"secretAsVolume": [{"secretName": "s"}]}, ".secretAsVolume[0]", "missing"),
        ({"secretAsVolume": {"secretName": "s"}}, ".secretAsVolume", "wrong-type"),
        ({"secretAsVolume": ["s"]}, ".secretAsVolume[0]", "wrong-type"),
        ({"pvcMount": [{"mountPath": "/a"}]}, ".pvcMount[0]", "missing"),
        (
            {"pvcMount": [{"mountPath": "/a", "constant": "a", "componentInputParameter": "b"}]},
            ".pvcMount[0]",
            "conflict",
        ),
        ({"imagePullPolicy": "Sometimes"}, ".imagePullPolicy", "invalid-value"),
        ({"activeDeadlineSeconds": "soon"}, ".activeDeadlineSeconds", "wrong-type"),
        ({"tolerations": [{"operator": "Is"}]}, ".tolerations[0].operator", "invalid-value"),
        ({"podMetadata": {"labels": {"a": 1}}}, ".podMetadata.labels.a", "wrong-type"),
        ({"emptyDirMounts": [{"mountPath": "/a"}]}, ".emptyDirMounts[0]", "missing"),
    ],
)
def test_mistakes(document: dict[str, Any], config: dict[str, Any], path: str, code: str) -> None:
    pipeline = with_platform(document, {"deploymentSpec": {"executors": {"exec-make": config, "exec-use": {}}}})
    with pytest.raises(InvalidPipeline) as caught:
        kubernetes_config(pipeline, "exec-make")
    expected = [(f"platforms.kubernetes.deploymentSpec.executors.exec-make{path}", code)]
    assert [(finding.path, finding.code) for finding in caught.value.findings] == expected
    assert [(finding.path, finding.code) for finding in all_configs(pipeline)[1]] == expected
    assert kubernetes_config(pipeline, "exec-use") == k8s.KubernetesConfig()
