"""An environment of this machine in pods: its packages on a read-only volume, since no image with them can be had."""

from __future__ import annotations

import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster

#: Where the packages are in a pod.
PLACE = "/packages"
#: What pods call the image that these are mounted into (a plain Python, ``platform.push_stand_ins``).
IMAGE = "python:3.11-packages"


@contextmanager
def packages(cluster: Cluster, namespace: str, folder: Path | None = None, name: str = "packages") -> Generator[str]:
    """A claim whose volume is a ``site-packages`` folder (this environment's by default); its name."""
    with claimed(cluster, namespace, folder or Path(sysconfig.get_path("purelib")), "ReadOnlyMany", name) as claim:
        yield claim


@contextmanager
def claimed(cluster: Cluster, namespace: str, folder: Path, mode: str, name: str = "packages") -> Generator[str]:
    """A claim whose volume is a folder of this machine; its name."""
    name = f"{name}-{namespace}"
    volume: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name},
            "hostPath": {"path": str(folder.resolve()), "type": "Directory"},
        },
    }
    claim: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.api.create("/api/v1/persistentvolumes", volume)
    cluster.api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
    try:
        yield name
    finally:
        cluster.api.delete(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        cluster.api.delete(f"/api/v1/persistentvolumes/{name}")


def with_packages(document: str, claim: str, **env: str) -> str:
    """A compiled pipeline whose components find the packages of a claim."""
    pipeline, *rest = yaml.safe_load_all(document)
    platforms: dict[str, Any] = rest[0]["platforms"] if rest else {}
    deployment: dict[str, Any] = platforms.setdefault("kubernetes", {}).setdefault("deploymentSpec", {})
    kubernetes: dict[str, dict[str, Any]] = deployment.setdefault("executors", {})
    for label, executor in pipeline["deploymentSpec"]["executors"].items():
        variables = {"PYTHONPATH": PLACE, **env}
        executor["container"]["image"] = IMAGE
        own = executor["container"].setdefault("env", [])
        own += [{"name": name, "value": value} for name, value in variables.items()]
        kubernetes.setdefault(label, {}).setdefault("pvcMount", []).append({"constant": claim, "mountPath": PLACE})
    return yaml.safe_dump_all([pipeline, {"platforms": platforms}])
