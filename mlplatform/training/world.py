"""Who this process is among the ranks of its job: read from the environment, whoever set it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Rank:
    """One process of a training job.

    ``rank`` of ``world_size`` counts processes; ``replica`` is the rank of the pod (or its like on one machine) that
    the process is in, ``local_rank`` its number there. ``attempt``: from 1; 0 outside of a job. ``checkpoints``: the
    folder where they are.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    replica: int = 0
    job: str = ""
    group: str = ""
    attempt: int = 0
    framework: str = ""
    checkpoints: Path = field(default_factory=lambda: Path("checkpoints"))
    #: Whether each replica has a folder of its own for checkpoints.
    apart: bool = False
    #: How many checkpoints are kept.
    keep: int = 3
    #: Go on from this step or an earlier one; None: from the newest.
    resume_step: int | None = None
    resume: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks for all (logs metrics, saves what all share)."""
        return self.rank == 0


def world(environ: Mapping[str, str] = os.environ) -> Rank:
    """Who this process is, by what the platform and the framework's own launcher (torchrun, mpirun) set."""
    replica = _number(environ, "MLP_RANK")
    rank, size, local = replica, _number(environ, "MLP_WORLD_SIZE", 1), 0
    for names in _LAUNCHERS:
        if names[0] in environ and names[1] in environ:
            rank, size, local = (_number(environ, name) for name in names)
            break
    folder = environ.get("MLP_CHECKPOINT_DIR") or "checkpoints"
    step = environ.get("MLP_RESUME_STEP", "")
    return Rank(
        rank=rank,
        world_size=max(1, size),
        local_rank=local,
        replica=replica,
        job=environ.get("MLP_JOB", ""),
        group=environ.get("MLP_GROUP", ""),
        attempt=_number(environ, "MLP_ATTEMPT"),
        framework=environ.get("MLP_FRAMEWORK", ""),
        checkpoints=Path(folder),
        apart=environ.get("MLP_CHECKPOINT_SCOPE") == "Rank",
        keep=max(1, _number(environ, "MLP_CHECKPOINT_KEEP", 3)),
        resume_step=int(step) if step.isdecimal() else None,
        resume="MLP_CHECKPOINT_DIR" in environ,
    )


#: Variables of (rank, number of ranks, rank on this machine), the nearest launcher first.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
)


def _number(environ: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else default
