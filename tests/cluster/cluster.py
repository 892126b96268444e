"""A running cluster, as a test or a developer holds it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import addons, binaries, supervisor
from tests.cluster.api import Api, Object
from tests.cluster.certificates import Authority
from tests.cluster.components import LEASE, NODE
from tests.cluster.images import Image, push, push_archive
from tests.cluster.network import CannotRun

_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Cluster:
    """``kubeconfig`` may do everything. ``registry``, ``folder`` and the like are None on somebody's own cluster.

    ``host`` is the address of this machine as pods see it: what listens there (an S3 server, the platform's own
    server) can be reached from them.
    """

    kubeconfig: Path
    server: str
    host: str
    registry: str | None = None
    folder: Path | None = None
    has_node: bool = False
    process: subprocess.Popen[bytes] | None = None
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = Api(self.kubeconfig)

    @classmethod
    def start(
        cls, *, node: bool = False, kwok: bool = True, store: str = "kine", lease: int = LEASE, lifeline: bool = True
    ) -> Cluster:
        """A new cluster: the control plane, with ``node`` a real node too, with ``kwok`` its controller.

        With ``lifeline`` it ends with this process. Building the programs, if need be, takes minutes.
        Raises CannotRun, CannotBuild.
        """
        supervisor.sweep()
        names = ["kube-apiserver", "kine" if store == "kine" else store]
        names += [*(["kwok"] if kwok else []), *(["pause", "coredns"] if node else [])]
        for name in names:
            binaries.program(name)
        folder = supervisor.base() / f"c-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, mode=0o700)
        wanted = {"node": node, "kwok": kwok, "store": store, "lease": lease, "lifeline": lifeline}
        with open(folder / "supervisor.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.supervisor", str(folder), json.dumps(wanted)],
                cwd=_ROOT,
                stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_for(folder, process)
        return cls.find(folder, process)

    @classmethod
    def find(cls, folder: Path, process: subprocess.Popen[bytes] | None = None) -> Cluster:
        """The running cluster of ``folder``."""
        told = json.loads((folder / "ready.json").read_text())
        registry = told["registry"]
        return cls(Path(told["kubeconfig"]), told["server"], told["host"], registry, folder, bool(registry), process)

    @classmethod
    def own(cls, kubeconfig: Path) -> Cluster:
        """Somebody's own, at the other end of ``kubeconfig``."""
        return cls(kubeconfig, Api(kubeconfig).server, socket.gethostbyname(socket.gethostname()), has_node=True)

    # Control

    def control(self, **asked: Any) -> Object:
        """Ask the supervisor for something (its module's docstring says for what)."""
        if self.folder is None:
            raise CannotRun("this cluster is somebody's own: its processes are not ours to stop")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(90)
            connection.connect(str(self.folder / "control"))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(asked) + "\n")
                stream.flush()
                return json.loads(stream.readline())

    def stop_process(self, name: str, number: int = signal.SIGTERM) -> None:
        """Stop one of its processes (kube-apiserver, kubelet, ...) and wait for its end."""
        self.control(do="stop", name=name, signal=int(number))

    def start_process(self, name: str) -> None:
        """Start it again; for the API server, wait until it is ready."""
        self.control(do="start", name=name)
        if name == "kube-apiserver":
            self.api.wait("/api/v1/namespaces/default", lambda _: True)

    def stop(self) -> None:
        """End it, and wait until nothing of it is left."""
        if self.folder is None:
            return
        lock = self.folder / "lock"
        try:
            self.control(do="shutdown")
        except (OSError, ValueError):
            if self.process is not None:
                self.process.terminate()
        if self.process is not None:
            if self.process.stdin:
                self.process.stdin.close()
            self.process.wait(60)
        give_up = time.monotonic() + 60
        while lock.exists() and time.monotonic() < give_up:
            time.sleep(0.02)
        supervisor.sweep()

    # Use

    def kubeconfig_of(self, user: str, *groups: str) -> Path:
        """A kubeconfig for a user who may do nothing but what a test lets them."""
        if self.folder is None:
            raise CannotRun("users can be made on a cluster of ours only")
        path = self.folder / f"user-{user.replace(':', '-')}.kubeconfig"
        return Authority(self.folder / "pki").kubeconfig(path, self.server, user, groups)

    def kubectl(
        self, *words: str, kubeconfig: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl. Raises CalledProcessError."""
        program = str(binaries.program("kubectl")) if self.folder else shutil.which("kubectl") or "kubectl"
        env = {**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig)}
        return subprocess.run(
            [program, *words], env=env, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def push(self, name: str, image: Image | Path) -> str:
        """Put an image, or an OCI layout in a tar file, where the node finds it under ``name``. Returns its digest."""
        if self.registry is None:
            raise CannotRun("this cluster has no registry of ours")
        if isinstance(image, Path):
            return push_archive(self.registry, name, image)
        return push(self.registry, name, image)

    def add_nodes(self, count: int, *, gpus: int = 0, prefix: str = "kwok", tainted: bool | None = None) -> list[str]:
        """``count`` nodes of kwok's; with ``gpus`` NVIDIA machines. Tainted where there is a real node beside them."""
        names = [f"{prefix}-{number}" for number in range(count)]
        for name in names:
            node = addons.kwok_node(name, gpus=gpus, tainted=self.has_node if tainted is None else tainted)
            self.api.create("/api/v1/nodes", node)
        for name in names:
            self.api.wait(f"/api/v1/nodes/{name}", _is_ready)
        return names

    def remove_nodes(self, names: Sequence[str]) -> None:
        """Take nodes away again."""
        for name in names:
            self.api.delete(f"/api/v1/nodes/{name}")

    def audit(self) -> list[Object]:
        """Every request so far that was not the cluster's own: user, verb, object, answer."""
        if self.folder is None:
            raise CannotRun("this cluster keeps no audit log for us")
        lines = (self.folder / "audit" / "log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def node(self) -> str:
        """The real node's name."""
        return NODE


def _is_ready(node: Object) -> bool:
    # the taint goes a while after the condition has come: until then nothing is placed there
    if any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints", [])):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))


def _wait_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 300
    while not (folder / "ready.json").exists():
        failed = folder / "failed.txt"
        if failed.exists():
            text = failed.read_text()
            process.wait(60)
            raise CannotRun(text)
        if process.poll() is not None or time.monotonic() > give_up:
            log = folder / "supervisor.log"
            process.kill()
            raise CannotRun(f"the cluster did not start:\n{log.read_text() if log.exists() else ''}")
        time.sleep(0.02)
