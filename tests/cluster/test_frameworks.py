"""Real torch and jax on real pods: several ranks come to the loss of one process, whatever happens to them.

The frameworks' packages (``tests.support.frameworks``) reach pods by a read-only volume: they are too large for an
image of the tests. Open MPI, which has a server in each pod, has an image.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mlplatform as ml
from mlplatform.sdk.training.cluster import ClusterTraining
from mlplatform.sdk.training.run import TrainingRun
from tests.cluster.cluster import Cluster
from tests.cluster.test_training import PATIENCE, processes, training_place, until
from tests.support import digits, images
from tests.support.frameworks import needed, site_packages
from tests.support.kube.environments import IMAGE, PLACE, packages

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "training" / "scripts"
KEPT = "/mlplatform/checkpoint"
EVERY = 5
#: What pods call the image with Open MPI.
MPI_IMAGE = "mlplatform-test/openmpi:4"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def torch() -> Path:
    return needed("torch")


@pytest.fixture
def jax() -> Path:
    return needed("jax")


@dataclass(frozen=True)
class Place:
    cluster: Cluster
    namespace: str

    def start(
        self, framework: str, claim: str, *words: str, workers: int = 2, elastic: tuple[int, int] | None = None
    ) -> TrainingRun:
        """A job whose ranks find the framework on a claim; what its script writes is beside the checkpoints."""
        wanted = ml.TrainingJob(
            SCRIPTS / f"digits_{framework}.py",
            ["--out", KEPT, *words],
            framework=framework,
            workers=workers,
            elastic=elastic,
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

    def final(self, run: TrainingRun) -> tuple[float, int]:
        run.wait(PATIENCE)
        return digits.loss(self.folder(run))


@pytest.fixture
def place(cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Place]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with training_place(cluster, tmp_path, namespace, IMAGE):
        yield Place(cluster, namespace)


def alone(framework: str, folder: Path) -> float:
    """The loss of one process by itself, on this machine."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLP_CHECKPOINT_DIR": str(folder / "kept")}
    command = [str(needed(framework)), str(SCRIPTS / f"digits_{framework}.py"), "--out", str(folder)]
    subprocess.run(command, env=env, check=True, timeout=PATIENCE)
    return digits.loss(folder)[0]


def at(place: Place, run: TrainingRun, step: int, world: int = 2) -> Callable[[], bool]:
    """Whether a step was done by so many processes, and all is well."""

    def done() -> bool:
        if run.status.get("phase") != "Running":
            return False
        return any(one.step >= step and one.world == world for one in digits.done(place.folder(run)))

    return done


class TestTorch:
    pytestmark = pytest.mark.cannot_run_here("torch may be more than the disk holds")

    def test_killed_and_suspended_it_comes_to_the_loss_of_one(self, torch: Path, place: Place, tmp_path: Path) -> None:
        here = place
        with packages(here.cluster, here.namespace, site_packages("torch")) as claim:
            run = here.start("torch", claim, "--every", str(EVERY), "--hold", "12/2/1", "--hold", "25/2/2")
            expected = alone("torch", tmp_path)

            # a rank's process is killed: at most an interval of checkpoints is lost, and told
            until(at(here, run, 12), run)
            folder = here.folder(run)
            os.kill(processes(run.name, 1)[-1], signal.SIGKILL)
            since = time.time() - digits.when(folder, 9)
            until(at(here, run, 25), run)
            again = digits.again(folder)
            assert again == 3, "what was done behind step 9, at most an interval of checkpoints"
            first, second = run.attempts
            assert (first["action"], first["counted"], second["resumedFromStep"]) == ("Restart", True, 9)
            assert 0 < run.status["ledger"]["spent"]["lost"] <= 1000 * (since + 5), "told, and no more than that"

            # suspended, it saves the step that it is at; resumed, it goes on behind it
            run.suspend()
            run.wait(PATIENCE, phase="Suspended")
            saved = run.status["checkpoint"]["step"]
            assert saved == max(digits.steps(folder))
            run.resume()
            assert here.final(run) == (pytest.approx(expected, rel=1e-9), 2)
            assert digits.again(folder) == again, "nothing was lost by the suspension"
            assert run.status["restartsCounted"] == 1
            adds_up(run)

    def test_elastic_it_goes_on_with_more_and_with_fewer(self, torch: Path, place: Place, tmp_path: Path) -> None:
        here = place
        with packages(here.cluster, here.namespace, site_packages("torch")) as claim:
            run = here.start(
                "torch", claim, "--every", str(EVERY), "--hold", "8/2/1", "--hold", "20/4/1", elastic=(2, 4)
            )
            expected = alone("torch", tmp_path)
            until(at(here, run, 8), run)
            folder = here.folder(run)
            run.scale(4)
            until(at(here, run, 20, world=4), run)
            larger = digits.again(folder)
            run.scale(2)
            loss, world = here.final(run)
            assert (loss, world) == (pytest.approx(expected, rel=1e-9), 2)
            told = digits.done(folder)
            assert [one.world for one in told if one.step == digits.STEPS - 1] == [2, 2]
            assert len(run.attempts) == 1, "no change of size was a failure"
            assert {one.world for one in told} == {2, 4}
            assert larger <= EVERY, "an interval of checkpoints at most"
            assert digits.again(folder) - larger <= EVERY
            assert digits.each_sample_once_an_epoch(folder)
            adds_up(run)


def adds_up(run: TrainingRun) -> None:
    """The parts of the time that a job took are all of it."""
    spent = run.status["ledger"]["spent"]
    assert sum(spent.values()) == pytest.approx(1000 * run.goodput["wallSeconds"], abs=1000)


class TestJax:
    pytestmark = pytest.mark.cannot_run_here("jax may be more than the disk holds")

    def test_by_two_processes_it_comes_to_the_loss_of_one(self, jax: Path, place: Place, tmp_path: Path) -> None:
        here = place
        with packages(here.cluster, here.namespace, site_packages("jax")) as claim:
            run = here.start("jax", claim)
            expected = alone("jax", tmp_path)
            loss, world = here.final(run)
        assert (loss, world) == (pytest.approx(expected, rel=1e-9), 2)
        assert loss < 1.0


class TestMpi:
    """By an image with Open MPI: ``tests.support.images``."""

    def test_killed_and_suspended_it_comes_to_the_loss_of_one(
        self, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        cluster.push(MPI_IMAGE, images.archive("mpi"))
        with training_place(cluster, tmp_path, namespace):
            script = SCRIPTS / "line_mpi.py"
            words = ["--out", KEPT, "--every", str(EVERY), "--hold", "12/4/1", "--hold", "25/4/2"]
            # Four processes that wait by turning round would leave each other nothing of two cores.
            env = {"GREETING": "hello", "OMPI_MCA_mpi_yield_when_idle": "1"}
            run = ml.TrainingJob(
                script, words, framework="mpi", workers=2, procs_per_worker=2, image=MPI_IMAGE, grace=60, name="line",
                env=env, spec={"failurePolicy": {"backoffSeconds": 0}},
            ).run(backend="kubernetes", namespace=namespace)  # fmt: skip
            here = Place(cluster, namespace)
            env = {**os.environ, "PYTHONPATH": str(ROOT), "MLP_CHECKPOINT_DIR": str(tmp_path / "kept")}
            subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], env=env, check=True, timeout=PATIENCE)
            expected, _ = digits.loss(tmp_path)

            # a process in the second worker is killed: mpirun ends them all, and they begin again
            until(at(here, run, 12, world=4), run)
            folder = here.folder(run)
            said = {line for line in run.logs().splitlines() if line.startswith("rank")}
            assert said == {
                f"rank {rank} of 4 in worker {rank // 2}, attempt 1, hello, from step 0" for rank in range(4)
            }
            os.kill(processes(run.name, 1, b"OMPI_COMM_WORLD_RANK=3")[-1], signal.SIGKILL)
            until(lambda: run.status.get("attempt") == 2, run)
            first = run.attempts[0]
            assert (first["group"], first["exitCode"], first["action"]) == ("launcher", 137, "Restart")
            until(lambda: max(digits.steps(folder)) >= 25 and run.phase == "Running", run)
            again = digits.again(folder)
            assert again == 3, "what was done behind step 9"

            # suspended, its processes save what they are at, wherever they are
            run.suspend()
            run.wait(PATIENCE, phase="Suspended")
            assert run.status["checkpoint"]["step"] == max(digits.steps(folder)), run.object
            run.resume()
            assert here.final(run) == (pytest.approx(expected, rel=1e-9), 4)
            assert digits.again(folder) == again, "nothing was lost by the suspension"
            assert run.status["restartsCounted"] == 1
            adds_up(run)
