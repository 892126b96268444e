"""What a rank is told by its environment: how the framework's ranks find each other, and what the platform says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.apis.trainingjob import Checkpoint, ReplicaGroup, TrainingJobSpec
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training.facts import Ledger, RankKey, Start
from mlplatform.render.training.names import address, secret_name

Json = dict[str, Any]

TORCH_PORT: Final = 29500
JAX_PORT: Final = 1234
RAY_PORT: Final = 6379
SSH_PORT: Final = 2222
#: Where mpi's files are.
MPI_FOLDER: Final = "/etc/mpi"
#: Not below the other: nothing can be mounted into a volume that is read-only.
SSH_FOLDER: Final = "/etc/mpi-ssh"
TOKEN_FOLDER: Final = "/var/run/mlplatform/token"  # noqa: S105 - a folder


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What whoever installs the platform decides. ``progress``: the address inside the cluster to which ranks
    report, "" where nobody listens. ``env``: variables for every rank. ``default_image``: for those that name none."""

    progress: str = ""
    tracking_uri: str = ""
    user: int = 1000
    default_image: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])


def processes(group: ReplicaGroup) -> int:
    """Processes in a rank: as said, else one for each accelerator."""
    if group.procs_per_replica is not None:
        return group.procs_per_replica
    return max(1, group.accelerator.count) if group.accelerator else 1


def environment(
    job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, settings: TrainingSettings
) -> list[Json]:
    """The variables of a rank, in a fixed order."""
    table: dict[str, str] = {**settings.env, **_platform(job, group, start, ledger, settings)}
    table |= _FRAMEWORKS[job.spec.framework](job, group, start.key, ledger)
    told: list[Json] = [{"name": name, "value": value} for name, value in table.items()]
    if job.spec.framework == "ray":
        source = {"secretKeyRef": {"name": secret_name(job.name), "key": "ray-token"}}
        told.append({"name": "RAY_AUTH_TOKEN", "valueFrom": source})
    return told


def _platform(
    job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, settings: TrainingSettings
) -> dict[str, str]:
    key, tracking = start.key, job.spec.tracking
    table = {
        "MLP_JOB": job.name,
        "MLP_GROUP": key.group,
        "MLP_RANK": str(key.rank),
        "MLP_WORLD_SIZE": str(group.replicas),
        "MLP_ATTEMPT": str(key.attempt),
        "MLP_CHECKPOINT_DIR": (job.spec.checkpoint or Checkpoint()).mount_path,
        "MLFLOW_SYSTEM_METRICS_NODE_ID": str(key.rank),
    }
    if job.spec.checkpoint is not None and job.spec.checkpoint.uri:
        table["MLP_CHECKPOINT_URI"] = job.spec.checkpoint.uri
    if start.resume_from is not None:
        table["MLP_RESUME_FROM"] = ledger.checkpoint_uri or str(start.resume_from)
        table["MLP_RESUME_STEP"] = str(start.resume_from)
    if settings.progress:
        table["MLP_PROGRESS_URL"] = f"{settings.progress}/api/training/{job.namespace}/{job.name}/progress"
        table["MLP_PROGRESS_TOKEN_FILE"] = f"{TOKEN_FOLDER}/token"
    status = job.status.tracking
    told = {
        "MLFLOW_TRACKING_URI": (tracking.mlflow_tracking_uri if tracking else "") or settings.tracking_uri,
        "MLFLOW_EXPERIMENT_ID": status.experiment_id if status else "",
        "MLFLOW_RUN_ID": (tracking.run_id if tracking else "") or (status.run_id if status else ""),
    }
    return table | {name: value for name, value in told.items() if value}


# ---------------------------------------------------------------------- frameworks
def _first(job: TrainingJob, group: str, ledger: Ledger) -> str:
    """Where rank 0 of a group is."""
    return address(job.name, RankKey(group, 0, ledger.wanted(group, 0)))


def _torch(job: TrainingJob, group: ReplicaGroup, key: RankKey, ledger: Ledger) -> dict[str, str]:
    if group.role != "worker":
        return {}
    table = {"PET_NPROC_PER_NODE": str(processes(group))}
    if group.elastic is not None:
        return table | {
            "PET_NNODES": f"{group.elastic.min}:{group.elastic.max}",
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_ENDPOINT": f"{_first(job, group.name, ledger)}:{TORCH_PORT}",
            "PET_RDZV_ID": f"{job.uid}-a{ledger.attempts_of.get(group.name, key.attempt)}",
            "PET_MAX_RESTARTS": str(job.spec.failure_policy.max_restarts),
        }
    master = _first(job, group.name, ledger)
    return table | {
        "PET_NNODES": str(group.replicas),
        "PET_NODE_RANK": str(key.rank),
        "PET_MASTER_ADDR": master,
        "PET_MASTER_PORT": str(TORCH_PORT),
        # for those who do without torchrun
        "MASTER_ADDR": master,
        "MASTER_PORT": str(TORCH_PORT),
        "WORLD_SIZE": str(group.replicas),
        "RANK": str(key.rank),
    }


def _jax(job: TrainingJob, group: ReplicaGroup, key: RankKey, ledger: Ledger) -> dict[str, str]:
    if group.role != "worker":
        return {}
    return {
        "JAX_COORDINATOR_ADDRESS": f"{_first(job, group.name, ledger)}:{JAX_PORT}",
        # jax does not read these two: the launcher hands them to jax.distributed.initialize
        "JAX_NUM_PROCESSES": str(group.replicas),
        "JAX_PROCESS_ID": str(key.rank),
    }


def _mpi(job: TrainingJob, group: ReplicaGroup, key: RankKey, ledger: Ledger) -> dict[str, str]:
    if group.role != "launcher":
        return {}
    ssh = f"-p {SSH_PORT} -i {SSH_FOLDER}/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    return {
        "OMPI_MCA_orte_default_hostfile": f"{MPI_FOLDER}/hostfile",
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_plm_rsh_args": f"{ssh} -o ConnectionAttempts=10 -o LogLevel=ERROR",
    }


def _ray(job: TrainingJob, group: ReplicaGroup, key: RankKey, ledger: Ledger) -> dict[str, str]:
    head = next((one.name for one in job.spec.groups if one.role == "head"), "head")
    return {"RAY_ADDRESS": f"{_first(job, head, ledger)}:{RAY_PORT}", "RAY_AUTH_MODE": "token"}


def _python(job: TrainingJob, group: ReplicaGroup, key: RankKey, ledger: Ledger) -> dict[str, str]:
    return {}


_FRAMEWORKS: Final = {"torch": _torch, "jax": _jax, "mpi": _mpi, "ray": _ray, "python": _python}


def hostfile(job: TrainingJob, ledger: Ledger) -> str:
    """mpi's list of hosts: every worker, with its processes."""
    return "".join(f"{line}\n" for line in _hosts(job, job.spec, ledger))


def _hosts(job: TrainingJob, spec: TrainingJobSpec, ledger: Ledger) -> Iterator[str]:
    for group in spec.groups:
        if group.role != "worker":
            continue
        for rank in range(group.replicas):
            key = RankKey(group.name, rank, ledger.wanted(group.name, rank))
            yield f"{address(job.name, key)}.{job.namespace}.svc slots={processes(group)}"
