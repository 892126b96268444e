"""Real ray on this machine: a head that drives and workers that join it, as processes.

Ray is far too large for the lock: see ``tests.support.frameworks``.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.launcher import tree
from tests.support import digits
from tests.support.frameworks import PYTHON, needed, site_packages
from tests.support.home import platform_in
from tests.training.test_frameworks import PATIENCE, ROOT, SCRIPTS, alone, home

__all__ = ["home"]

SCRIPT = SCRIPTS / "digits_ray.py"
EVERY = 5
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.cannot_run_here("ray may be more than the disk holds"),
]


class Ray:
    """A job of ray in a folder of its own."""

    def __init__(self, home: Path, workers: int, *words: str) -> None:
        self.home, self.out = home, home.parent / "out"
        self.out.mkdir()
        self.run = ml.TrainingJob(
            [str(needed("ray")), str(SCRIPT), "--out", str(self.out), "--every", str(EVERY), *words],
            framework="ray",
            workers=workers,
            name="digits",
            grace=60,
            env={"PYTHONPATH": str(ROOT)},
            spec={"failurePolicy": {"backoffSeconds": 0}},
        ).run(home=home)

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, f"it never came to that\n{self.run.status}\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        return f"{self.run.logs(group='head')}\n{self.run.logs(group='worker')}"

    def steps(self) -> list[int]:
        """What the driver did, in order."""
        found = [json.loads(line) for file in self.out.glob("seen-*") for line in whole(file)]
        return [one["step"] for one in sorted(found, key=lambda one: one["at"])]

    def final(self) -> tuple[float, int]:
        try:
            self.run.wait(PATIENCE)
        except ml.TrainingFailed as error:
            raise AssertionError(f"{error}\n{self.said()}") from None
        return digits.loss(self.out)

    def processes(self, rank: str) -> list[tree.Found]:
        claim = self.home / "training" / self.run.name / "ranks" / f"{self.run.name}-{rank}" / "claim"
        return tree.below(json.loads(claim.read_text())["pid"])


def whole(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_its_driver_is_killed_and_suspended_and_comes_to_the_loss_of_one(home: Path, tmp_path: Path) -> None:
    job = Ray(home, 2, "--pause", "0.2")
    expected = alone("ray", tmp_path / "alone")

    # the driver is killed: no node can go on without its head, so both begin again behind the checkpoint
    job.until(lambda: max(job.steps(), default=0) >= 7)
    head = next(iter(job.processes("head-a1-0")))
    os.kill(head.pid, signal.SIGKILL)
    job.until(lambda: job.run.status.get("attempt") == 2)
    job.until(lambda: max(job.steps()) >= 9 and job.run.status.get("phase") == "Running")
    assert 0 < len(job.steps()) - len(set(job.steps())) <= EVERY
    [first, second] = job.run.attempts
    assert (first["group"], first["exitCode"], first["action"]) == ("head", 137, "Restart")
    assert second["resumedFromStep"] == 4

    # suspended, the driver saves the step that it is at while its nodes are still there
    job.run.suspend()
    job.run.wait(PATIENCE, phase="Suspended")
    again = len(job.steps()) - len(set(job.steps()))
    assert job.run.status["checkpoint"]["step"] == max(job.steps())
    job.run.resume()
    assert job.final() == (pytest.approx(expected, rel=1e-9), 2)
    assert len(job.steps()) - len(set(job.steps())) == again, "nothing was lost by the suspension"
    assert job.run.status["restartsCounted"] == 1


def test_a_task_of_ray_in_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info[:2] != PYTHON:
        pytest.skip("ray's packages are another Python's")
    monkeypatch.setenv("PYTHONPATH", str(site_packages("ray")))
    with platform_in(tmp_path) as platform:
        run = platform.run(runpy.run_path(str(SCRIPTS / "pipeline_ray.py"))["squares"], rows=1000)
        assert run.output == {"sum": sum(number * number for number in range(1000)), "nodes": 2}
