"""What each process of the control plane is started with."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.certificates import Authority
from tests.cluster.network import Slot

NODE = "node-0"
DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Component:
    """One process. ``inside``: in the node's namespaces."""

    name: str
    command: Sequence[str]
    inside: bool = False
    environment: dict[str, str] | None = None


#: Seconds that a lease of kwok's nodes lasts; a quarter of it renews it: a thousand nodes write 100 times a second.
LEASE = 40


def _flags(**values: object) -> list[str]:
    words = ((name.replace("_", "-"), value) for name, value in values.items())
    return [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in words]


def free_port(address: str) -> int:
    """A port of ``address`` that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


class ControlPlane:
    """Files and commands of kine or etcd, API server, controller-manager and scheduler, in ``folder``.

    ``slot`` is given where there is a node too; the API server then listens on this machine's end of the cable, so
    that pods reach it; else on the loopback address alone.
    """

    def __init__(self, folder: Path, slot: Slot | None, store: str = "kine", lease: int = LEASE) -> None:
        self.folder = folder
        self.slot = slot
        self.store = store
        self._lease = lease
        self.address = slot.host if slot else "127.0.0.1"
        self.port = 6443 if slot else free_port("127.0.0.1")
        self.server = f"https://{self.address}:{self.port}"
        self.services = slot.services if slot else "10.213.252.0/22"
        first = slot.api_service if slot else "10.213.252.1"
        self.authority = Authority(folder / "pki")
        names = ["localhost", "127.0.0.1", self.address, first]
        names += [f"kubernetes{end}" for end in ("", ".default", ".default.svc", f".default.svc.{DOMAIN}")]
        self._serving = self.authority.issue("apiserver", "kube-apiserver", names=names)
        self._to_kubelet = self.authority.issue(
            "apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"]
        )
        self._accounts = self.authority.service_accounts()
        self.admin = self.kubeconfig("admin", "admin", ["system:masters"])
        (folder / "audit").mkdir()
        (folder / "audit" / "policy.yaml").write_text(json.dumps(_AUDIT_POLICY))

    def kubeconfig(self, name: str, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file ``name`` for ``user`` in ``groups``."""
        return self.authority.kubeconfig(self.folder / f"{name}.kubeconfig", self.server, user, groups)

    def store_component(self) -> Component:
        """kine on SQLite, without waiting for the disk: nothing here has to survive a power cut. Or etcd."""
        data = self.folder / "store"
        data.mkdir()
        if self.store == "kine":
            dsn = f"{data}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_sync=OFF"
            return Component("kine", [str(binaries.program("kine")), f"unix://{self.folder}/store.sock", dsn])
        self._etcd_port = free_port("127.0.0.1")
        here, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port('127.0.0.1')}"
        flags = _flags(data_dir=data, listen_client_urls=here, advertise_client_urls=here, listen_peer_urls=peers)
        flags += _flags(initial_advertise_peer_urls=peers, initial_cluster=f"default={peers}", unsafe_no_fsync=True)
        return Component("etcd", [str(binaries.program("etcd")), *flags])

    def api_server(self) -> Component:
        """The API server; every request of ours and of users is in its audit log."""
        store = f"unix://{self.folder}/store.sock" if self.store == "kine" else f"http://127.0.0.1:{self._etcd_port}"
        flags = _flags(
            etcd_servers=store,
            bind_address=self.address,
            secure_port=self.port,
            # Without a node nobody uses it, and a loopback address is refused.
            advertise_address=self.address if self.slot else "10.213.255.254",
            tls_cert_file=self._serving.certificate,
            tls_private_key_file=self._serving.key,
            client_ca_file=self.authority.certificate,
            service_account_key_file=self._accounts.certificate,
            service_account_signing_key_file=self._accounts.key,
            service_account_issuer=f"https://kubernetes.default.svc.{DOMAIN}",
            service_cluster_ip_range=self.services,
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            allow_privileged=True,
            kubelet_preferred_address_types="InternalIP",
            kubelet_certificate_authority=self.authority.certificate,
            kubelet_client_certificate=self._to_kubelet.certificate,
            kubelet_client_key=self._to_kubelet.key,
            audit_policy_file=self.folder / "audit" / "policy.yaml",
            audit_log_path=self.folder / "audit" / "log",
            profiling=False,
        )
        return Component("kube-apiserver", [str(binaries.program("kube-apiserver")), *flags])

    def controller_manager(self) -> Component:
        """All the usual controllers."""
        name = "kube-controller-manager"
        config = self.kubeconfig(name, "system:kube-controller-manager")
        flags = _flags(
            kubeconfig=config,
            authentication_kubeconfig=config,
            authorization_kubeconfig=config,
            leader_elect=False,
            secure_port=0,
            use_service_account_credentials=True,
            service_account_private_key_file=self._accounts.key,
            root_ca_file=self.authority.certificate,
            cluster_signing_cert_file=self.authority.certificate,
            cluster_signing_key_file=self.authority.folder / "ca.key",
        )
        if self._lease != LEASE:  # a node is taken for lost some time after its lease should have been renewed
            flags += _flags(node_monitor_grace_period=f"{self._lease + 10}s")
        return Component(name, [str(binaries.program(name)), *flags])

    def scheduler(self) -> Component:
        """The usual scheduler."""
        name = "kube-scheduler"
        config = self.kubeconfig(name, "system:kube-scheduler")
        flags = _flags(kubeconfig=config, authentication_kubeconfig=config, authorization_kubeconfig=config)
        flags += _flags(leader_elect=False, secure_port=0)
        # By default it sends 50 requests a second, and what many pods take would be that.
        flags += _flags(kube_api_qps=500, kube_api_burst=1000)
        return Component(name, [str(binaries.program(name)), *flags])

    def provisioner(self) -> Component:
        """Volumes for claims (``provisioner``)."""
        config = self.kubeconfig("provisioner", "provisioner", ["system:masters"])
        words = [sys.executable, "-m", "tests.cluster.provisioner", str(config), str(self.folder / "volumes")]
        return Component("provisioner", words, environment={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})

    def kwok(self, stages: Path) -> Component:
        """kwok, for nodes that carry its annotation and pods on them."""
        flags = _flags(
            kubeconfig=self.kubeconfig("kwok", "kwok", ["system:masters"]),
            manage_all_nodes=False,
            manage_nodes_with_annotation_selector="kwok.x-k8s.io/node=fake",
            config=stages,
            server_address=f"127.0.0.1:{free_port('127.0.0.1')}",
            disregard_status_with_annotation_selector="kwok.x-k8s.io/status=custom",
            node_lease_duration_seconds=self._lease,
            node_ip="10.213.255.253",
            cidr="10.214.0.0/16",
        )
        return Component("kwok", [str(binaries.program("kwok")), *flags])


#: Who asked for what, but for the cluster's own components; bodies are left out.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {
            "level": "None",
            "users": [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
                "kwok",
                "provisioner",
            ],
        },
        {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*", "/openapi*"]},
        {"level": "Metadata"},
    ],
}
