"""TrainingJobs whose ranks are real pods that report, save, are killed, suspended and evicted, and go on: what
tests/training shows of processes, on a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.sdk.training.run import TrainingRun
from tests.cluster.cluster import Cluster
from tests.cluster.components import free_port
from tests.support.kube.environments import claimed
from tests.support.kube.platform import apply_crds, operator, push_launcher, push_stand_ins

IMAGE = "python:3.11"
SCRIPTS = Path(__file__).parent / "scripts"
JOBS = "/apis/training.mlplatform.dev/v1alpha1/namespaces/{}/trainingjobs"
PATIENCE = 300.0


@pytest.fixture
def place(cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with training_place(cluster, tmp_path, namespace):
        yield namespace


@contextmanager
def training_place(cluster: Cluster, folder: Path, namespace: str, image: str = IMAGE) -> Generator[None]:
    """A namespace under the restricted rule, with an operator of its own to which ranks report; nothing is left."""
    assert cluster.registry is not None
    apply_crds(cluster)
    assert push_stand_ins(cluster, [image]) == []
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", label)
    port = free_port(cluster.host)
    with operator(cluster, folder, push_launcher(cluster.registry), namespace, progress=port):
        yield
        for item in cluster.api.get(JOBS.format(namespace))["items"]:
            cluster.api.delete(f"{JOBS.format(namespace)}/{item['metadata']['name']}")
        cluster.api.wait(f"/api/v1/namespaces/{namespace}/pods", lambda pods: not pods["items"])


def until(what: Callable[[], Any], run: TrainingRun) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, json.dumps(run.object, indent=1)
        time.sleep(0.1)
    return found


def said(run: TrainingRun, attempt: int, **wanted: int) -> bool:
    """Whether the ranks of an attempt reported this much."""
    return run.status.get("attempt") == attempt and wanted.items() <= run.progress.items()


def processes(job: str, rank: int, *more: bytes) -> list[int]:
    """The processes of this machine that are of a rank's container, the first one first. ``more``: further variables
    that they have."""
    wanted = {f"MLP_JOB={job}".encode(), f"MLP_RANK={rank}".encode(), *more}
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def cli(*words: str) -> str:
    command = [sys.executable, "-m", "mlplatform", *words, "--backend", "kubernetes"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(rank: int, steps: int = 30) -> int:
    state = rank
    for step in range(steps):
        state = (31 * state + step) % 1_000_003
    return state


def test_killed_suspended_and_evicted_it_comes_to_the_same_end(cluster: Cluster, place: str) -> None:
    words = ["--name", "sums", "--workers", "2", "--checkpoints", "each", "--image", IMAGE, "--namespace", place]
    made = json.loads(cli("train", str(SCRIPTS / "sums.py"), *words, "--detach", "--output", "json"))
    name = made["metadata"]["name"]
    cluster.api.patch(f"{JOBS.format(place)}/{name}", {"spec": {"failurePolicy": {"backoffSeconds": 0}}})
    run = ml.training_run(name, backend="kubernetes", namespace=place)

    # a rank is killed: both begin again behind the checkpoint that both have
    until(lambda: said(run, 1, step=12, checkpointStep=9), run)
    assert run.metrics["state"] in (expected(0, 13), expected(1, 13))
    os.kill(processes(name, 0)[-1], signal.SIGKILL)
    until(lambda: said(run, 2, step=19), run)
    first, second = run.attempts
    assert (first["rank"], first["exitCode"], first["action"], second["resumedFromStep"]) == (0, 137, "Restart", 9)
    assert run.status["ledger"]["spent"]["lost"] > 0

    # suspended, its ranks save and are gone; resumed, they go on behind what they saved
    cli("training", "suspend", name, "--namespace", place)
    run.wait(PATIENCE, phase="Suspended")
    assert cluster.api.get(f"/api/v1/namespaces/{place}/pods")["items"] == []
    assert run.status["checkpoint"]["step"] == 20, json.dumps(run.object, indent=1)
    cli("training", "resume", name, "--namespace", place)
    until(lambda: said(run, 3, step=25), run)
    assert run.attempts[-1]["resumedFromStep"] == 20

    # a rank is evicted: its claim still holds what it wrote in all attempts
    pod = f"{name}-worker-a3-1"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": place}}
    cluster.api.create(f"/api/v1/namespaces/{place}/pods/{pod}/eviction", eviction)
    run.wait(PATIENCE)
    # who is told to stop does the step that it is at, and saves it; in attempt 1 that was no use without the other's
    for rank, first_steps in enumerate((range(13), range(14))):
        attempts = (first_steps, range(10, 21), range(21, 27), range(27, 30))
        trace = "".join(f"{attempt}:{step} " for attempt, steps in enumerate(attempts, 1) for step in steps)
        assert run.logs(rank) == f"rank {rank} of 2 (python, keeps 3): {trace}state {expected(rank)}\n"
    status = run.status
    assert (status["restartsCounted"], status["restartsUncounted"]) == (1, 1)
    assert "counted" not in status["attempts"][2]
    spent = status["ledger"]["spent"]
    assert sum(spent.values()) == pytest.approx(1000 * run.goodput["wallSeconds"], abs=1000)
    assert "complete" in cli("training", "show", name, "--namespace", place)


def test_a_full_disk_is_told_and_the_newest_whole_checkpoint_is_gone_on_from(
    cluster: Cluster, place: str, tmp_path: Path
) -> None:
    with small_disk(cluster, place, tmp_path) as claim:
        job = ml.TrainingJob(
            SCRIPTS / "fills.py",
            image=IMAGE,
            spec={"checkpoint": {"claimName": claim}, "failurePolicy": {"backoffSeconds": 0}},
        )
        run = job.run(backend="kubernetes", namespace=place).wait(PATIENCE)
        first, second = run.attempts
        told = {name: first[name] for name in ("reason", "rank", "exitCode", "action", "counted")}
        assert told == {"reason": "CheckpointFailed", "rank": 0, "exitCode": 1, "action": "Restart", "counted": True}
        words = "the checkpoint of step 2 could not be saved in /mlplatform/checkpoint: No space left on device ("
        assert words in first["message"], first
        assert "KiB of 512 KiB are free)" in first["message"]
        assert second["resumedFromStep"] == 1
        assert run.logs() == f"kept {[f'step-000000000{step}' for step in (2, 3, 4)]}\n"
        run.delete()  # a pod that is there still holds the disk
        cluster.api.wait(f"/api/v1/namespaces/{place}/pods", lambda pods: not pods["items"])


@contextmanager
def small_disk(cluster: Cluster, namespace: str, folder: Path) -> Generator[str]:
    """A claim on a file system of 512 KiB; its name."""
    disk = folder / "disk"
    disk.mkdir()
    node = ["nsenter", "--mount", "--pid", "--target", str(kubelet(cluster))]
    subprocess.run([*node, "mount", "-t", "tmpfs", "-o", "size=512k,mode=1777", "none", str(disk)], check=True)
    try:
        with claimed(cluster, namespace, disk, "ReadWriteOnce") as claim:
            yield claim
    finally:
        subprocess.run([*node, "umount", "--lazy", str(disk)], check=True)


def kubelet(cluster: Cluster) -> int:
    """The process whose mounts pods see: a node has its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/kubelet") and any(bytes(cluster.kubeconfig.parent) in word for word in words[1:]):
            return int(folder.name)
    raise AssertionError("no kubelet runs")
