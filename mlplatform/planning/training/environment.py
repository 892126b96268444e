"""What a rank is told by its environment, wherever it runs: who it is, and how its framework's ranks find each other.

What differs between a pod and a process of this machine (folders, addresses, how reports travel, mpi's hosts) is put
beside it by ``render.training`` and ``engine.training``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mlplatform.apis.trainingjob import Checkpoint, ReplicaGroup
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training.facts import Ledger, Start

#: Seconds that an elastic group which has enough ranks waits for more before it goes on, at each start and each change
#: that leaves it smaller than it may be: torchrun's own 30 are for ranks that nobody starts together.
_LAST_CALL: Final = 10


@dataclass(frozen=True, slots=True)
class World:
    """A rank among others.

    ``round``: the attempt that the group is in. ``meet``: host and port at which a group's ranks find each other;
    asked only where somebody is to be told, since a port may be taken for it.
    """

    job: TrainingJob
    group: ReplicaGroup
    rank: int
    round: int
    meet: Callable[[str], tuple[str, int]]


def processes(group: ReplicaGroup) -> int:
    """Processes in a rank: as said, else one for each accelerator."""
    if group.procs_per_replica is not None:
        return group.procs_per_replica
    return max(1, group.accelerator.count) if group.accelerator else 1


def platform_variables(
    job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, checkpoints: str
) -> dict[str, str]:
    """What the platform tells every rank. ``checkpoints``: the folder that it finds them in."""
    key, kept = start.key, job.spec.checkpoint or Checkpoint()
    table = {
        "MLP_JOB": job.name,
        "MLP_GROUP": key.group,
        "MLP_RANK": str(key.rank),
        "MLP_WORLD_SIZE": str(group.replicas),
        "MLP_ATTEMPT": str(key.attempt),
        "MLP_FRAMEWORK": job.spec.framework,
        "MLP_CHECKPOINT_DIR": checkpoints,
        "MLP_CHECKPOINT_SCOPE": kept.scope,
        "MLP_CHECKPOINT_KEEP": str(kept.keep),
        "MLFLOW_SYSTEM_METRICS_NODE_ID": str(key.rank),
    }
    if kept.uri:
        table["MLP_CHECKPOINT_URI"] = kept.uri
    if start.resume_from is not None:
        table["MLP_RESUME_FROM"] = ledger.checkpoint_uri or str(start.resume_from)
        table["MLP_RESUME_STEP"] = str(start.resume_from)
    return table


def framework_variables(world: World) -> dict[str, str]:
    """How the job's framework is told where the others are. mpi's ranks are found by its launcher alone."""
    made = _FRAMEWORKS.get(world.job.spec.framework)
    return made(world) if made is not None else {}


def _torch(world: World) -> dict[str, str]:
    group = world.group
    if group.role != "worker":
        return {}
    host, port = world.meet(group.name)
    table = {"PET_NPROC_PER_NODE": str(processes(group))}
    if group.elastic is not None:
        return table | {
            "PET_NNODES": f"{group.elastic.min}:{group.elastic.max}",
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_CONF": f"last_call_timeout={_LAST_CALL}",
            "PET_RDZV_ENDPOINT": f"{host}:{port}",
            "PET_RDZV_ID": f"{world.job.uid}-a{world.round}",
            "PET_MAX_RESTARTS": str(world.job.spec.failure_policy.max_restarts),
            # Who joins later would wait for an address that rank 0 tells in the first round only (seen in torch 2.15).
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
    return table | {
        "PET_NNODES": str(group.replicas),
        "PET_NODE_RANK": str(world.rank),
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": str(port),
        # for those who do without torchrun
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(group.replicas),
        "RANK": str(world.rank),
    }


def _jax(world: World) -> dict[str, str]:
    if world.group.role != "worker":
        return {}
    host, port = world.meet(world.group.name)
    return {
        "JAX_COORDINATOR_ADDRESS": f"{host}:{port}",
        # jax does not read these two: ``training.init`` hands them to jax.distributed.initialize
        "JAX_NUM_PROCESSES": str(world.group.replicas),
        "JAX_PROCESS_ID": str(world.rank),
    }


def _ray(world: World) -> dict[str, str]:
    head = next((one.name for one in world.job.spec.groups if one.role == "head"), "head")
    host, port = world.meet(head)
    nodes = sum(one.replicas for one in world.job.spec.groups if one.role in ("head", "worker"))
    return {
        "RAY_ADDRESS": f"{host}:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # how many nodes the driver may wait for
        "MLP_RAY_NODES": str(nodes),
    }


_FRAMEWORKS: Final[dict[str, Callable[[World], dict[str, str]]]] = {"torch": _torch, "jax": _jax, "ray": _ray}
