"""The process that owns a cluster: it starts the others, and with it they end.

    python -m tests.cluster.supervisor FOLDER '{"node": true, ...}'

Every process below dies with this one, even by ``kill -9`` (PR_SET_PDEATHSIG, and the node's namespaces); what then is
left (files, one nftables table, cgroups) is swept by the next start. With ``"lifeline": true`` it stops as soon as its
standard input ends, so a test session that is killed takes its cluster along. On ``FOLDER/control`` (a socket) it
answers one JSON line with one: ``{"do": "status" | "stop" | "start" | "shutdown", "name": ..., "signal": 15}``.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from tests.cluster import addons, binaries, network
from tests.cluster.api import Api, Refused
from tests.cluster.components import LEASE, NODE, Component, ControlPlane
from tests.cluster.network import CannotRun, Namespaces, Slot
from tests.cluster.node import Node
from tests.cluster.provisioner import storage_class

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def base() -> Path:
    """The folder of all clusters of this user; short, since sockets lie in it."""
    return Path(f"/tmp/mlplatform-clusters-{os.getuid()}")


def sweep() -> None:
    """Remove what clusters left whose supervisor was killed. Those that live hold their lock."""
    for folder in base().glob("c-*"):
        try:
            lock = open(folder / "lock", "a", encoding="ascii")  # noqa: SIM115 - held to the end of the loop's turn
        except OSError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            clean_up(folder)


def clean_up(folder: Path) -> None:
    """Remove a stopped cluster's traces: table, cgroups, files."""
    slot = folder / "slot"
    if slot.exists():
        network.forget(Slot(int(slot.read_text())))
        network.remove_cgroups(folder.name)
    shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    """One cluster, from nothing to ready and back to nothing."""

    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        self.folder = folder
        self.wanted = wanted
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.components: dict[str, Component] = {}
        self.namespaces: Namespaces | None = None
        self.slot: Slot | None = None
        self._slot_lock: TextIO | None = None
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    # Processes

    def _open(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
        with open(self.folder / "logs" / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PATH": path, **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def start(self, component: Component) -> None:
        """Start one process; its output goes to ``logs/NAME.log``."""
        command = list(component.command)
        if component.inside:
            assert self.namespaces is not None
            command = self.namespaces.inside(*command)
        self.components[component.name] = component
        self._open(component.name, command, component.environment)

    def stop(self, name: str, number: int) -> None:
        """Send a signal to one process and wait for its end."""
        process = self.processes[name]
        if process.poll() is None:
            process.send_signal(number)
            if self.components[name].inside:  # the signal has reached nsenter; its child is the one that matters
                for pid in self._children(process.pid):
                    os.kill(pid, number)
            process.wait(60)

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _check(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / "logs" / f"{name}.log").read_text(errors="replace")
                raise CannotRun(f"{name} ended with {process.returncode}:\n{log[-3000:]}")

    # From nothing to ready

    def up(self) -> dict[str, Any]:
        """Start everything that was asked for. Returns what a user of the cluster needs to know."""
        if self.wanted.get("node"):
            network.check_machine()
            self.slot, self._slot_lock = network.take_slot(base())
            (self.folder / "slot").write_text(str(self.slot.number))
            self._open("namespaces", Namespaces.command(binaries.program("pause")))
            self.namespaces = Namespaces(self.processes["namespaces"])
            self.namespaces.connect(self.slot)
        plane = ControlPlane(self.folder, self.slot, self.wanted.get("store", "kine"), self.wanted.get("lease", LEASE))
        api = Api(plane.admin)
        self.start(plane.store_component())
        self._wait_for_store()
        self.start(plane.api_server())
        node = self._start_node(plane) if self.slot else None
        self._wait(api, "/readyz", 120)
        self.start(plane.controller_manager())
        self.start(plane.scheduler())
        api.apply("/apis/storage.k8s.io/v1/storageclasses/standard", storage_class())
        self.start(plane.provisioner())
        if self.wanted.get("kwok", True):
            self.start(plane.kwok(addons.write_stages(self.folder)))
        if node:
            self.start(node.kubelet())
            self.start(node.proxy())
            addons.push_own_images(node.registry_address)
            addons.apply_dns(api, self.slot.dns_service)  # type: ignore[union-attr]
        self._wait(api, "/api/v1/namespaces/default/serviceaccounts/default", 120)
        if node:
            self._wait_for_node(api)
        return {
            "kubeconfig": str(plane.admin),
            "server": plane.server,
            "folder": str(self.folder),
            "supervisor": os.getpid(),
            "slot": self.slot.number if self.slot else None,
            "registry": node.registry_address if node else None,
            "host": self.slot.host if self.slot else "127.0.0.1",
        }

    def _start_node(self, plane: ControlPlane) -> Node:
        assert self.slot is not None
        assert self.namespaces is not None
        network.make_cgroups(self.folder.name)
        own = self.folder / "machine"
        self.namespaces.bind(
            [
                (own / "cni", "/var/lib/cni"),
                (own / "containerd", "/run/containerd"),
                (own / "logs", "/var/log/containers"),
                (self.folder / "kubelet", "/var/lib/kubelet"),
            ]
        )
        node = Node(plane, self.slot, self._snapshotter(), self.folder.name)
        node.write()
        self.start(node.registry())
        self.start(node.containerd())
        return node

    def _snapshotter(self) -> str:
        """overlayfs, or plain copies where the folder lies on something overlayfs cannot lie on."""
        assert self.namespaces is not None
        probe = self.folder / "overlay"
        for name in ("lower", "upper", "work", "merged"):
            (probe / name).mkdir(parents=True)
        options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        command = f"mount -t overlay overlay -o {options} {probe}/merged && umount {probe}/merged"
        try:
            network.run(*self.namespaces.inside("sh", "-ec", command))
        except CannotRun:
            return "native"
        return "overlayfs"

    def _wait_for_store(self) -> None:
        give_up = time.monotonic() + 60
        while "kine" in self.processes and not (self.folder / "store.sock").exists():
            self._check()
            if time.monotonic() > give_up:
                raise CannotRun("kine did not start within a minute")
            time.sleep(0.02)

    def _wait(self, api: Api, path: str, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while True:
            self._check()
            try:
                api.request("GET", path)
            except (Refused, OSError) as error:
                if time.monotonic() > give_up:
                    raise CannotRun(f"{path} after {seconds:.0f} s: {error}") from error
                time.sleep(0.05)
            else:
                return

    def _wait_for_node(self, api: Api) -> None:
        def ready(node: dict[str, Any]) -> bool:
            self._check()
            conditions = node["status"].get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        api.wait(f"/api/v1/nodes/{NODE}", ready, 120)
        api.wait("/apis/apps/v1/namespaces/kube-system/deployments/coredns", addons.available, 120)

    # Ready, until told otherwise

    def serve(self) -> None:
        """Answer on the control socket until a shutdown, a signal, or the end of the lifeline."""
        control = self.folder / "control"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(control))
            listener.listen(8)
            watched: list[Any] = [listener]
            if self.wanted.get("lifeline"):
                watched.append(sys.stdin)
            while True:
                ready, _, _ = select.select(watched, [], [])
                if sys.stdin in ready:
                    return
                with listener.accept()[0] as connection, connection.makefile("rw", encoding="utf-8") as stream:
                    try:
                        asked = json.loads(stream.readline() or "{}")
                        stream.write(json.dumps(self._answer(asked)) + "\n")
                        stream.flush()
                    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
                        print(f"control: {error!r}", file=sys.stderr, flush=True)
                        continue
                    if asked.get("do") == "shutdown":
                        return

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("do") == "stop":
            self.stop(asked["name"], asked.get("signal", signal.SIGTERM))
        elif asked.get("do") == "start":
            name = asked["name"]
            if self.processes[name].poll() is not None:
                self.start(self.components[name])
        states = {name: process.poll() for name, process in self.processes.items()}
        pids = {name: process.pid for name, process in self.processes.items()}
        ended = {name: code for name, code in states.items() if code is not None}
        return {"supervisor": os.getpid(), "pids": pids, "ended": ended}

    # And back

    def down(self) -> None:
        """Kill everything at once: nothing of it is kept."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait(30)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> int:
    """Run one cluster to its end. The folder disappears with it, but for logs of one that failed to start."""
    folder, wanted = Path(sys.argv[1]), json.loads(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _leave)
        supervisor = Supervisor(folder, wanted)
        failed = False
        try:
            told = supervisor.up()
            (folder / "ready.tmp").write_text(json.dumps(told))
            os.replace(folder / "ready.tmp", folder / "ready.json")
            supervisor.serve()
        except Exception as error:  # whatever it was, the one who waits for us must read it
            failed = True
            expected = isinstance(error, (CannotRun, binaries.CannotBuild, TimeoutError))
            text = str(error) if expected else traceback.format_exc()
            (folder / "failed.tmp").write_text(text)
            os.replace(folder / "failed.tmp", folder / "failed.txt")
        finally:
            supervisor.down()
            if failed:
                time.sleep(0 if wanted.get("keep") else 5)  # the one who waits reads why
            if not wanted.get("keep"):
                clean_up(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
