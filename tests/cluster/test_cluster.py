"""The cluster is a real one: pods, logs, exec, Services, DNS, GPUs of kwok's, pod security."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
from typing import Any

import pytest

from tests.cluster import binaries
from tests.cluster.api import Object, Refused
from tests.cluster.cluster import Cluster
from tests.cluster.images import Image, split_name
from tests.support.podman import static_busybox

_APPLETS = ("sh", "cat", "echo", "sleep", "id")
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def busybox(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a shell, under the name it has in Docker's own registry."""
    if cluster.registry is None:
        pytest.skip("these images go into the registry of a cluster of ours")
    links = {f"bin/{word}": "busybox" for word in _APPLETS}
    program = static_busybox(tmp_path_factory.mktemp("busybox"))
    files = {"bin/busybox": program, "bin/probe": binaries.program("probe")}
    # A node that has a name once does not ask for it again, so another content bears another name.
    name = f"busybox:{hashlib.sha256(b''.join(file.read_bytes() for file in files.values())).hexdigest()[:12]}"
    cluster.push(name, Image.of_files(files, links=links))
    return name


def pod(name: str, image: str, script: str, **spec: Any) -> Object:
    container = {"name": "main", "image": image, "command": ["sh", "-c", script], "securityContext": _RESTRICTED}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def ended(seen: Object) -> bool:
    return seen["status"].get("phase") in ("Succeeded", "Failed")


def running(seen: Object) -> bool:
    return seen["status"].get("phase") == "Running"


def test_the_node_is_a_real_one_of_this_version(cluster: Cluster) -> None:
    version = json.loads(cluster.api.request("GET", "/version"))
    assert version["gitVersion"] == "v1.36.0"
    node = cluster.api.get(f"/api/v1/nodes/{cluster.node}")
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.0"
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_a_pod_runs_to_its_end(cluster: Cluster, namespace: str, busybox: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.api.create(pods, pod("hello", busybox, "echo to the log; echo -n told > /dev/termination-log; exit 3"))
    seen = cluster.api.wait(f"{pods}/hello", ended)
    state = seen["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["message"]) == (3, "told")
    assert cluster.api.request("GET", f"{pods}/hello/log") == b"to the log\n"


def test_exec_reaches_into_a_running_pod(cluster: Cluster, namespace: str, busybox: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.api.create(pods, pod("waits", busybox, "sleep 600"))
    cluster.api.wait(f"{pods}/waits", running)
    assert cluster.kubectl("-n", namespace, "exec", "waits", "--", "id", "-u").stdout == "1000\n"
    cluster.api.delete(f"{pods}/waits")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl("-n", namespace, "exec", "never", "--", "id")
    assert "not found" in refused.value.stderr


def test_services_answer_by_name_and_from_this_machine(cluster: Cluster, namespace: str, busybox: str) -> None:
    core = f"/api/v1/namespaces/{namespace}"
    cluster.api.create(f"{core}/pods", pod("web", busybox, "exec probe serve :8080 'here I am'"))
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = cluster.api.create(f"{core}/services", {"metadata": {"name": "web"}, "spec": spec})
    address = service["spec"]["clusterIP"]
    cluster.api.wait(f"{core}/pods/web", running)
    cluster.api.create(f"{core}/pods", pod("client", busybox, f"probe get http://web.{namespace}.svc"))
    assert cluster.api.wait(f"{core}/pods/client", ended)["status"]["phase"] == "Succeeded"
    assert cluster.api.request("GET", f"{core}/pods/client/log") == b"here I am"
    if cluster.folder is not None:
        with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
            assert answer.read() == b"here I am"


def test_pods_reach_what_listens_on_this_machine(cluster: Cluster, namespace: str, busybox: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    assert cluster.registry is not None
    cluster.api.create(pods, pod("asks", busybox, f"probe get http://{cluster.registry}/v2/_catalog"))
    assert cluster.api.wait(f"{pods}/asks", ended)["status"]["phase"] == "Succeeded"
    assert "library/busybox" in json.loads(cluster.api.request("GET", f"{pods}/asks/log"))["repositories"]


def test_claims_get_volumes_that_pods_share(cluster: Cluster, namespace: str, busybox: str) -> None:
    core = f"/api/v1/namespaces/{namespace}"
    room = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.api.create(f"{core}/persistentvolumeclaims", {"metadata": {"name": "shared"}, "spec": room})
    volumes = [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]
    for name, script in (("writes", "echo kept > /shared/file"), ("reads", "cat /shared/file")):
        wanting = pod(name, busybox, script, volumes=volumes)
        wanting["spec"]["containers"][0]["volumeMounts"] = [{"name": "shared", "mountPath": "/shared"}]
        cluster.api.create(f"{core}/pods", wanting)
        assert cluster.api.wait(f"{core}/pods/{name}", ended)["status"]["phase"] == "Succeeded"
    assert cluster.api.request("GET", f"{core}/pods/reads/log") == b"kept\n"


def test_an_image_that_is_nowhere_is_told_at_once(cluster: Cluster, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.api.create(pods, pod("lost", "ghcr.io/nobody/nothing:1", "true"))

    def refused(seen: Object) -> bool:
        states = [c["state"].get("waiting", {}).get("reason") for c in seen["status"].get("containerStatuses", [])]
        return any(reason in ("ErrImagePull", "ImagePullBackOff") for reason in states)

    cluster.api.wait(f"{pods}/lost", refused, 60)
    cluster.api.delete(f"{pods}/lost")


def test_restricted_namespaces_refuse_root(cluster: Cluster, namespace: str, busybox: str) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", label)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    bad = pod("root", busybox, "id")
    bad["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0}
    with pytest.raises(Refused, match="violates PodSecurity") as refused:
        cluster.api.create(pods, bad)
    assert refused.value.status == 403
    cluster.api.create(pods, pod("user", busybox, "id -u"))
    assert cluster.api.wait(f"{pods}/user", ended)["status"]["phase"] == "Succeeded"
    assert cluster.api.request("GET", f"{pods}/user/log") == b"1000\n"


def test_a_gpu_node_of_kwoks_takes_pods_that_ask_for_gpus(cluster: Cluster, namespace: str) -> None:
    nodes = cluster.add_nodes(1, gpus=2, prefix=f"gpu-{namespace}")
    try:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        tolerations = [{"key": key, "operator": "Exists"} for key in ("nvidia.com/gpu", "kwok.x-k8s.io/node")]
        wanting = pod("trains", "any:1", "true", tolerations=tolerations)
        wanting["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "2"}}
        cluster.api.create(pods, wanting)
        assert cluster.api.wait(f"{pods}/trains", running)["spec"]["nodeName"] == nodes[0]
        without = pod("too-many", "any:1", "true", tolerations=tolerations)
        without["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
        cluster.api.create(pods, without)

        def unschedulable(seen: Object) -> bool:
            return any(c.get("reason") == "Unschedulable" for c in seen["status"].get("conditions", []))

        seen = cluster.api.wait(f"{pods}/too-many", unschedulable)
        assert "Insufficient nvidia.com/gpu" in json.dumps(seen["status"]["conditions"])
    finally:
        cluster.remove_nodes(nodes)


def test_names_of_images_are_found_as_containerd_asks_for_them() -> None:
    assert split_name("python:3.11") == ("library/python", "3.11")
    assert split_name("docker.io/python") == ("library/python", "latest")
    assert split_name("nvcr.io/nvidia/pytorch:24.05") == ("nvidia/pytorch", "24.05")
    assert split_name("localhost:5000/a/b:1") == ("a/b", "1")
    assert split_name("someone/tool") == ("someone/tool", "latest")
