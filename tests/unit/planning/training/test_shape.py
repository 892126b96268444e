"""What groups a framework has and what their ranks run."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from mlplatform.planning.training.shape import Shape, groups, words

PROCESS = ["python", "train.py", "--lr", "1"]


def test_one_group_of_workers() -> None:
    shape = Shape("torch", 4, None, 2, ("A100", ""), (2, 8))
    assert groups(shape) == [
        {
            "name": "worker",
            "replicas": 4,
            "elastic": {"min": 2, "max": 8},
            "accelerator": {"count": 2, "products": ["A100"]},
        }
    ]


def test_mpis_launcher_computes_nothing() -> None:
    worker, launcher = groups(Shape("mpi", 2, 4, 4))
    waits = {"dependsOn": [{"group": "worker", "status": "Ready"}]}
    assert launcher == {"name": "launcher", "role": "launcher", "replicas": 1, "procsPerReplica": 4, **waits}
    assert worker == {
        "name": "worker",
        "replicas": 2,
        "procsPerReplica": 4,
        "accelerator": {"count": 4, "products": []},
    }


def test_rays_head_is_one_of_the_workers() -> None:
    assert [group["name"] for group in groups(Shape("ray", 1))] == ["head"]
    head, worker = groups(Shape("ray", 3, gpus=1))
    assert (head["role"], head["replicas"], worker["replicas"]) == ("head", 1, 2)
    assert head["accelerator"] == worker["accelerator"]


def test_what_ranks_run() -> None:
    assert words("python", "worker", PROCESS, "python") == PROCESS
    assert words("jax", "worker", PROCESS, "python") == PROCESS
    assert words("torch", "worker", PROCESS, "py") == ["py", "-m", "torch.distributed.run", "train.py", "--lr", "1"]
    assert words("mpi", "launcher", PROCESS, "python") == ["mpirun", *PROCESS]
    assert words("mpi", "worker", PROCESS, "python") == []
    assert words("ray", "head", PROCESS, "python")[3:] == ["python", *PROCESS]
    assert words("ray", "worker", PROCESS, "python")[:2] == ["/bin/sh", "-c"]


RAY = """#!/bin/sh
case "$2" in
  *find_spec*) exit $RAY_IS_MISSING;;
  *create_connection*) [ -e "$HEAD" ]; exit;;
esac
echo "$@" >> "$SAID"
case "$*" in *--block*) trap 'exit 0' TERM; while :; do sleep 0.05; done;; esac
"""


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python with a ray that says what it is asked for, and a head that is there as long as its file."""
    python = tmp_path / "python3.11"
    python.write_text(RAY)
    python.chmod(0o755)
    told = {"SAID": "said", "HEAD": "head"}
    for name, file in told.items():
        monkeypatch.setenv(name, str(tmp_path / file))
    monkeypatch.setenv("RAY_ADDRESS", "job-head-a1-0.job-ranks:6379")
    monkeypatch.setenv("RAY_IS_MISSING", "0")
    return python


def test_a_head_starts_ray_and_becomes_the_driver(ray: Path, tmp_path: Path) -> None:
    process = ["/bin/sh", "-c", 'echo "driver $0 $1"', "a b", "c"]
    done = subprocess.run(words("ray", "head", process, str(ray)), capture_output=True, text=True, check=True)
    assert done.stdout == "driver a b c\n"
    said = (tmp_path / "said").read_text()
    assert said == "-m ray.scripts.scripts start --head --port=6379 --include-dashboard=false --disable-usage-stats\n"


def test_a_ray_that_does_not_come_up_in_its_time_is_started_again(ray: Path, tmp_path: Path) -> None:
    ray.write_text(RAY + '[ "$(wc -l < "$SAID")" -ge 3 ]\n')
    driver = words("ray", "head", ["/bin/true"], str(ray))
    assert subprocess.run(driver, check=False).returncode == 0
    ray.write_text(RAY + "false\n")
    (tmp_path / "said").unlink()
    assert subprocess.run(driver, check=False).returncode == 1
    assert len((tmp_path / "said").read_text().splitlines()) == 3


def test_without_ray_nothing_is_tried_again(ray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_IS_MISSING", "1")
    for role in ("head", "worker"):
        done = subprocess.run(words("ray", role, PROCESS, str(ray)), capture_output=True, text=True, check=False)
        assert done.returncode == 127, "the platform's own rules fail the job"
        assert "has no ray: put it into the image or the environment" in done.stderr


def test_a_worker_that_is_told_to_end_waits_for_the_head(
    ray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:7000")
    worker = subprocess.Popen(words("ray", "worker", PROCESS, str(ray)))
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    assert not (tmp_path / "said").exists(), "ray itself would give up on a head that is not there yet"
    (tmp_path / "head").touch()
    while not (tmp_path / "said").exists():
        assert worker.poll() is None
    assert "start --address=127.0.0.1:7000 --node-ip-address=127.0.0.1 --block" in (tmp_path / "said").read_text()
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(1)
    (tmp_path / "head").unlink()
    assert worker.wait(30) == 143


def test_a_worker_ends_as_its_ray_does(ray: Path, tmp_path: Path) -> None:
    """And one that did not come up in its time is started again, as long as there is a head."""
    (tmp_path / "head").touch()
    ray.write_text(RAY.replace("trap", "exit 3; trap"))
    worker = words("ray", "worker", PROCESS, str(ray))
    assert subprocess.run(worker, check=False).returncode == 3
    assert len((tmp_path / "said").read_text().splitlines()) == 3
    (tmp_path / "said").unlink()
    ray.write_text(RAY.replace("trap", 'rm "$HEAD"; exit 3; trap'))
    assert subprocess.run(worker, check=False).returncode == 3
    assert len((tmp_path / "said").read_text().splitlines()) == 1


def test_what_no_python_runs_finds_ray_on_its_path() -> None:
    assert "\n  ray start --head" in words("ray", "head", ["train.sh"], "train.sh")[2]
