"""The manifests as ``mlplatform install`` puts them together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlplatform.cli import manifests
from mlplatform.cli.operator import OPERATORS
from mlplatform.core.errors import InternalError, InvalidInput
from mlplatform.kube.objects import Object, metadata


def named(objects: list[Object], kind: str) -> Object:
    [found] = [body for body in objects if body["kind"] == kind and metadata(body)["name"].endswith("operator")]
    return found


def part(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [b for b in objects if b["kind"] == kind and metadata(b)["name"] == f"mlplatform-{name}"]
    return found


def variables(objects: list[Object], name: str) -> dict[str, str | None]:
    container = part(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one.get("value") for one in container["env"]}


@pytest.mark.parametrize("variant", sorted(manifests.variants()))
def test_every_variant_is_whole(variant: str) -> None:
    objects = manifests.load(manifests.variants()[variant])
    kinds = [body["kind"] for body in objects]
    assert kinds[0] == "Namespace"
    assert kinds.index("CustomResourceDefinition") < kinds.index("ClusterRole") < kinds.index("Deployment")
    assert len({(body["kind"], metadata(body)["name"]) for body in objects}) == len(objects)
    assert all(metadata(body)["labels"]["app.kubernetes.io/part-of"] == "mlplatform" for body in objects)
    whole = variant not in OPERATORS
    assert manifests.image_names(objects) == ["launcher", *["mlflow"] * whole, "operator", *["server"] * whole]


@pytest.mark.parametrize("name", ["operator", "server", "mlflow"])
def test_everything_runs_restricted(name: str) -> None:
    deployment = part(manifests.load(manifests.variants()["base"]), "Deployment", name)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= set(container)
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("variant", sorted(manifests.variants()))
def test_mlflow_has_no_rights_and_no_token(variant: str) -> None:
    objects = manifests.load(manifests.variants()[variant])
    bindings = [body for body in objects if body["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    bound = {subject["name"] for body in bindings for subject in body["subjects"]}
    people = {"mlplatform-editor", "mlplatform-viewer", "system:authenticated"}  # the last may knock at the server
    assert bound <= {"mlplatform-operator", "mlplatform-server", *people}
    accounts = {metadata(body)["name"]: body for body in objects if body["kind"] == "ServiceAccount"}
    assert {body["automountServiceAccountToken"] for body in accounts.values()} == {False}
    if "mlplatform-mlflow" in accounts:
        pod = part(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert not [volume for volume in pod["volumes"] if "projected" in volume]


def test_ha_has_two_that_share() -> None:
    objects = manifests.load(manifests.variants()["ha"])
    deployment = named(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    assert "--shards=8" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert named(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_the_default_is_three_pods_that_know_each_other() -> None:
    objects = manifests.load(manifests.variants()["base"])
    pods = [body for body in objects if body["kind"] in ("Deployment", "StatefulSet", "DaemonSet")]
    assert sum(body["spec"]["replicas"] for body in pods) == 3
    address = "http://mlplatform-server.mlplatform-system:8787"
    assert variables(objects, "operator")["MLPLATFORM_SERVER"] == address
    assert variables(objects, "server")["MLPLATFORM_SERVER"] == address
    assert variables(objects, "server")["MLPLATFORM_MLFLOW"] == "http://mlplatform-mlflow.mlplatform-system:5000"
    moved = manifests.adapted(objects, namespace="ml", images={})
    assert variables(moved, "server")["MLPLATFORM_MLFLOW"] == "http://mlplatform-mlflow.ml:5000"
    [allowed] = [one for one in args(moved, "mlflow") if one.startswith("--allowed-hosts=")]
    assert "mlplatform-mlflow.ml:5000" in allowed.partition("=")[2].split(",")


def args(objects: list[Object], name: str) -> list[str]:
    return part(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]["args"]


def test_parts_are_left_out_and_nobody_looks_for_them() -> None:
    objects = manifests.load(manifests.variants()["base"])
    alone = manifests.without(objects, ["server", "mlflow"])
    assert "MLPLATFORM_SERVER" not in variables(alone, "operator")
    assert not [b for b in alone if metadata(b)["name"] in ("mlplatform-server", "mlplatform-mlflow")]
    assert manifests.image_names(alone) == ["launcher", "operator"]
    untracked = manifests.without(objects, ["mlflow"])
    assert "MLPLATFORM_MLFLOW" not in variables(untracked, "server")
    elsewhere = manifests.with_mlflow(objects, "https://mlflow.example.com")
    assert variables(elsewhere, "server")["MLPLATFORM_MLFLOW"] == "https://mlflow.example.com"
    assert not [b for b in elsewhere if metadata(b)["name"] == "mlplatform-mlflow"]
    assert "MLPLATFORM_MLFLOW" in variables(objects, "server")  # the given ones are left alone


def test_the_server_serves_the_namespace_it_is_told() -> None:
    objects = manifests.serving(manifests.load(manifests.variants()["base"]), "team")
    assert "--namespace=team" in args(objects, "server")
    for kind in ("Role", "RoleBinding"):
        assert metadata(part(objects, kind, "server"))["namespace"] == "team"
    [subject] = part(objects, "RoleBinding", "server")["subjects"]
    assert subject["namespace"] == manifests.NAMESPACE
    assert metadata(part(objects, "Deployment", "server"))["namespace"] == manifests.NAMESPACE


def test_images_and_namespace_are_put_in() -> None:
    objects = manifests.load(manifests.variants()["base"])
    adapted = manifests.adapted(
        objects, namespace="ml", images={"operator": "r.test/o:1", "launcher": "r.test/l@sha256:a"}
    )
    container = named(adapted, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "r.test/o:1"
    assert {one["name"]: one.get("value") for one in container["env"]}[
        "MLPLATFORM_LAUNCHER_IMAGE"
    ] == "r.test/l@sha256:a"
    text = manifests.dumped(adapted)
    assert manifests.NAMESPACE not in text
    assert "system:serviceaccount:ml:mlplatform-operator" in text
    assert len(list(yaml.safe_load_all(text))) == len(objects)
    assert named(objects, "Deployment")["metadata"]["namespace"] == manifests.NAMESPACE  # the given ones are left alone


def test_each_operator_has_a_folder_with_everything_in_it() -> None:
    for name in OPERATORS:
        folder = manifests.root() / name
        composition = (folder / "operator.py").read_text()
        assert composition.count("\n") <= 60
        assert f'"{name}"' in composition
        assert (folder / "README.md").is_file()
        assert list((folder / "samples").glob("*.yaml"))
        alone = manifests.load(manifests.variants()[name])
        args = named(alone, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert args == ["operator", f"--only={name}"]


def kustomization(folder: Path, text: str) -> Path:
    (folder / "kustomization.yaml").write_text(text)
    (folder / "one.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1', y: '2'}\n")
    return folder


def test_patches_do_what_they_say(tmp_path: Path) -> None:
    operations = ["remove, path: /data/x", "replace, path: /data/y, value: '3'", "add, path: /data/z, value: '4'"]
    patch = "\n    ".join(f"- {{op: {one}}}" for one in operations)
    text = f"resources: [one.yaml]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |\n    {patch}\n"
    [body] = manifests.load(kustomization(tmp_path, text))
    assert body["data"] == {"y": "3", "z": "4"}


def test_what_is_not_understood_is_no_silence(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="commonLabels"):
        manifests.load(kustomization(tmp_path, "resources: [one.yaml]\ncommonLabels: {a: b}\n"))
    with pytest.raises(InternalError, match="hits nothing"):
        manifests.load(
            kustomization(tmp_path, "resources: [one.yaml]\npatches:\n- target: {kind: Pod}\n  patch: '[]'\n")
        )
    (tmp_path / "kustomization.yaml").write_text("resources: [two.yaml]\n")
    (tmp_path / "two.yaml").write_text("apiVersion: x/v1\nkind: Strange\nmetadata: {name: a}\n")
    with pytest.raises(InvalidInput, match="Strange"):
        manifests.load(tmp_path)


def test_image_options() -> None:
    assert manifests.image_options(["operator=a:1"], ["operator"]) == {"operator": "a:1"}
    for wrong in ("operator", "operator=", "other=a"):
        with pytest.raises(InvalidInput, match="PART=REFERENCE"):
            manifests.image_options([wrong], ["operator"])
