"""Who a process is, by what the platform and the framework's launcher set."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.training import Rank, world

PLATFORM = {
    "MLP_JOB": "digits",
    "MLP_GROUP": "worker",
    "MLP_RANK": "1",
    "MLP_WORLD_SIZE": "2",
    "MLP_ATTEMPT": "3",
    "MLP_CHECKPOINT_DIR": "/data/checkpoint",
    "MLP_CHECKPOINT_KEEP": "5",
    "MLP_CHECKPOINT_SCOPE": "Rank",
    "MLP_RESUME_STEP": "40",
    "MLP_FRAMEWORK": "torch",
}


def test_alone_it_is_the_only_one() -> None:
    assert world({}) == Rank(checkpoints=Path("checkpoints"))
    assert world({}).first


def test_the_platforms_word() -> None:
    me = world(PLATFORM)
    assert (me.rank, me.world_size, me.replica, me.attempt) == (1, 2, 1, 3)
    assert (me.job, me.group, me.framework) == ("digits", "worker", "torch")
    assert (me.checkpoints, me.keep, me.apart, me.resume_step) == (Path("/data/checkpoint"), 5, True, 40)
    assert not me.first


@pytest.mark.parametrize(
    "names",
    [
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ],
)
def test_processes_inside_a_replica_are_counted_by_their_launcher(names: tuple[str, str, str]) -> None:
    me = world({**PLATFORM, **dict(zip(names, ("5", "8", "1"), strict=True))})
    assert (me.rank, me.world_size, me.local_rank, me.replica) == (5, 8, 1, 1)


def test_nonsense_is_passed_over() -> None:
    me = world({"MLP_RANK": "x", "MLP_WORLD_SIZE": "0", "MLP_RESUME_STEP": "-1"})
    assert (me.rank, me.world_size, me.resume_step) == (0, 1, None)
