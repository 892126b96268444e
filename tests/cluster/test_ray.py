"""Real ray on real pods: a head that drives, a worker that joins it, and what becomes of them when either is lost.

Its packages reach pods by a read-only volume: see ``test_frameworks``.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import runpy
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplatform.sdk.training.run import TrainingRun
from tests.cluster.cluster import Cluster
from tests.cluster.test_frameworks import EVERY, SCRIPTS, Place, alone, place
from tests.cluster.test_trained_tasks import standing
from tests.cluster.test_training import until
from tests.support.frameworks import needed, site_packages
from tests.support.kube.environments import packages, with_packages

__all__ = ["place"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.cannot_run_here("ray may be more than the disk holds"),
]

GCS = "import ray, sys; print(len(ray._raylet.GcsClient(address=sys.argv[1]).get_all_node_info()))"
LISTENS = "0A"


@pytest.fixture
def ray() -> Path:
    return needed("ray")


def rows(place: Place, run: TrainingRun) -> list[dict[str, Any]]:
    """What the driver did, in order."""
    found: list[dict[str, Any]] = []
    for file in place.folder(run).glob("seen-*"):
        found += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return sorted(found, key=lambda one: one["at"])


def at(place: Place, run: TrainingRun, step: int, *pods: str) -> Callable[[], bool]:
    """A step was done, on these pods."""

    def done() -> bool:
        found = rows(place, run)
        return bool(found) and found[-1]["step"] >= step and found[-1]["where"] == sorted(pods)

    return done


def process(job: str, group: str, program: str) -> int:
    """Of a rank, on this machine."""
    wanted = {f"MLP_JOB={job}".encode(), f"MLP_GROUP={group}".encode()}
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "comm").read_text().strip() == program and (folder / "environ").read_bytes()
            if told and wanted <= set(told.split(b"\0")):
                found.append(int(folder.name))
        except OSError:
            continue
    assert found
    return found[0]


def open_ports(pid: int) -> list[int]:
    """Where anything in the pod of a process listens to others."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, _, port = local.partition(":")
            if state == LISTENS and not address.endswith("0100007F"):
                found.add(int(port, 16))
    return sorted(found)


def http_status(host: str, port: int) -> int:
    """How a stranger is answered; 0: not by HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/api/version")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def asked(address: str, token: str) -> tuple[int, str]:
    """What ray's control store says to somebody with this token."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [str(needed("ray")), "-c", GCS, address]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout.strip() or done.stderr


def pod(place: Place, name: str) -> dict[str, Any]:
    return place.cluster.api.get(f"/api/v1/namespaces/{place.namespace}/pods/{name}")


def test_a_worker_and_the_head_are_lost_and_it_comes_to_the_loss_of_one(
    ray: Path, place: Place, tmp_path: Path
) -> None:
    here = place
    with packages(here.cluster, here.namespace, site_packages("ray")) as claim:
        run = here.start("ray", claim, "--every", str(EVERY), "--pause", "0.5")
        expected = alone("ray", tmp_path)
        head, worker = f"{run.name}-head-a1-0", f"{run.name}-worker-a1-0"

        # every rank computes its part, and strangers are told nothing
        until(at(here, run, 3, head, worker), run)
        address = pod(here, head)["status"]["podIP"]
        volumes = {one["name"]: one for one in pod(here, head)["spec"]["volumes"]}
        assert volumes["mlplatform-shm"]["emptyDir"] == {"medium": "Memory"}
        secret = here.cluster.api.get(f"/api/v1/namespaces/{here.namespace}/secrets/{run.name}-keys")
        token = base64.b64decode(secret["data"]["ray-token"]).decode()
        assert asked(f"{address}:6379", token) == (0, "2")
        assert "InvalidAuthToken" in asked(f"{address}:6379", "0" * 64)[1]
        ports = open_ports(process(run.name, "head", "gcs_server"))
        assert 6379 in ports
        assert 8265 not in ports
        assert {http_status(address, port) for port in ports} <= {0, 401}

        # a worker is killed: it alone is made anew, while the driver goes on
        uid = pod(here, head)["metadata"]["uid"]
        os.kill(process(run.name, "worker", "sh"), signal.SIGKILL)
        until(lambda: run.status.get("attempt") == 2, run)
        until(at(here, run, 0, head, f"{run.name}-worker-a2-0"), run)
        assert pod(here, head)["metadata"]["uid"] == uid
        assert [one["step"] for one in rows(here, run)] == list(range(len(rows(here, run))))
        first = run.attempts[0]
        assert (first["group"], first["exitCode"], first["action"]) == ("worker", 137, "Restart")

        # the head is deleted: it saves, and both are there again behind what it saved
        here.cluster.api.delete(f"/api/v1/namespaces/{here.namespace}/pods/{head}")
        until(at(here, run, 0, f"{run.name}-head-a3-0", f"{run.name}-worker-a3-0"), run)
        assert here.final(run) == (pytest.approx(expected, rel=1e-9), 2)
        assert [one["step"] for one in rows(here, run)] == list(range(28)), "nothing was done twice"
        assert (run.status["restartsCounted"], run.status["restartsUncounted"]) == (1, 1)


def test_a_task_of_a_pipeline(ray: Path, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    text = runpy.run_path(str(SCRIPTS / "pipeline_ray.py"))["squares"].compile()
    document = tmp_path / "squares.yaml"
    with (
        packages(cluster, namespace, site_packages("ray")) as claim,
        standing(cluster, namespace, tmp_path, None, claim) as place,
    ):
        document.write_text(with_packages(text, claim, OMP_NUM_THREADS="1"), encoding="utf-8")
        place.start(document)
        status, job = place.ended(), place.job()
    assert status["state"] == "SUCCEEDED", json.dumps(status, indent=1)
    assert status["outputs"]["parameters"]["Output"] == {
        "sum": sum(number * number for number in range(1000)),
        "nodes": 2,
    }
    assert job is not None
    assert [group["name"] for group in job["spec"]["groups"]] == ["head", "worker"]
    assert (job["status"]["phase"], job["status"]["attempt"]) == ("Complete", 1)
