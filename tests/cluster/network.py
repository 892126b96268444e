"""Where a cluster's node lives: a network, mount and process namespace of its own, and a cable to the machine.

Whatever containerd, the kubelet and kube-proxy mount, start or configure is in these namespaces, so it is gone with
their first process, however that one ended. What is left on the machine is one nftables table and the cgroups, which
``forget`` removes. Sixteen clusters can be up at once: each takes a slot, that is a /20 of 10.213.0.0/16.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

SLOTS = 16
#: Programs the node cannot do without, and the Debian package of each.
NEEDED = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "docker-registry": "docker-registry",
}
CNI = Path("/usr/lib/cni")
_FORWARD = "/proc/sys/net/ipv4/ip_forward"


class CannotRun(RuntimeError):
    """This machine cannot hold a node; the text says why and what to do."""


@dataclass(frozen=True)
class Slot:
    """The addresses of one cluster. ``host`` is this machine as the node and its pods see it."""

    number: int

    def _address(self, third: int, fourth: int) -> str:
        return f"10.213.{self.number * 16 + third}.{fourth}"

    @property
    def host(self) -> str:
        return self._address(0, 1)

    @property
    def node(self) -> str:
        return self._address(0, 2)

    @property
    def pods(self) -> str:
        return f"{self._address(4, 0)}/22"

    @property
    def services(self) -> str:
        return f"{self._address(8, 0)}/22"

    @property
    def api_service(self) -> str:
        return self._address(8, 1)

    @property
    def dns_service(self) -> str:
        return self._address(8, 10)

    @property
    def whole(self) -> str:
        return f"{self._address(0, 0)}/20"

    @property
    def link(self) -> str:
        return f"mlpnode{self.number}"


def check_machine() -> None:
    """Raises CannotRun with everything that is missing."""
    if os.geteuid() != 0:
        raise CannotRun("a cluster with a node needs root (the API server alone does not)")
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for word, package in NEEDED.items() if shutil.which(word, path=search) is None})
    if not (CNI / "ptp").exists():
        missing.append("containernetworking-plugins")
    if missing:
        raise CannotRun(f"a cluster with a node needs: apt-get install {' '.join(missing)}")


def take_slot(folder: Path) -> tuple[Slot, TextIO]:
    """A free slot and the lock that keeps it until the file is closed. Raises CannotRun if all are taken."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(SLOTS):
        lock = open(folder / f"slot-{number}", "w", encoding="ascii")  # noqa: SIM115 - open is what holds it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
        else:
            return Slot(number), lock
    raise CannotRun(f"all {SLOTS} slots for clusters are taken (make cluster-down stops one)")


def run(*words: str) -> str:
    """Run a command to its end. Raises CannotRun with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespaces:
    """The node's namespaces, held by one process: that one ends, and everything in them ends."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self.holder = holder
        self.pid = self._inner(holder)

    @staticmethod
    def command(pause: Path) -> list[str]:
        """What to start as the holder: PID 1 of the namespaces is ``pause``, which buries orphans."""
        return ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", str(pause)]

    @staticmethod
    def _inner(holder: subprocess.Popen[bytes]) -> int:
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up and holder.poll() is None:
            for pid in children.read_text().split():
                # Before pause is there, mounts of /proc may not be.
                if Path(f"/proc/{pid}/comm").read_text().strip() == "pause":
                    return int(pid)
            time.sleep(0.02)
        raise CannotRun("could not make namespaces (unshare); is this a container without the rights to?")

    def inside(self, *words: str) -> list[str]:
        """The command that runs ``words`` in the namespaces."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--", *words]

    def connect(self, slot: Slot) -> None:
        """Lay the cable: this machine reaches node, pods and Services, and they reach it and what it reaches."""
        _discard("ip", "link", "delete", slot.link)
        run("ip", "link", "add", slot.link, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        run("ip", "address", "add", f"{slot.host}/30", "dev", slot.link)
        run("ip", "link", "set", slot.link, "up")
        inside = [
            "mount --make-rshared /",
            "ip link set lo up",
            f"ip address add {slot.node}/30 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {slot.host}",
            f"echo 1 > {_FORWARD}",
        ]
        run(*self.inside("sh", "-ec", "\n".join(inside)))
        for network in (slot.pods, slot.services):
            run("ip", "route", "replace", network, "via", slot.node, "dev", slot.link)
        table = slot.link
        _discard("nft", "delete", "table", "ip", table)
        rules = (
            f"add table ip {table}; add chain ip {table} out {{ type nat hook postrouting priority srcnat; }};"
            f"add rule ip {table} out ip saddr {slot.whole} ip daddr != {slot.whole} masquerade;"
        )
        run("nft", rules)
        Path(_FORWARD).write_text("1")
        # Docker and others let nothing be forwarded that they do not know.
        for way in ("-i", "-o"):
            run("iptables", "-I", "FORWARD", way, slot.link, "-j", "ACCEPT")

    def bind(self, pairs: Sequence[tuple[Path, str]]) -> None:
        """Put folders of the cluster's own over places of the machine where programs write without asking."""
        for own, place in pairs:
            own.mkdir(parents=True, exist_ok=True)
            run(*self.inside("sh", "-ec", f"mkdir -p {place}; mount --bind {own} {place}"))


def forget(slot: Slot) -> None:
    """Remove from the machine what does not go with the namespaces. May be repeated."""
    _discard("nft", "delete", "table", "ip", slot.link)
    for way in ("-i", "-o"):
        _discard("iptables", "-D", "FORWARD", way, slot.link, "-j", "ACCEPT")
    _discard("ip", "link", "delete", slot.link)


def _discard(*words: str) -> None:
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def cgroup_roots() -> list[Path]:
    """The top of each cgroup hierarchy the kubelet uses (one with cgroup v2)."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists() and not (top / "memory").is_dir():
        return [top]
    return [path.resolve() for path in top.iterdir() if path.is_dir()]


def make_cgroups(name: str) -> None:
    """One cgroup in each hierarchy for all that the node runs."""
    for root in cgroup_roots():
        group = root / name
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # cgroup v1: empty ones take no process
            if (group / file).exists() and not (group / file).read_text().strip():
                (group / file).write_text((root / file).read_text())
        for parent in (root, group):  # cgroup v2: what a group may hand on
            if (parent / "cgroup.subtree_control").exists():
                _hand_on(parent)


def _hand_on(group: Path) -> None:
    control = group / "cgroup.subtree_control"
    words = " ".join(f"+{word}" for word in (group / "cgroup.controllers").read_text().split())
    try:
        control.write_text(words)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # A container's own top holds processes, and such a group hands nothing on: they move one down.
        below = group / "processes"
        below.mkdir(exist_ok=True)
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):  # ended meanwhile
                (below / "cgroup.procs").write_text(pid)
        control.write_text(words)


def remove_cgroups(name: str, seconds: float = 20) -> None:
    """Remove them again, once the processes in them are gone."""
    give_up = time.monotonic() + seconds
    for root in cgroup_roots():
        group = root / name
        while group.exists():
            for path, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
            if time.monotonic() > give_up:
                break
            if group.exists():
                time.sleep(0.05)
