"""Tasks that several ranks run, on real pods: the same answers as on one machine, whatever is killed."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.sdk.client import LocalClient
from tests.cluster.cluster import Cluster
from tests.cluster.components import free_port
from tests.cluster.test_training import processes
from tests.support.frameworks import needed, site_packages
from tests.support.kube.environments import IMAGE, packages, with_packages
from tests.support.kube.platform import BUCKET, SECRET, Platform, apply_crds, operator, push_launcher, push_stand_ins
from tests.support.s3_server import s3_server
from tests.unit.tracking.conftest import Mlflow, eventually, stop_gateway, users_server

__all__ = ["users_server"]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "training" / "scripts"
RUNS = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{}/pipelineruns"
JOBS = "/apis/training.mlplatform.dev/v1alpha1/namespaces/{}/trainingjobs"
PATIENCE = 300.0


@dataclass(frozen=True)
class Server:
    """The platform's server of the namespace, as a process of this machine."""

    url: str
    home: Path

    def ask(self, path: str) -> Any:
        token = (self.home / "server" / "token").read_text(encoding="ascii").strip()
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())


@contextmanager
def serving(cluster: Cluster, namespace: str, folder: Path, mlflow: str) -> Generator[Server]:
    home, port = folder / "server-home", free_port(cluster.host)
    url = f"http://{cluster.host}:{port}"
    command = [sys.executable, "-m", "mlplatform", "server", "--namespace", namespace, "--host", cluster.host]
    command += ["--port", str(port), "--home", str(home), "--mlflow", mlflow, "--address", url]
    command += ["--allow-host", cluster.host, "--no-print-link"]
    with open(folder / "server.log", "ab") as log:
        env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Server(url, home)
        assert process.poll() is None, (folder / "server.log").read_text(errors="replace")[-3000:]
    finally:
        process.terminate()
        process.wait(30)
        stop_gateway(home / "mlflow")


@dataclass(frozen=True)
class Place:
    """A namespace with an operator, a store, and this environment's packages."""

    cluster: Cluster
    namespace: str
    claim: str
    home: Path
    env: dict[str, str]
    server: Server | None

    def cli(self, *words: str) -> Any:
        command = [sys.executable, "-m", "mlplatform", *words, "--home", str(self.home), "--output", "json"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, env={**os.environ, **self.env}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def start(self, document: Path, **parameters: Any) -> str:
        words = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
        given = [word for text in words for word in ("-p", text)]
        where = ["--backend", "kubernetes", "--namespace", self.namespace, "--detach"]
        return str(self.cli("run", str(document), *given, *where)["run_id"])

    def run(self) -> dict[str, Any]:
        [found] = self.cluster.api.get(RUNS.format(self.namespace))["items"]
        return found

    def job(self) -> dict[str, Any] | None:
        items = self.cluster.api.get(JOBS.format(self.namespace))["items"]
        return items[0] if items else None

    def until(self, what: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := what()):
            assert time.monotonic() < end, json.dumps([self.run().get("status"), self.job()], indent=1)
            time.sleep(0.1)
        return found

    def ended(self) -> dict[str, Any]:
        return self.until(lambda: status if (status := self.run().get("status") or {}).get("finishedAt") else None)


@pytest.fixture
def place(cluster: Cluster, namespace: str, tmp_path: Path, users_server: Mlflow) -> Generator[Place]:
    with (
        serving(cluster, namespace, tmp_path, users_server.url) as server,
        packages(cluster, namespace) as claim,
        standing(cluster, namespace, tmp_path, server, claim) as place,
    ):
        yield place


@contextmanager
def standing(cluster: Cluster, namespace: str, folder: Path, server: Server | None, claim: str) -> Generator[Place]:
    """Without a server nothing is tracked."""
    assert cluster.registry is not None
    apply_crds(cluster)
    assert push_stand_ins(cluster, [IMAGE]) == []
    launcher = push_launcher(cluster.registry)
    told = {"MLPLATFORM_SERVER": server.url} if server else {}
    with (
        s3_server(folder / "s3", cluster.host) as s3,
        operator(cluster, folder, launcher, namespace, progress=free_port(cluster.host), **told),
    ):
        (s3.folder / BUCKET).mkdir()
        store = Platform(cluster, launcher, s3).prepare(namespace)
        env = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "MLPLATFORM_RUNS_STORE": store["uri"],
            "MLPLATFORM_RUNS_STORE_ENDPOINT": s3.endpoint,
            "MLPLATFORM_RUNS_STORE_REGION": s3.region,
            "MLPLATFORM_RUNS_STORE_SECRET": SECRET,
        }
        yield Place(cluster, namespace, claim, folder / "home", env, server)
        for kind in (RUNS, JOBS):
            for item in cluster.api.get(kind.format(namespace))["items"]:
                cluster.api.delete(f"{kind.format(namespace)}/{item['metadata']['name']}")
        cluster.api.wait(f"/api/v1/namespaces/{namespace}/pods", lambda pods: not pods["items"])


def alone(epochs: int) -> float:
    """The accuracy of one process by itself."""
    parts = runpy.run_path(str(ROOT / "pipelines" / "digits_distributed.py"))
    data = parts["prepare"].function(0.8, 0)
    weights = parts["train"].function(data.train, epochs, 120, 0.5)
    read = parts["chances"](weights, data.test[:, :-1]).argmax(axis=1)
    return round(float((read == data.test[:, -1]).mean()), 4)


def tracked(mlflow: Mlflow, name: str) -> list[dict[str, Any]]:
    """MLflow's runs of a task, once there are any and all have ended."""
    found = [run for run in mlflow.runs("Default") if run["parent"] and run["name"] == name]
    return found if all(run["end"] for run in found) else []


def check_logs(place: Place, run_id: str, job: str, begin: int) -> None:
    """What each rank said is had from the run, on the command line, and by the page of the job."""
    training, server = ml.Run(place.home, run_id).task("train").training, place.server
    assert training is not None
    assert server is not None
    for rank in range(2):
        line = f"rank {rank} of 2: attempt 2, from step {begin}\n"
        assert line in training.logs(rank)
        where = ("--backend", "kubernetes", "--namespace", place.namespace)
        assert line in place.cli("training", "logs", job, "--rank", str(rank), *where)["log"]
        page = f"/api/v1/training-jobs/{job}/log?group=worker&rank={rank}&attempt=2"
        place.until(lambda line=line, page=page: line in server.ask(page)["text"])


def test_digits_by_two_ranks_one_of_which_is_killed(
    place: Place, tmp_path: Path, monkeypatch: Any, users_server: Mlflow
) -> None:
    """pipelines/digits_distributed on pods: the same accuracy as one process, after a rank was killed."""
    epochs = 1200
    document = tmp_path / "digits.yaml"
    text = (ROOT / "pipelines" / "digits_distributed.yaml").read_text(encoding="utf-8")
    document.write_text(with_packages(text, place.claim, OMP_NUM_THREADS="1"), encoding="utf-8")
    run_id = place.start(document, epochs=epochs)
    begun = place.until(lambda: ml.Run(place.home, run_id).task("train").training)

    def saved() -> Any:
        job = place.job()
        progress = (job or {}).get("status", {}).get("progress") or {}
        return job if progress.get("checkpointStep") else None

    job = place.until(saved)["metadata"]["name"]
    working = [pid for pid in processes(job, 1) if b"--task-rank" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(working[0], signal.SIGKILL)  # what it forked comes later
    monkeypatch.chdir(tmp_path)
    expected = alone(epochs)
    status = place.ended()
    assert status["state"] == "SUCCEEDED", json.dumps(status, indent=1)
    assert status["outputs"]["parameters"] == {"Output": expected}
    found = place.job()
    assert found is not None
    first, second = found["status"]["attempts"]
    # the other rank may be the first to end: it loses its peer
    assert (first["rank"], first["exitCode"]) in ((1, 137), (0, 1)), first
    assert (first["group"], first["action"], first["counted"]) == ("worker", "Restart", True)
    assert second["resumedFromStep"] >= 10
    [task] = [one for one in status["tasks"] if one["path"] == ["train"]]
    assert (task["attempt"], task["training"], begun.name) == (1, job, job)
    check_logs(place, run_id, job, second["resumedFromStep"] + 1)

    # one MLflow run of the task over both attempts: every step of rank 0, the last checkpoint, the model
    trains = eventually(lambda: tracked(users_server, "train"))
    assert trains, users_server.runs("Default")
    [train] = trains
    steps = [step for step, _ in users_server.history(train["id"], "loss")]
    last = epochs * 11 - 1
    assert sorted(set(steps)) == list(range(last + 1))
    assert train["status"] == "FINISHED"
    page = json.loads(users_server.artifact(train, f"checkpoints/step-{last}/checkpoint.json"))
    assert (page["step"], list(page["files"])) == (last, ["weights.npy"])
    assert len(users_server.artifact(train, f"checkpoints/step-{last}/weights.npy")) > 5000
    server = place.server
    assert server is not None
    [told] = server.ask("/api/v1/runs")["runs"]
    assert train["tags"]["mlplatform.run_id"] == told["run_id"]
    assert told["mlflow_run_id"]
    detail = server.ask(f"/api/v1/runs/{told['run_id']}/tasks/train")
    assert detail["mlflow_run_id"]
    assert detail["training"] == job
    page = server.ask(f"/api/v1/training-jobs/{job}")
    assert page["mlflow_run_id"] == detail["mlflow_run_id"], "the same run, whoever tells of it"


@pytest.fixture
def torch() -> Path:
    needed("torch")
    return site_packages("torch")


@pytest.mark.cannot_run_here("torch may be more than the disk holds")
def test_torchrun_as_a_task_says_the_same_here_and_on_a_cluster(
    torch: Path, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """`--backend kubernetes` with no other change. (Pods are given torch's packages; tasks here by PYTHONPATH.)"""
    text = runpy.run_path(str(SCRIPTS / "pipeline_torch.py"))["whole"].compile()
    document = tmp_path / "torch.yaml"
    with (
        packages(cluster, namespace, torch) as claim,
        standing(cluster, namespace, tmp_path, None, claim) as place,
    ):
        document.write_text(with_packages(text, claim, OMP_NUM_THREADS="1"), encoding="utf-8")
        place.start(document)
        here = tmp_path / "here.yaml"
        here.write_text(text, encoding="utf-8")
        with_torch = replace(place, env={"PYTHONPATH": str(torch), "OMP_NUM_THREADS": "1"})
        try:
            found = with_torch.cli("run", str(here))["outputs"]["Output"]
        finally:
            LocalClient(place.home).stop()
            stop_gateway(place.home / "mlflow")
        status, job = place.ended(), place.job()
    assert status["state"] == "SUCCEEDED", json.dumps(status, indent=1)
    there = status["outputs"]["parameters"]["Output"]
    assert (there["loss"], there["world"]) == (pytest.approx(found["loss"], rel=1e-9), 2)
    assert there["loss"] < 1.0, "it has learnt"
    assert job is not None
    said = (job["spec"]["framework"], job["status"]["phase"], job["status"]["progress"]["step"])
    assert said == ("torch", "Complete", 29)
