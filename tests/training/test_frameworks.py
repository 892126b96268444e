"""Data-parallel training on real data by real frameworks: several processes come to the loss of one.

The frameworks are far too large for the lock: see ``tests.support.frameworks``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.launcher import tree
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.training.run import TrainingRun
from tests.support import digits
from tests.support.frameworks import PYTHON, needed, site_packages

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 900.0
EVERY = 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLPLATFORM_IDLE_SECONDS", "60")
    yield tmp_path / "home"
    LocalClient(tmp_path / "home").stop()


def alone(framework: str, folder: Path) -> float:
    """The loss of one process that nothing happens to."""
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MLP_CHECKPOINT_DIR": str(folder / "kept")}
    command = [str(needed(framework)), str(SCRIPTS / f"digits_{framework}.py"), "--out", str(folder)]
    subprocess.run(command, env=env, check=True, timeout=PATIENCE)
    return digits.loss(folder)[0]


@pytest.mark.cannot_run_here("jax may be more than the disk holds")
def test_jax_by_two_processes_comes_to_the_loss_of_one(home: Path, tmp_path: Path) -> None:
    expected = alone("jax", tmp_path / "alone")
    words = [str(needed("jax")), str(SCRIPTS / "digits_jax.py"), "--out", str(tmp_path)]
    job = ml.TrainingJob(words, framework="jax", workers=2, env={"PYTHONPATH": str(ROOT)}, name="digits")
    job.run(home=home).wait(PATIENCE)
    loss, world = digits.loss(tmp_path)
    assert (loss, world) == (pytest.approx(expected, rel=1e-9), 2)
    assert loss < 1.0


# ------------------------------------------------------------------ torch: killed, suspended, larger and smaller
def torch_job(home: Path, out: Path, *words: str, **settings: Any) -> TrainingRun:
    """Two ranks of torchrun that leave in ``out`` what they did."""
    script = [str(needed("torch")), "-m", "torch.distributed.run", str(SCRIPTS / "digits_torch.py")]
    settings |= {"grace": 60, "spec": {"failurePolicy": {"backoffSeconds": 0}}}
    command = [*script, "--out", str(out), "--every", str(EVERY), *words]
    env = {"PYTHONPATH": str(ROOT)}
    return ml.TrainingJob(command, framework="torch", workers=2, name="digits", env=env, **settings).run(home=home)


def until(what: Callable[[], Any], run: TrainingRun) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, f"it never came to that\n{run.status}\n{run.logs()}"
        time.sleep(0.05)


def at(out: Path, step: int, world: int = 2) -> bool:
    """Whether a step was done by so many processes."""
    return any(one.step >= step and one.world == world for one in digits.done(out))


@pytest.mark.cannot_run_here("torch may be more than the disk holds")
def test_torch_killed_and_suspended_comes_to_the_loss_of_one(home: Path, tmp_path: Path) -> None:
    expected = alone("torch", tmp_path / "alone")
    run = torch_job(home, tmp_path, "--hold", "12/2/1", "--hold", "25/2/2")

    # a rank is killed: that costs a checkpoint's interval at most
    until(lambda: at(tmp_path, 12), run)
    claim = next((home / "training" / run.name / "ranks").glob("*-a1-1/claim"))
    worker = tree.below(json.loads(claim.read_text())["pid"])[-1]
    os.kill(worker.pid, signal.SIGKILL)
    since = time.time() - digits.when(tmp_path, 9)
    until(lambda: at(tmp_path, 25), run)
    assert run.attempts[-1]["resumedFromStep"] == 9
    again = digits.again(tmp_path)
    assert again == 3, "what was done behind step 9"
    assert 0 < run.status["ledger"]["spent"]["lost"] <= 1000 * (since + 5), "told, and no more than that"

    # suspended, it saves the step that it is at; resumed, it goes on behind it
    run.suspend()
    run.wait(PATIENCE, phase="Suspended")
    assert run.status["checkpoint"]["step"] == max(digits.steps(tmp_path)), "it was saved when it was asked to"
    run.resume()
    run.wait(PATIENCE)
    assert digits.loss(tmp_path) == (pytest.approx(expected, rel=1e-9), 2)
    assert digits.again(tmp_path) == again, "nothing was lost by the suspension"
    assert digits.each_sample_once_an_epoch(tmp_path)
    assert run.status["restartsCounted"] == 1


@pytest.mark.cannot_run_here("torch may be more than the disk holds")
def test_elastic_torch_goes_on_with_more_and_with_fewer(home: Path, tmp_path: Path) -> None:
    expected = alone("torch", tmp_path / "alone")
    run = torch_job(home, tmp_path, "--hold", "8/2/1", "--hold", "20/4/1", elastic=(2, 4))
    until(lambda: at(tmp_path, 8), run)
    run.scale(4)
    until(lambda: at(tmp_path, 20, world=4), run)
    larger = digits.again(tmp_path)
    assert larger <= EVERY, "an interval of checkpoints at most"
    run.scale(2)
    run.wait(PATIENCE)
    assert digits.loss(tmp_path) == (pytest.approx(expected, rel=1e-9), 2)
    assert {one.world for one in digits.done(tmp_path)} == {2, 4}
    assert digits.again(tmp_path) - larger <= EVERY
    assert digits.each_sample_once_an_epoch(tmp_path)
    assert len(run.attempts) == 1, "no change of size was a failure"


@pytest.mark.cannot_run_here("torch may be more than the disk holds")
def test_tensors_and_models_of_torch_travel() -> None:
    """The unit tests that want torch, by this Python with torch's packages."""
    needed("torch")
    if sys.version_info[:2] != PYTHON:
        pytest.skip("torch's packages are another Python's")
    file = ROOT / "tests" / "unit" / "sdk" / "travel" / "test_torch.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    env = {**os.environ, "PYTHONPATH": str(site_packages("torch"))}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout


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
