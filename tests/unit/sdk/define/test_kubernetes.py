"""kfp-kubernetes' helpers: what they write is what the platform reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mlplatform import dsl
from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.ir.load import loads
from mlplatform.ir.platform import kubernetes_config

k8s = dsl.kubernetes


@dsl.component
def work(x: int = 1) -> int:
    return x


@dsl.component
def name() -> str:
    return "secret"


def config(setting: Any) -> KubernetesConfig:
    @dsl.pipeline
    def p(secret: str = "s", labels: dict = {"a": "b"}):  # noqa: B006
        setting(work(), secret, labels)

    return kubernetes_config(loads(p.compile()), "exec-work")


def test_secrets_and_config_maps() -> None:
    def setting(task: Any, secret: Any, labels: Any) -> None:
        k8s.use_secret_as_env(task, "one", {"key": "VARIABLE"})
        k8s.use_secret_as_volume(task, secret, "/secret", optional=True)
        k8s.use_config_map_as_env(task, "maps", {"k": "V"})
        k8s.use_config_map_as_volume(task, "maps", "/maps")
        k8s.set_image_pull_secrets(task, ["login"])

    found = config(setting)
    (env,) = found.secrets_as_env
    assert (env.name.constant, env.keys[0].key, env.keys[0].variable) == ("one", "key", "VARIABLE")
    (volume,) = found.secrets_as_volume
    assert (volume.name.component_input, volume.mount_path, volume.optional) == ("secret", "/secret", True)
    assert found.config_maps_as_env[0].keys[0].variable == "V"
    assert found.config_maps_as_volume[0].mount_path == "/maps"
    assert found.image_pull_secrets[0].constant == "login"


def test_where_and_how_it_runs() -> None:
    def setting(task: Any, secret: Any, labels: Any) -> None:
        k8s.add_node_selector(task, "disk", "fast")
        k8s.add_toleration(task, key="gpu", operator="Equal", value="yes", effect="NoSchedule", toleration_seconds=5)
        k8s.add_node_affinity(task, [{"key": "zone", "operator": "In", "values": ["a"]}], weight=3)
        k8s.add_pod_label(task, "team", "one")
        k8s.add_pod_annotation(task, "note", "two")
        k8s.set_image_pull_policy(task, "Always")
        k8s.set_timeout(task, 60)
        k8s.use_field_path_as_env(task, "POD", "metadata.name")
        k8s.enable_shared_memory(task, size="1Gi")
        k8s.empty_dir_mount(task, "scratch", "/scratch", size_limit="2Gi")
        k8s.set_security_context(task, run_as_user=1000, run_as_non_root=True)
        k8s.add_ephemeral_volume(task, "v", "/v", ["ReadWriteOnce"], "1Gi", labels={"a": "b"})

    found = config(setting)
    assert found.node_selector is not None
    assert found.node_selector.labels == {"disk": "fast"}
    assert (found.tolerations[0].key, found.tolerations[0].seconds) == ("gpu", 5)
    assert (found.node_affinity[0].match_expressions[0].values, found.node_affinity[0].weight) == (("a",), 3)
    assert found.pod_metadata is not None
    assert (found.pod_metadata.labels, found.pod_metadata.annotations) == ({"team": "one"}, {"note": "two"})
    assert (found.image_pull_policy, found.active_deadline) == ("Always", 60)
    assert found.field_paths_as_env[0].field_path == "metadata.name"
    assert found.shared_memory is not None
    assert found.shared_memory.size == "1Gi"
    assert found.empty_dirs[0].size_limit == "2Gi"
    assert found.security_context is not None
    assert (found.security_context.run_as_user, found.security_context.run_as_non_root) == (1000, True)
    assert (found.ephemeral_volumes[0].size, found.ephemeral_volumes[0].default_storage_class) == ("1Gi", True)


def test_what_a_run_decides() -> None:
    def setting(task: Any, secret: Any, labels: Any) -> None:
        k8s.add_node_selector_json(task, labels)
        k8s.use_secret_as_env(task, name().output, {"key": "V"})

    found = config(setting)
    assert found.node_selector is not None
    assert found.node_selector.json is not None
    assert found.node_selector.json.component_input == "labels"
    assert found.secrets_as_env[0].name.producer_task == "name"


def test_claims_are_made_mounted_and_removed() -> None:
    @dsl.pipeline
    def p():
        claim = k8s.CreatePVC(access_modes=["ReadWriteOnce"], size="1Gi", pvc_name_suffix="-x")
        task = work()
        k8s.mount_pvc(task, claim.outputs["name"], "/data", sub_path="a")
        k8s.DeletePVC(claim.outputs["name"]).after(task)

    pipeline = loads(p.compile())
    (mount,) = kubernetes_config(pipeline, "exec-work").pvc_mounts
    assert (mount.name.producer_task, mount.mount_path, mount.sub_path) == ("createpvc", "/data", "a")
    assert pipeline.root.dag is not None
    assert set(pipeline.root.dag.tasks["deletepvc"].dependent_tasks) == {"createpvc", "work"}


def test_settings_belong_on_tasks() -> None:
    with pytest.raises(InvalidPipeline, match="set on a task"):
        k8s.set_timeout(work, 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidPipeline, match="no image pull policy"):
        config(lambda task, *_: k8s.set_image_pull_policy(task, "Sometimes"))


def test_what_kfp_kubernetes_writes() -> None:
    """Shapes that kfp-kubernetes 2.17.0 was seen to write for the same calls (it is no dependency of ours)."""

    @dsl.pipeline
    def p(labels: dict = {"a": "b"}):  # noqa: B006
        task = work()
        k8s.mount_pvc(task, "claim", "/x")
        k8s.add_node_selector(task, "a", "b")
        k8s.add_node_selector_json(task, labels)
        k8s.add_node_affinity(task, [{"key": "z", "operator": "In", "values": ["a"]}], weight=3)
        k8s.add_node_affinity_json(task, {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}})
        k8s.add_node_affinity_json(task, labels)
        k8s.add_toleration(task, key="g", operator="Equal", value="y", effect="NoSchedule", toleration_seconds=5)
        k8s.add_toleration_json(task, [{"key": "h"}, {"key": "i", "tolerationSeconds": 7}])
        k8s.set_timeout(task, 30)
        k8s.set_security_context(task, run_as_user=1000, run_as_group=0)

    (found,) = loads(p.compile()).platforms["kubernetes"]["deploymentSpec"]["executors"].values()
    assert found == {
        "pvcMount": [
            {"constant": "claim", "mountPath": "/x", "pvcNameParameter": {"runtimeValue": {"constant": "claim"}}}
        ],
        "nodeSelector": {"labels": {"a": "b"}, "nodeSelectorJson": {"componentInputParameter": "labels"}},
        "nodeAffinity": [
            {"matchExpressions": [{"key": "z", "operator": "In", "values": ["a"]}], "weight": 3},
            {"nodeAffinityJson": {"componentInputParameter": "labels"}},
        ],
        "tolerations": [
            {"key": "g", "operator": "Equal", "value": "y", "effect": "NoSchedule", "tolerationSeconds": "5"},
            {"key": "h"},
            {"key": "i", "tolerationSeconds": "7"},
        ],
        "activeDeadlineSeconds": "30",
        "securityContext": {"runAsUser": "1000", "runAsGroup": "0"},
    }


def written(setting: Any) -> Any:
    """What the pipeline's file says of the task."""

    @dsl.pipeline
    def p(secret: str = "s", labels: dict = {"a": "b"}):  # noqa: B006
        setting(work(), secret, name())

    (_, platforms) = yaml.safe_load_all(p.compile())
    return platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-work"]


def test_the_file_is_what_kfp_kubernetes_writes() -> None:
    """Literal, from kfp-kubernetes 2.17: fields of yesterday's readers included."""
    output = {"taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "name"}}
    mounts = [
        (lambda t, s, n: k8s.mount_pvc(t, "c", "/m", "sub"),
         {"constant": "c", "pvcNameParameter": {"runtimeValue": {"constant": "c"}}, "subPath": "sub"}),
        (lambda t, s, n: k8s.mount_pvc(t, s, "/m"),
         {"componentInputParameter": "secret", "pvcNameParameter": {"componentInputParameter": "secret"}}),
        (lambda t, s, n: k8s.mount_pvc(t, n.output, "/m"), {**output, "pvcNameParameter": output}),
    ]  # fmt: skip
    for setting, told in mounts:
        assert written(setting) == {"pvcMount": [{"mountPath": "/m", **told}]}
    twice = written(lambda t, s, n: (k8s.set_timeout(t, 20), k8s.set_timeout(t, 0)))
    assert twice == written(lambda t, s, n: k8s.set_timeout(t, 0)) == {}
    both = written(
        lambda t, s, n: (k8s.set_security_context(t, run_as_user=5), k8s.set_security_context(t, run_as_group=0))
    )
    assert both == {"securityContext": {"runAsGroup": "0", "runAsUser": "5"}}


@pytest.mark.parametrize("word", ["tolerationSeconds", "toleration_seconds"])
def test_a_toleration_keeps_its_seconds_by_either_name(word: str) -> None:
    (found,) = written(lambda t, s, n: k8s.add_toleration_json(t, {"key": "k", word: 0}))["tolerations"]
    assert found == {"key": "k", "tolerationSeconds": "0"}


@pytest.mark.parametrize(
    "setting",
    [
        lambda t, s, n: k8s.set_security_context(t),
        lambda t, s, n: k8s.set_security_context(t, run_as_user=-1),
        lambda t, s, n: k8s.set_security_context(t, run_as_group=True),
        lambda t, s, n: k8s.add_node_selector(t, "disk", n.output),
        lambda t, s, n: k8s.add_pod_label(t, s, "x"),
    ],
)
def test_what_kubernetes_would_not_take(setting: Any) -> None:
    with pytest.raises(InvalidPipeline, match="test_kubernetes"):
        written(setting)


def test_a_claim_says_only_what_was_given() -> None:
    @dsl.pipeline
    def p():
        k8s.CreatePVC(["ReadWriteOnce"], "1Gi", pvc_name="c", data_source={"kind": "VolumeSnapshot", "name": "n"})

    (document,) = yaml.safe_load_all(p.compile())
    assert set(document["root"]["dag"]["tasks"]["createpvc"]["inputs"]["parameters"]) == {
        "pvc_name", "access_modes", "size", "data_source"
    }  # fmt: skip
