"""What groups a framework has and what their ranks run."""

from __future__ import annotations

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
    assert words("ray", "head", PROCESS, "python")[3:] == PROCESS
    assert words("ray", "worker", PROCESS, "python")[:2] == ["/bin/sh", "-c"]
