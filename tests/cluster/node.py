"""The node: containerd, kubelet and kube-proxy in namespaces of their own, and a registry beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.components import DOMAIN, NODE, Component, ControlPlane
from tests.cluster.network import CNI, Slot

#: The images every cluster has, by the name under which the registry holds them.
PAUSE = "mlplatform.test/pause:1"
COREDNS = "mlplatform.test/coredns:1"
#: Not 5000: on a machine with systemd Debian's own registry may listen there.
REGISTRY_PORT = 5080

_CONTAINERD = """version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
# Only what a kubelet asks for.
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]

[grpc]
address = "{folder}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Where the machine holds back CAP_SYS_RESOURCE, a sandbox could not lower its score below ours.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_container_log_line_size = 262144

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{folder}/registries"
"""

# Whatever registry an image names, it is asked of ours: nothing else can be reached from a test.
_HOSTS = """server = "http://{registry}"

[host."http://{registry}"]
capabilities = ["pull", "resolve"]
"""


class Node:
    """Files and commands of the node's processes."""

    def __init__(self, plane: ControlPlane, slot: Slot, snapshotter: str, cgroup: str) -> None:
        self._plane = plane
        self._slot = slot
        self._snapshotter = snapshotter
        self._cgroup = cgroup
        self.folder = plane.folder
        self.registry_address = f"{slot.host}:{REGISTRY_PORT}"
        self.socket = self.folder / "containerd.sock"

    def write(self) -> None:
        """Everything the processes read."""
        self._write_containerd()
        self._write_kubelet()
        proxy = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(self._plane.kubeconfig("kube-proxy", "system:kube-proxy"))},
            "clusterCIDR": self._slot.pods,
            "hostnameOverride": NODE,
            # The whole machine's, which a namespace may not set.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        (self.folder / "kube-proxy.json").write_text(json.dumps(proxy))
        registry = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}, "delete": {"enabled": True}},
            "http": {"addr": self.registry_address},
        }
        (self.folder / "registry.json").write_text(json.dumps(registry))

    def _write_containerd(self) -> None:
        folder = self.folder
        hosts = folder / "registries" / "_default"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(_HOSTS.format(registry=self.registry_address))
        (folder / "containerd.toml").write_text(
            _CONTAINERD.format(folder=folder, pause=PAUSE, cni=CNI, snapshotter=self._snapshotter)
        )
        (folder / "cni").mkdir()
        # A cable for each pod rather than a bridge: all traffic is routed, so that Services work between pods without
        # the kernel's filter for bridges.
        ranges = [[{"subnet": self._slot.pods}]]
        plugins: list[dict[str, Any]] = [
            {
                "type": "ptp",
                "mtu": 1400,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(folder / "cni-addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}
        (folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))

    def _write_kubelet(self) -> None:
        serving = self._plane.authority.issue(
            "kubelet", f"system:node:{NODE}", ["system:nodes"], [NODE, self._slot.node]
        )
        resolved = Path("/run/systemd/resolve/resolv.conf")
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._plane.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "address": self._slot.node,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [self._slot.dns_service],
            "clusterDomain": DOMAIN,
            "resolvConf": str(resolved if resolved.exists() else Path("/etc/resolv.conf")),
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": 500,
            "podPidsLimit": -1,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "serializeImagePulls": False,
            "fileCheckFrequency": "5s",
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
            "enableControllerAttachDetach": True,
            "protectKernelDefaults": False,
            "shutdownGracePeriod": "0s",
            "oomScoreAdj": 0,
        }
        (self.folder / "kubelet.json").write_text(json.dumps(config))

    def registry(self) -> Component:
        """Debian's docker-registry."""
        return Component("docker-registry", ["docker-registry", "serve", str(self.folder / "registry.json")])

    def containerd(self) -> Component:
        return Component("containerd", ["containerd", "--config", str(self.folder / "containerd.toml")], inside=True)

    def kubelet(self) -> Component:
        flags = [
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={self._plane.kubeconfig('kubelet', f'system:node:{NODE}', ['system:nodes'])}",
            f"--root-dir={self.folder}/kubelet",
            f"--hostname-override={NODE}",
            f"--node-ip={self._slot.node}",
        ]
        return Component("kubelet", [str(binaries.program("kubelet")), *flags], inside=True)

    def proxy(self) -> Component:
        flags = [f"--config={self.folder}/kube-proxy.json"]
        return Component("kube-proxy", [str(binaries.program("kube-proxy")), *flags], inside=True)
