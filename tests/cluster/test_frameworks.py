"""Real torch and jax on real pods: several ranks come to the loss of one process, whatever happens to them.

``MLPLATFORM_TEST_TORCH`` and ``MLPLATFORM_TEST_JAX`` name a Python (3.11, as the pods' image has) with the framework
and scikit-learn. Its packages reach pods by a read-only volume: the frameworks are too large for an image of the tests.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.sdk.training.cluster import ClusterTraining
from mlplatform.sdk.training.run import TrainingRun
from tests.cluster.cluster import Cluster
from tests.cluster.test_training import PATIENCE, processes, training_place, until
from tests.support.kube.environments import IMAGE, PLACE, packages

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "training" / "scripts"
KEPT = "/mlplatform/checkpoint"
EVERY = 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def python_with(framework: str) -> Path | None:
    named = os.environ.get(f"MLPLATFORM_TEST_{framework.upper()}", "")
    return Path(named) if named else None


def needs(framework: str) -> list[pytest.MarkDecorator]:
    name = f"MLPLATFORM_TEST_{framework.upper()}"
    return [
        pytest.mark.cannot_run_here(f"{framework} is installed by those who use it, not by the lock"),
        pytest.mark.skipif(python_with(framework) is None, reason=f"no Python with {framework}: set {name}"),
    ]


def site_packages(framework: str) -> Path:
    python = python_with(framework)
    assert python is not None
    told = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip())


@dataclass(frozen=True)
class Place:
    cluster: Cluster
    namespace: str

    def start(self, framework: str, claim: str, *words: str, workers: int = 2) -> TrainingRun:
        """A job whose ranks find the framework on a claim; what its script writes is beside the checkpoints."""
        wanted = ml.TrainingJob(
            SCRIPTS / f"digits_{framework}.py",
            ["--out", KEPT, *words],
            framework=framework,
            workers=workers,
            image=IMAGE,
            grace=60,
            env={"PYTHONPATH": PLACE, "OMP_NUM_THREADS": "1"},
            spec={"failurePolicy": {"backoffSeconds": 0}},
        )
        body = copy.deepcopy(wanted.object(f"{framework}-{workers}"))
        for group in body["spec"]["groups"]:
            spec = group["template"]["spec"]
            spec["volumes"] = [{"name": "packages", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]
            spec["containers"][0]["volumeMounts"] = [{"name": "packages", "mountPath": PLACE, "readOnly": True}]
        return ClusterTraining(self.namespace).create(body)

    def folder(self, run: TrainingRun) -> Path:
        """Where the job's claim is on this machine."""
        claims = f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims"
        claim = self.cluster.api.get(f"{claims}/{run.name}-checkpoint")
        volume = self.cluster.api.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        return Path(volume["spec"]["hostPath"]["path"])

    def final(self, run: TrainingRun) -> dict[str, Any]:
        run.wait(PATIENCE)
        return json.loads((self.folder(run) / "final.json").read_text())

    def seen(self, run: TrainingRun, rank: int = 0) -> list[int]:
        """The steps that the process with this rank did, those that were done again included."""
        found: list[dict[str, Any]] = []
        for file in self.folder(run).glob(f"seen-*-{rank}-*"):
            found += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        return [one["step"] for one in sorted(found, key=lambda one: one["at"])]


@pytest.fixture
def place(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[[], Place]]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with training_place(cluster, tmp_path, namespace, IMAGE):
        yield lambda: Place(cluster, namespace)


def alone(framework: str, folder: Path) -> float:
    """The loss of one process by itself, on this machine."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLP_CHECKPOINT_DIR": str(folder / "kept")}
    command = [str(python_with(framework)), str(SCRIPTS / f"digits_{framework}.py"), "--out", str(folder)]
    subprocess.run(command, env=env, check=True, timeout=PATIENCE)
    return float(json.loads((folder / "final.json").read_text())["loss"])


def at(place: Place, run: TrainingRun, step: int) -> Callable[[], bool]:
    def done() -> bool:
        return run.status.get("phase") == "Running" and max(place.seen(run), default=-1) >= step

    return done


class TestTorch:
    pytestmark = needs("torch")

    def test_killed_and_suspended_it_comes_to_the_loss_of_one(self, place: Callable[[], Place], tmp_path: Path) -> None:
        here = place()
        with packages(here.cluster, here.namespace, site_packages("torch")) as claim:
            run = here.start("torch", claim, "--every", str(EVERY), "--pause", "0.25")
            expected = alone("torch", tmp_path)

            # a rank's process is killed: at most an interval of checkpoints is lost, and told
            until(at(here, run, 12), run)
            before = max(here.seen(run))
            os.kill(processes(run.name, 1)[-1], signal.SIGKILL)
            until(lambda: run.status.get("attempt") == 2, run)
            until(at(here, run, before + 3), run)
            steps = here.seen(run)
            again = len(steps) - len(set(steps))
            assert 0 < again <= EVERY
            first, second = run.attempts
            assert (first["action"], first["counted"]) == ("Restart", True)
            assert second["resumedFromStep"] % EVERY == EVERY - 1
            assert 0 < run.goodput["lostSeconds"] <= 0.25 * EVERY + 5

            # suspended, it saves the step that it is at; resumed, it goes on behind it
            run.suspend()
            run.wait(PATIENCE, phase="Suspended")
            saved = run.status["checkpoint"]["step"]
            assert saved == max(here.seen(run))
            run.resume()
            final = here.final(run)
            assert (final["loss"], final["world"]) == (pytest.approx(expected, rel=1e-9), 2)
            steps = here.seen(run)
            assert len(steps) - len(set(steps)) == again, "nothing was lost by the suspension"
            assert run.status["restartsCounted"] == 1
            spent = run.status["ledger"]["spent"]
            assert sum(spent.values()) == pytest.approx(1000 * run.goodput["wallSeconds"], abs=1000)


class TestJax:
    pytestmark = needs("jax")

    def test_by_two_processes_it_comes_to_the_loss_of_one(self, place: Callable[[], Place], tmp_path: Path) -> None:
        here = place()
        with packages(here.cluster, here.namespace, site_packages("jax")) as claim:
            run = here.start("jax", claim)
            expected = alone("jax", tmp_path)
            final = here.final(run)
        assert (final["loss"], final["world"]) == (pytest.approx(expected, rel=1e-9), 2)
        assert final["loss"] < 1.0
