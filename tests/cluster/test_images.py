"""Images of ours on a real node: its containerd pulls what our client pushed, to the digest, and runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.images.build import Request, build_image, push_built
from mlplatform.images.launcher import build_launcher
from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor
from mlplatform.images.platform import build_part
from mlplatform.images.references import Reference
from mlplatform.images.registry import Registry, push
from mlplatform.images.registry.transport import Transport
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.support.environments import small_environment
from tests.support.images import archive

#: What the node asks our registry for, as for every other host.
HOST = "registry.example.com"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
LAUNCHER = "/var/run/mlplatform/launcher"


def registry(cluster: Cluster) -> Registry:
    if cluster.registry is None:
        pytest.skip("this cluster has no registry of ours")
    return Registry(Transport(cluster.registry, insecure=True))


def pushed(cluster: Cluster, layout: Layout, image: Descriptor, name: str) -> str:
    """Push by our own client; what a pod calls the image then, by its digest."""
    push(registry(cluster), layout, image, Reference(cluster.registry or "", name, "test"))
    return f"{HOST}/{name}@{image.digest}"


@pytest.fixture(scope="module")
def launcher(cluster: Cluster) -> str:
    built = build_launcher()
    return pushed(cluster, built.layout, built.descriptor, "mlplatform/launcher")


def container(name: str, image: str, *command: str, **more: Any) -> Object:
    return {"name": name, "image": image, "command": list(command), "securityContext": RESTRICTED, **more}


def run(cluster: Cluster, namespace: str, name: str, spec: Object) -> tuple[Object, dict[str, str]]:
    """A pod's end, and what its containers printed."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    basic = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    cluster.api.create(path, {"metadata": {"name": name}, "spec": {**basic, **spec}})
    cluster.api.wait(f"{path}/{name}", lambda seen: seen["status"].get("phase") in ("Succeeded", "Failed"), seconds=300)
    told = cluster.api.get(f"{path}/{name}")
    logs = {
        each["name"]: cluster.kubectl("logs", "-n", namespace, name, "-c", each["name"]).stdout
        for each in spec["containers"]
    }
    assert told["status"]["phase"] == "Succeeded", (told["status"], logs)
    return told, logs


def test_the_launcher_runs_beside_images_of_every_kind(cluster: Cluster, namespace: str, launcher: str) -> None:
    names = ("static", "musl", "bullseye")
    layout = Layout(Path(build_launcher().layout.folder))
    images = {}
    for name in names:
        (image,) = layout.load(archive(name))
        images[name] = pushed(cluster, layout, image, f"test/{name}")
    copy = f"import shutil; shutil.copytree('/mlplatform', '{LAUNCHER}', symlinks=True)"
    code = "import json, os, ssl, sys, msgspec; print(json.dumps([sys.prefix, os.getuid(), os.path.exists('/bin/sh')]))"
    mounts = {"volumeMounts": [{"name": "launcher", "mountPath": "/var/run/mlplatform"}]}
    told, logs = run(
        cluster,
        namespace,
        "launcher",
        {
            "initContainers": [container("install", launcher, "/mlplatform/bin/python", "-I", "-c", copy, **mounts)],
            "containers": [
                container(name, image, f"{LAUNCHER}/bin/python", "-I", "-c", code, **mounts)
                for name, image in images.items()
            ],
            "volumes": [{"name": "launcher", "emptyDir": {}}],
        },
    )
    assert {name: json.loads(log) for name, log in logs.items()} == {
        "static": [LAUNCHER, 1000, False],
        "musl": [LAUNCHER, 1000, True],
        "bullseye": ["/run/mlplatform/launcher", 1000, True],  # where its /var/run leads to
    }
    (status,) = told["status"]["initContainerStatuses"]
    assert status["imageID"].endswith(launcher.rpartition("@")[2])


def test_the_operators_image_needs_nothing_but_itself(cluster: Cluster, namespace: str) -> None:
    built = build_part("operator")
    image = pushed(cluster, built.layout, built.descriptor, "mlplatform/operator")
    security = {**RESTRICTED, "readOnlyRootFilesystem": True, "runAsUser": 65532}
    code = "import kubernetes, mlplatform.kube.transport, mlplatform.planning.planner, zoneinfo\n"
    code += "print(zoneinfo.ZoneInfo('Europe/Vienna'))"
    words = {"version": ["/mlplatform/bin/mlplatform", "version"], "code": ["/mlplatform/bin/python", "-I", "-c", code]}
    spec = {
        "containers": [
            {**container(name, image, *command), "securityContext": security} for name, command in words.items()
        ]
    }
    _, logs = run(cluster, namespace, "operator", spec)
    assert logs["version"].startswith("mlplatform ")
    assert logs["code"].strip() == "Europe/Vienna"


def test_an_environment_built_here_runs_there(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "rates.py").write_text("RATE = 3\n")
    (tmp_path / "train.py").write_text("import cronsim, rates\nprint(cronsim.__name__, rates.RATE)\n")
    request = Request(f"oci-archive:{archive('python311')}", tmp_path / "train.py")
    built = build_image(request, folders=small_environment(tmp_path))
    name = Reference(cluster.registry or "", "test/environment", "test")
    push_built(built, name, registry(cluster))
    image = f"{HOST}/test/environment@{built.digest}"
    told, logs = run(cluster, namespace, "built", {"containers": [container("main", image, "python", "train.py")]})
    assert logs["main"].split() == ["cronsim", "3"]
    assert told["status"]["containerStatuses"][0]["imageID"].endswith(built.digest)
