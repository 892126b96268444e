"""Data-parallel training on real data by real frameworks: several processes come to the loss of one.

The frameworks are far too large for the lock. ``MLPLATFORM_TEST_TORCH`` and ``MLPLATFORM_TEST_JAX`` name a Python that
has them (and scikit-learn); where this one has, it is used.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.launcher import tree
from mlplatform.sdk.client import LocalClient

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 900.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def python_with(module: str) -> str:
    """A Python that has the module; "": none is known."""
    named = os.environ.get(f"MLPLATFORM_TEST_{module.upper()}", "")
    return named or (sys.executable if importlib.util.find_spec(module) else "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLPLATFORM_IDLE_SECONDS", "60")
    yield tmp_path / "home"
    LocalClient(tmp_path / "home").stop()


def final(home: Path, framework: str, words: list[str], workers: int) -> tuple[float, int]:
    """(the loss at the end, by how many processes)."""
    out = home.parent / f"out-{workers}"
    out.mkdir()
    job = ml.TrainingJob(
        [*words, "--out", str(out)], framework=framework, workers=workers, env={"PYTHONPATH": str(ROOT)}, name=framework
    )
    job.run(home=home).wait(PATIENCE)
    told = json.loads((out / "final.json").read_text())
    return told["loss"], told["world"]


@pytest.mark.cannot_run_here("jax is installed by those who use it, not by the lock")
@pytest.mark.skipif(not python_with("jax"), reason="no Python with jax: see MLPLATFORM_TEST_JAX")
def test_jax_by_two_processes_comes_to_the_loss_of_one(home: Path) -> None:
    words = [python_with("jax"), str(SCRIPTS / "digits_jax.py")]
    one, two = (final(home, "jax", words, workers) for workers in (1, 2))
    assert (one[1], two[1]) == (1, 2)
    assert two[0] == pytest.approx(one[0], rel=1e-9)
    assert one[0] < 1.0


@pytest.mark.cannot_run_here("torch is installed by those who use it, not by the lock")
@pytest.mark.skipif(not python_with("torch"), reason="no Python with torch: see MLPLATFORM_TEST_TORCH")
def test_torch_by_two_processes_comes_to_the_loss_of_one(home: Path) -> None:
    words = [python_with("torch"), "-m", "torch.distributed.run", str(SCRIPTS / "digits_torch.py")]
    one, two = (final(home, "torch", words, workers) for workers in (1, 2))
    assert (one[1], two[1]) == (1, 2)
    assert two[0] == pytest.approx(one[0], rel=1e-9)
    assert one[0] < 0.5


# ------------------------------------------------------------------ torch: killed, suspended, larger and smaller
EVERY = 5
BATCH, SAMPLES = 120, 1797


class Torch:
    """A job of torch in a folder of its own."""

    def __init__(self, home: Path, workers: int, *words: str, **settings: Any) -> None:
        self.out = home.parent / "out"
        self.out.mkdir()
        script = [python_with("torch"), "-m", "torch.distributed.run", str(SCRIPTS / "digits_torch.py")]
        settings |= {"grace": 60, "spec": {"failurePolicy": {"backoffSeconds": 0}}}
        command = [*script, "--out", str(self.out), "--every", str(EVERY), *words]
        env = {"PYTHONPATH": str(ROOT)}
        job = ml.TrainingJob(command, framework="torch", workers=workers, name="digits", env=env, **settings)
        self.home, self.run = home, job.run(home=home)

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, f"it never came to that\n{self.run.status}\n{self.run.logs()}"
            time.sleep(0.05)

    def at(self, step: int, world: int = 0) -> bool:
        """Whether a step (by so many processes) was done."""
        return any(one["step"] >= step and world in (0, one["world"]) for _, one in self.seen())

    def seen(self) -> list[tuple[int, dict[str, Any]]]:
        """(rank, what it did) of every step of every process."""
        found: list[tuple[int, dict[str, Any]]] = []
        for file in self.out.glob("seen-*"):
            rank = int(file.name.split("-")[2])
            found += [
                (rank, json.loads(line)) for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"
            ]
        return found

    def lost(self) -> int:
        """Steps that were done again."""
        mine = [one["step"] for rank, one in self.seen() if rank == 0]
        return len(mine) - len(set(mine))

    def each_sample_once_an_epoch(self) -> bool:
        """Of what counts in the end: the last time that a step was done."""
        counted: dict[int, list[int]] = {}
        for step in {one["step"] for _, one in self.seen()}:
            last: dict[int, dict[str, Any]] = {}
            for rank, one in sorted(self.seen_at(step), key=lambda told: told[1]["at"]):
                last[rank] = one
            world = max(last.values(), key=lambda one: one["at"])["world"]
            batch = [number for rank in range(world) for number in last[rank]["ids"]]
            counted.setdefault(step // (SAMPLES // BATCH), []).extend(batch)
        per_epoch = SAMPLES // BATCH * BATCH
        return len(counted) == 4 and all(len(ids) == len(set(ids)) == per_epoch for ids in counted.values())

    def seen_at(self, step: int) -> list[tuple[int, dict[str, Any]]]:
        return [(rank, one) for rank, one in self.seen() if one["step"] == step]

    def loss(self) -> float:
        self.run.wait(PATIENCE)
        return float(json.loads((self.out / "final.json").read_text())["loss"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[float]:
    """The loss of one process that nothing happens to."""
    home = tmp_path_factory.mktemp("one") / "home"
    yield Torch(home, 1).loss()
    LocalClient(home).stop()


with_torch = pytest.mark.skipif(not python_with("torch"), reason="no Python with torch: see MLPLATFORM_TEST_TORCH")
no_torch_here = pytest.mark.cannot_run_here("torch is installed by those who use it, not by the lock")


@no_torch_here
@with_torch
def test_a_rank_of_torch_that_is_killed_costs_a_checkpoints_interval(home: Path, undisturbed: float) -> None:
    job = Torch(home, 2, "--pause", "0.1")
    job.until(lambda: job.at(17))
    claim = next((home / "training" / job.run.name / "ranks").glob("*-a1-1/claim"))
    worker = tree.below(json.loads(claim.read_text())["pid"])[-1]
    os.kill(worker.pid, signal.SIGKILL)
    assert job.loss() == pytest.approx(undisturbed, rel=1e-9)
    assert [attempt["reason"] for attempt in job.run.attempts[:-1]] != []
    assert job.run.attempts[-1]["resumedFromStep"] > 0
    assert job.lost() <= EVERY
    assert job.run.goodput["lostSeconds"] <= 0.1 * EVERY + 3
    assert job.each_sample_once_an_epoch()


@no_torch_here
@with_torch
def test_torch_suspended_goes_on_where_it_was(home: Path, undisturbed: float) -> None:
    job = Torch(home, 2, "--pause", "0.1")
    job.until(lambda: job.at(17))
    job.run.suspend()
    job.run.wait(PATIENCE, phase="Suspended")
    saved = job.run.status["checkpoint"]["step"]
    assert saved == max(one["step"] for rank, one in job.seen() if rank == 0), "it was saved when it was asked to"
    job.run.resume()
    assert job.loss() == pytest.approx(undisturbed, rel=1e-9)
    assert job.lost() == 0
    assert job.each_sample_once_an_epoch()
    assert job.run.status.get("restartsCounted", 0) == 0


@no_torch_here
@with_torch
def test_elastic_torch_goes_on_with_more_and_with_fewer(home: Path, undisturbed: float) -> None:
    job = Torch(home, 2, "--pause", "0.4", elastic=(2, 4))
    job.until(lambda: job.at(8, world=2))
    job.run.scale(4)
    job.until(lambda: job.at(9, world=4))
    job.run.scale(2)
    assert job.loss() == pytest.approx(undisturbed, rel=1e-9)
    assert {one["world"] for _, one in job.seen()} == {2, 4}
    assert job.at(40, world=2), "smaller again"
    assert job.lost() <= 2 * EVERY
    assert job.each_sample_once_an_epoch()


# ------------------------------------------------------------------ ray
@pytest.mark.cannot_run_here("ray is installed by those who use it, not by the lock")
@pytest.mark.skipif(not python_with("ray"), reason="no Python with ray: see MLPLATFORM_TEST_RAY")
def test_ray_has_a_head_and_workers_that_join_it(home: Path, tmp_path: Path) -> None:
    python = Path(python_with("ray"))
    env = {"PYTHONPATH": str(ROOT), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    job = ml.TrainingJob(
        [str(python), str(SCRIPTS / "digits_ray.py"), "--out", str(tmp_path)], framework="ray", workers=2, env=env
    )
    run = job.run(home=home)
    try:
        run.wait(PATIENCE)
    except ml.TrainingFailed as error:
        raise AssertionError(f"{error}\n{run.logs(group='head')}\n{run.logs(group='worker')}") from None
    told = json.loads((tmp_path / "final.json").read_text())
    assert (told["nodes"], len(set(told["where"]))) == (2, 2), "tasks ran at both"
    assert told["loss"] == pytest.approx(told["alone"], rel=1e-9), (
        "the sum of gradients of the parts is that of the whole"
    )


MPI = """
import os, pathlib, sys
from mlplatform import training
me = training.init()
pathlib.Path(sys.argv[1], f"{me.rank}-of-{me.world_size}").touch()
"""


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun (Debian: openmpi-bin)")
def test_mpi_starts_a_process_for_each_slot(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(MPI)
    out = tmp_path / "out"
    out.mkdir()
    job = ml.TrainingJob(script, [str(out)], framework="mpi", workers=2, procs_per_worker=2)
    run = job.run(home=home).wait(PATIENCE)
    assert sorted(entry.name for entry in out.iterdir()) == [f"{rank}-of-4" for rank in range(4)], run.logs()
