"""The groups of a job by its framework, and what their ranks run. Pure: the same for a job that is asked for by itself
and for one that a pipeline's task makes, on one machine and on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

FRAMEWORKS: Final = ("torch", "jax", "ray", "mpi", "python")
_RAY_HEAD: Final = (
    'ray start --head --port="${RAY_ADDRESS##*:}" --include-dashboard=false --disable-usage-stats >&2 && '
)
_RAY_WORKER: Final = 'exec ray start --address="$RAY_ADDRESS" --block --disable-usage-stats'


@dataclass(frozen=True, slots=True)
class Shape:
    """How many ranks of what kind. ``gpus``: of each worker; ``products``: those that will do. ``elastic``: the least
    and the most workers."""

    framework: str = "python"
    workers: int = 1
    processes: int | None = None
    gpus: int = 0
    products: tuple[str, ...] = ()
    elastic: tuple[int, int] | None = None


class Wanted(Protocol):
    """What people say of a training: of a job by itself (``TrainingJob``), of a task (``Ranks``)."""

    @property
    def framework(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def procs_per_worker(self) -> int | None: ...
    @property
    def gpus_per_worker(self) -> int: ...
    @property
    def gpu(self) -> str | Sequence[str]: ...
    @property
    def elastic(self) -> tuple[int, int] | None: ...
    @property
    def max_restarts(self) -> int: ...
    @property
    def checkpoints(self) -> str: ...
    @property
    def keep(self) -> int: ...
    @property
    def hang_seconds(self) -> int: ...
    @property
    def grace(self) -> int: ...


def shape_of(wanted: Wanted) -> Shape:
    """How many ranks of what kind were asked for."""
    products = [wanted.gpu] if isinstance(wanted.gpu, str) else wanted.gpu
    return Shape(
        wanted.framework,
        wanted.workers,
        wanted.procs_per_worker,
        wanted.gpus_per_worker,
        tuple(products),
        wanted.elastic,
    )


def spec_of(wanted: Wanted, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A TrainingJob's spec with these groups. Checkpoints go to a claim, so that they outlive a rank."""
    several = wanted.checkpoints == "shared" and wanted.workers > 1
    claim = {
        "accessModes": ["ReadWriteMany" if several else "ReadWriteOnce"],
        "resources": {"requests": {"storage": "10Gi"}},
    }
    scope = "Rank" if wanted.checkpoints == "each" else "Job"
    spec: dict[str, Any] = {
        "framework": wanted.framework,
        "groups": list(groups),
        "failurePolicy": {"maxRestarts": wanted.max_restarts},
        "preemption": {"gracePeriodSeconds": wanted.grace},
        "checkpoint": {"scope": scope, "claimSpec": claim, "keep": wanted.keep},
    }
    if wanted.hang_seconds:
        spec["health"] = {"progressTimeoutSeconds": wanted.hang_seconds}
    return spec


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both specs, member by member; where both have one, the other's."""
    found = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], Mapping) and isinstance(other[name], Mapping):
            found[name] = merged(one[name], other[name])
    if "claimName" in other and "claimSpec" not in other:
        found.pop("claimSpec", None)  # a claim that is there already takes the place of the one that would be made
    return found


def groups(shape: Shape) -> list[dict[str, Any]]:
    """The groups of the job's spec, without templates."""
    workers: dict[str, Any] = {"name": "worker", "replicas": shape.workers}
    match shape.framework:
        case "mpi":
            launcher: dict[str, Any] = {"name": "launcher", "role": "launcher", "replicas": 1}
            launcher["dependsOn"] = [{"group": "worker", "status": "Ready"}]
            # mpirun starts the processes in the workers: how many, and on what, is theirs.
            found = [_computing(workers, shape), _processes(launcher, shape)]
        case "ray":
            head: dict[str, Any] = {"name": "head", "role": "head", "replicas": 1}
            rest = [{**workers, "replicas": shape.workers - 1}] if shape.workers > 1 else []
            found = [_computing(group, shape) for group in (head, *rest)]
        case _:
            found = [_computing(workers, shape)]
    return found


def _processes(group: dict[str, Any], shape: Shape) -> dict[str, Any]:
    return group if shape.processes is None else {**group, "procsPerReplica": shape.processes}


def _computing(group: dict[str, Any], shape: Shape) -> dict[str, Any]:
    group = dict(_processes(group, shape))
    if shape.elastic is not None and group["name"] == "worker":
        least, most = shape.elastic
        group["elastic"] = {"min": least, "max": most}
    if shape.gpus:
        group["accelerator"] = {"count": shape.gpus, "products": [one for one in shape.products if one]}
    return group


def working_role(framework: str) -> str:
    """The role of the group whose ranks run the user's code; of others they run what the framework needs."""
    return {"mpi": "launcher", "ray": "head"}.get(framework, "worker")


def words(framework: str, role: str, process: Sequence[str], python: str) -> list[str]:
    """What a rank runs.

    Args:
        role: of its group.
        process: the user's process: a Python and what follows it.
        python: the interpreter that has the framework.

    Returns:
        The words; empty: nothing of its own (a worker of mpi waits to be called).
    """
    match framework, role:
        case "torch", "worker":
            return [python, "-m", "torch.distributed.run", *process[1:]]
        case "mpi", "launcher":
            return ["mpirun", *process]
        case "mpi", "worker":
            return []
        case "ray", "head":
            return ["/bin/sh", "-c", _RAY_HEAD + 'exec "$0" "$@"', *process]
        case "ray", "worker":
            return ["/bin/sh", "-c", _RAY_WORKER]
        case _:
            return list(process)
