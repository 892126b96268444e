"""The platform on a real cluster: CRDs, launcher, operator, an S3 store, images by their public names."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlplatform.images.platform import push_platform
from tests.cluster.cluster import Cluster
from tests.support import images
from tests.support.s3_server import S3Server, s3_server

ROOT = Path(__file__).resolve().parents[3]
CRDS = ROOT / "operators" / "base" / "crds"
BUCKET = "artifacts"
SECRET = "s3-login"

#: Which of our images stands in for a public one, by how its name begins.
STAND_INS = {
    "python:3.9": "bullseye",
    "python": "python311",
    "ubi9/python": "python311",
    "google/cloud-sdk": "python311",
    "debian": "python311",
    "alpine": "busybox",
    "library/bash": "busybox",
    "bash": "busybox",
    "busybox": "busybox",
    "containerd/busybox": "busybox",
}


@dataclass(frozen=True)
class Platform:
    """``launcher``: the name of the launcher's image in the cluster's registry; ``s3``: where artifacts go."""

    cluster: Cluster
    launcher: str
    s3: S3Server

    def prepare(self, namespace: str, *, restricted: bool = True) -> dict[str, Any]:
        """Give a namespace the login of the store, and the rule for its pods. Returns the ``store`` of runs in it."""
        api = self.cluster.api
        level = "restricted" if restricted else "privileged"
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
        api.patch(f"/api/v1/namespaces/{namespace}", label)
        login = {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": login}
        api.apply(f"/api/v1/namespaces/{namespace}/secrets/{SECRET}", secret)
        place = f"s3://{BUCKET}/{namespace}"
        return {"uri": place, "endpoint": self.s3.endpoint, "region": self.s3.region, "secretName": SECRET}


def stand_in(name: str) -> Path:
    """The archive that stands in for a public image. Raises KeyError where nothing of ours is like it."""
    bare = name.removeprefix("docker.io/")
    for start, ours in STAND_INS.items():
        if bare == start or bare.startswith((f"{start}:", f"{start}-", f"{start}@")):
            return images.archive(ours)
    raise KeyError(name)


def push_stand_ins(cluster: Cluster, names: Iterable[str]) -> list[str]:
    """Images under the names that pipelines give them. Returns those that nothing of ours is like."""
    unlike: list[str] = []
    for name in sorted(set(names)):
        try:
            cluster.push(name, stand_in(name))
        except KeyError:
            unlike.append(name)
    return unlike


def apply_crds(cluster: Cluster) -> None:
    """The CRDs of this checkout, and wait until the API server serves them."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names: list[str] = []
    for file in sorted(CRDS.glob("*.mlplatform.dev_*.yaml")):
        body = yaml.safe_load(file.read_text(encoding="utf-8"))
        names.append(body["metadata"]["name"])
        cluster.api.apply(f"{crds}/{names[-1]}", body)
    for name in names:
        cluster.api.wait(
            f"{crds}/{name}",
            _established,
        )


def _established(crd: dict[str, Any]) -> bool:
    status: dict[str, Any] = crd.get("status") or {}
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@functools.lru_cache(maxsize=4)
def push_launcher(registry: str) -> str:
    """Build the launcher's image of this checkout and push it; its name by digest."""
    return str(push_platform(f"{registry}/platform", ["launcher"], insecure=True)["launcher"])


@contextmanager
def platform(cluster: Cluster, folder: Path, *, namespace: str = "") -> Generator[Platform]:
    """All of it, with the operator as a process of this machine that looks at ``namespace`` (all without one)."""
    assert cluster.registry is not None
    apply_crds(cluster)
    launcher = push_launcher(cluster.registry)
    with s3_server(folder / "s3", cluster.host) as s3, operator(cluster, folder, launcher, namespace):
        (s3.folder / BUCKET).mkdir()
        yield Platform(cluster, launcher, s3)


@contextmanager
def operator(
    cluster: Cluster, folder: Path, launcher: str, namespace: str = "", *, progress: int = -1, **more: str
) -> Generator[subprocess.Popen[bytes]]:
    """``mlplatform operator`` as a process; its log is ``folder/operator.log``. ``progress``: the port at which ranks
    report; ``more``: of its environment."""
    command = [sys.executable, "-m", "mlplatform", "operator", "--kubeconfig", str(cluster.kubeconfig), "--port", "-1"]
    command += ["--progress-port", str(progress), "--host", cluster.host]  # several operators share this machine
    command += ["--namespace", namespace] if namespace else []
    env = {**os.environ, "MLPLATFORM_LAUNCHER_IMAGE": launcher, **more}
    if progress >= 0:
        env["MLPLATFORM_PROGRESS"] = f"http://{cluster.host}:{progress}"
    with open(folder / "operator.log", "ab") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
        assert process.poll() is None, (folder / "operator.log").read_text(errors="replace")[-3000:]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
