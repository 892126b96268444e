"""What a cluster holds from the start: images in its registry, DNS, and how kwok's pods live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.api import Api
from tests.cluster.components import DOMAIN
from tests.cluster.images import Image, push
from tests.cluster.node import COREDNS, PAUSE

_COREFILE = f""".:53 {{
    errors
    ready :8181
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
}}
"""


def push_own_images(registry: str) -> None:
    """pause and CoreDNS, one static program each."""
    push(
        registry, PAUSE, Image.of_files({"pause": binaries.program("pause")}, entrypoint=["/pause"], user="65535:65535")
    )
    push(registry, COREDNS, Image.of_files({"coredns": binaries.program("coredns")}, entrypoint=["/coredns"]))


def available(deployment: dict[str, Any]) -> bool:
    """Whether a Deployment has what it wants."""
    return deployment.get("status", {}).get("availableReplicas", 0) >= deployment["spec"]["replicas"]


def apply_dns(api: Api, address: str) -> None:
    """CoreDNS in kube-system, answering at ``address``."""
    system = "/api/v1/namespaces/kube-system"
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    labels = {"k8s-app": "kube-dns"}

    def put(path: str, kind: str, version: str, name: str, **rest: Any) -> None:
        metadata = {"name": name, "labels": labels}
        api.apply(f"{path}/{name}", {"apiVersion": version, "kind": kind, "metadata": metadata, **rest})

    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac_version = "rbac.authorization.k8s.io/v1"
    put(f"{system}/serviceaccounts", "ServiceAccount", "v1", "coredns")
    put(f"{rbac}/clusterroles", "ClusterRole", rbac_version, "system:coredns", rules=rules)
    put(
        f"{rbac}/clusterrolebindings", "ClusterRoleBinding", rbac_version, "system:coredns",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        subjects=[{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
    )  # fmt: skip
    put(f"{system}/configmaps", "ConfigMap", "v1", "coredns", data={"Corefile": _COREFILE})
    ports = [{"name": f"dns-{word}".lower(), "port": 53, "protocol": word} for word in ("UDP", "TCP")]
    put(
        f"{system}/services",
        "Service",
        "v1",
        "kube-dns",
        spec={"clusterIP": address, "selector": labels, "ports": ports},
    )
    container = {
        "name": "coredns",
        "image": COREDNS,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    put("/apis/apps/v1/namespaces/kube-system/deployments", "Deployment", "apps/v1", "coredns", spec=spec)


def write_stages(folder: Path) -> Path:
    """kwok's configuration: how nodes and pods of its go from state to state (``kwok.yaml`` beside this file)."""
    path = folder / "kwok.yaml"
    path.write_bytes(Path(__file__).with_name("kwok.yaml").read_bytes())
    return path


def kwok_node(name: str, *, gpus: int = 0, tainted: bool = True) -> dict[str, Any]:
    """A node of kwok's: 32 CPUs, 256 GiB; with ``gpus`` an NVIDIA machine as its GPU operator labels and taints it.

    ``tainted``: pods must tolerate ``kwok.x-k8s.io/node`` to go there, so that a real node beside it gets the others.
    """
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "type": "kwok",
        "node.kubernetes.io/instance-type": "kwok.gpu" if gpus else "kwok.cpu",
        "topology.kubernetes.io/zone": "zone-0",
    }
    room = {"cpu": "32", "memory": "256Gi", "pods": "500", "ephemeral-storage": "1Ti"}
    taints = [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}] if tainted else []
    if gpus:
        room["nvidia.com/gpu"] = str(gpus)
        taints.append({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"})
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(gpus),
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.family": "ampere",
            "nvidia.com/gpu.machine": "kwok",
            "nvidia.com/gpu.replicas": "1",
            "nvidia.com/mig.capable": "true",
            "nvidia.com/cuda.driver.major": "550",
            "nvidia.com/cuda.runtime.major": "12",
            "nvidia.com/cuda.runtime.minor": "4",
        }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": taints},
        "status": {"capacity": room, "allocatable": room, "nodeInfo": json.loads(_NODE_INFO)},
    }


_NODE_INFO = """{"architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "kwok-v0.8.0", "bootID": "",
"containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "osImage": "",
"systemUUID": ""}"""
