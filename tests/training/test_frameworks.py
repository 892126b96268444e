"""Data-parallel training on real data by real frameworks: several processes come to the loss of one.

The frameworks are far too large for the lock. ``MLPLATFORM_TEST_TORCH`` and ``MLPLATFORM_TEST_JAX`` name a Python that
has them (and scikit-learn); where this one has, it is used.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlplatform as ml
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


MPI = """
import os, pathlib, sys
from mlplatform import training
me = training.init()
pathlib.Path(sys.argv[1], f"{me.rank}-of-{me.world_size}").touch()
"""


@pytest.mark.cannot_run_here("Open MPI is installed by those who use it")
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun (Debian: openmpi-bin)")
def test_mpi_starts_a_process_for_each_slot(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(MPI)
    out = tmp_path / "out"
    out.mkdir()
    job = ml.TrainingJob(script, [str(out)], framework="mpi", workers=2, procs_per_worker=2)
    run = job.run(home=home).wait(PATIENCE)
    assert sorted(entry.name for entry in out.iterdir()) == [f"{rank}-of-4" for rank in range(4)], run.logs()
