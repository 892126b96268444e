"""What a rank is told by its environment: as in a pod (``render.training.environment``), but for addresses."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from mlplatform.apis.trainingjob import ReplicaGroup
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.errors import InvalidInput
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.ranks import Command
from mlplatform.planning.training.environment import World, framework_variables, platform_variables, processes
from mlplatform.planning.training.facts import Ledger, Start

HOST: Final = "127.0.0.1"
#: Variables of the submitter that would make a rank take itself for another one.
_DROPPED: Final = ("MLP_", "PET_", "OMPI_", "PMIX_", "TORCHELASTIC_", "JAX_COORDINATOR", "JAX_PROCESS", "JAX_NUM")
_DROPPED_NAMES: Final = frozenset(
    ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "RAY_ADDRESS", "MLFLOW_RUN_ID", "LD_PRELOAD")
)
#: What a worker of mpi runs where the template says nothing: mpirun starts the processes itself on one machine.
_WAIT: Final = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"

#: What every rank gets, for its logs.
_PYTHON: Final = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
#: Further ones that the platform or a framework's launcher sets for each rank.
_EACH: Final = (
    "RAY_",
    "MASTER_",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "NCCL_ASYNC",
    "TORCH_NCCL",
    "TORCH_DISABLE_SHARE",
    "OMP_NUM_THREADS",
    "PMI_",
)


def set_here(name: str) -> bool:
    """Whether a variable is another one in each rank or attempt, and says nothing of what the job depends on."""
    return name in _DROPPED_NAMES or name in _PYTHON or name.startswith((*_DROPPED, *_EACH))


def command(
    place: JobPlace, job: TrainingJob, start: Start, ledger: Ledger, env: Mapping[str, str], tracking: Mapping[str, str]
) -> Command:
    """What a rank runs and where.

    Args:
        env: of whoever submitted the job.
        tracking: MLflow's variables.

    Raises:
        InvalidInput: its template names no command, or a folder that is not there.
    """
    group = next(one for one in job.spec.groups if one.name == start.key.group)
    spec: dict[str, Any] = dict(group.template.get("spec") or {})
    containers: list[dict[str, Any]] = spec.get("containers") or [{}]
    rank = containers[0]
    words: list[str] = [*(rank.get("command") or []), *(rank.get("args") or [])]
    if not words and job.spec.framework == "mpi" and group.role == "worker":
        words = [sys.executable, "-I", "-c", _WAIT]
    if not words:
        raise InvalidInput(
            f"group {group.name!r} has no command: on one machine an image's own cannot be run",
            hint="Give the template's container a command, or run the job with --backend kubernetes.",
        )
    folder = str(rank.get("workingDir") or Path.home())
    if not os.path.isdir(folder):
        raise InvalidInput(f"the working folder {folder} of group {group.name!r} is not there")
    table = {name: value for name, value in env.items() if name not in _DROPPED_NAMES and not name.startswith(_DROPPED)}
    table |= {**_PYTHON, "OMP_NUM_THREADS": _threads(job, env)}
    table |= _told(rank)
    table |= variables(place, job, group, start, ledger) | dict(tracking)
    return Command(words, folder, table, group.accelerator.count if group.accelerator else 0)


def _threads(job: TrainingJob, env: Mapping[str, str]) -> str:
    """Ranks share the cores: each with as many threads as there are would make all of them wait."""
    if "OMP_NUM_THREADS" in env:
        return env["OMP_NUM_THREADS"]
    ranks = sum(group.replicas * processes(group) for group in job.spec.groups)
    return str(max(1, len(os.sched_getaffinity(0)) // max(1, ranks)) if hasattr(os, "sched_getaffinity") else 1)


def _told(container: Mapping[str, Any]) -> dict[str, str]:
    """The plain variables of a container."""
    entries: list[Mapping[str, Any]] = list(container.get("env") or [])
    for entry in entries:
        if entry.get("valueFrom"):
            raise InvalidInput(
                f"variable {entry.get('name')} comes from a cluster's object: on one machine, set it in the environment"
            )
    return {str(entry["name"]): str(entry.get("value") or "") for entry in entries}


# ---------------------------------------------------------------------- the platform's and the framework's words
def variables(place: JobPlace, job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger) -> dict[str, str]:
    """The variables of a rank that the platform sets; the user's cannot change them."""
    key = start.key
    folder = place.checkpoints(job.spec, key)
    folder.mkdir(parents=True, exist_ok=True)
    table = platform_variables(job, group, start, ledger, str(folder)) | {
        "MLP_SCRATCH": str(place.rank(key).root),
        "MLP_PROGRESS_FILE": str(place.rank(key).progress),
    }

    def attempt_of(name: str) -> int:
        return ledger.attempts_of.get(name, ledger.attempt)

    if job.spec.framework == "mpi":
        return table | _mpi(job, group, place.attempt(attempt_of(group.name)))
    world = World(
        job, group, key.rank, attempt_of(group.name), lambda name: (HOST, _port(place.attempt(attempt_of(name)), name))
    )
    return table | framework_variables(world)


def _port(folder: Path, group: str) -> int:
    """Where the ranks of a group meet in the attempt that ``folder`` is of: free when the first of them asked."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = read_json(folder / "ports.json")
    if group not in ports:
        ports[group] = free_port(set(ports.values()))
        write_json(folder / "ports.json", ports)
    return int(cast("int", ports[group]))


def free_port(taken: set[int]) -> int:
    """A port of the loopback interface that nobody listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def _mpi(job: TrainingJob, group: ReplicaGroup, folder: Path) -> dict[str, str]:
    if group.role != "launcher":
        return {}
    slots = sum(one.replicas * processes(one) for one in job.spec.groups if one.role == "worker")
    folder.mkdir(parents=True, exist_ok=True)
    hosts = folder / "hostfile"
    hosts.write_text(f"localhost slots={slots}\n", encoding="ascii")
    table = {
        "OMPI_MCA_orte_default_hostfile": str(hosts),
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        # Open MPI 5 calls the same things otherwise.
        "PRTE_MCA_prte_default_hostfile": str(hosts),
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        table |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return table


def sweep(place: JobPlace, current: set[int]) -> None:
    """What ranks of earlier attempts shared goes."""
    with contextlib.suppress(OSError):
        for entry in place.root.iterdir():
            number = entry.name[1:]
            if entry.is_dir() and entry.name.startswith("a") and number.isalnum() and int(number, 36) not in current:
                for file in entry.iterdir():
                    file.unlink(missing_ok=True)
                entry.rmdir()
