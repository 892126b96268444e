"""Clusters come, do not mind each other, and go without a trace, however they were ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import binaries, network, supervisor
from tests.cluster.api import default_kubeconfig
from tests.cluster.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """Skips where clusters of ours cannot be, or are not wanted."""
    if default_kubeconfig() is not None:
        pytest.skip("MLPLATFORM_TEST_KUBECONFIG names a cluster of your own")
    try:
        network.check_machine()
        binaries.build()
    except (network.CannotRun, binaries.CannotBuild) as error:
        pytest.skip(str(error))


def traces(folder: Path, number: int | None) -> list[str]:
    """What of a cluster can still be found on this machine."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(process.name) != os.getpid():
            found.append(f"process {process.name}: {command[:200]}")
    found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if folder.name in line]
    for root in network.cgroup_roots():
        found += [f"cgroup {path}" for path in [root / folder.name] if path.exists()]
    if number is not None:
        link = network.Slot(number).link
        for words in (["ip", "-o", "link"], ["ip", "route"], ["nft", "list", "tables"], ["iptables-save"]):
            out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            found += [f"{words[0]}: {line}" for line in out.splitlines() if link in line]
    if folder.exists():
        found.append(f"files in {folder}")
    return found


def slot_of(folder: Path) -> int:
    return int((folder / "slot").read_text())


def wait_until_gone(folder: Path, number: int | None) -> None:
    give_up = time.monotonic() + 60
    while (left := traces(folder, number)) and time.monotonic() < give_up:
        time.sleep(0.2)
    assert left == []


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    running = Cluster.start(node=True, kwok=False)
    assert running.folder is not None
    number = slot_of(running.folder)
    seen = " ".join(traces(running.folder, number))
    for word in ("kube-apiserver", "kubelet", "containerd-shim", "cgroup", "iptables", "nft", "ip:", "files"):
        assert word in seen  # else this test would find nothing in any case
    running.stop()
    assert traces(running.folder, number) == []


_STARTER = """
import sys, time
from tests.cluster.cluster import Cluster
print(Cluster.start(node=True, kwok=False).folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["starter", "supervisor"])
def test_killing_leaves_nothing(victim: str) -> None:
    starter = subprocess.Popen([sys.executable, "-c", _STARTER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout:
        folder = Path(starter.stdout.readline().strip())
    number = slot_of(folder)
    if victim == "supervisor":
        pid = int(Cluster.find(folder).control(do="status")["supervisor"])
        os.kill(pid, signal.SIGKILL)
        starter.kill()
        starter.wait()
        give_up = time.monotonic() + 60
        while any(line.startswith("process") for line in traces(folder, number)) and time.monotonic() < give_up:
            time.sleep(0.1)
        supervisor.sweep()  # as the next start does
    else:
        starter.kill()
        starter.wait()
    wait_until_gone(folder, number)


def test_two_at_once_do_not_meet() -> None:
    first, second = Cluster.start(kwok=False), Cluster.start(kwok=False)
    try:
        assert first.server != second.server
        first.api.create("/api/v1/namespaces", {"metadata": {"name": "only-here"}})
        names = {item["metadata"]["name"] for item in second.api.get("/api/v1/namespaces")["items"]}
        assert "only-here" not in names
    finally:
        first.stop()
        second.stop()
    for stopped in (first, second):
        assert stopped.folder is not None
        assert traces(stopped.folder, None) == []


def test_another_checkout_finds_what_was_built(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    again = [sys.executable, "-m", "tests.cluster.binaries"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert [Path(line) for line in done.stdout.splitlines()] == binaries.build()
    assert done.stderr == ""
