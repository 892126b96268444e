"""What a rank is told by its environment: how the framework's ranks find each other, and what the platform says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.apis.trainingjob import Checkpoint, ReplicaGroup, TrainingJobSpec
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.values import child
from mlplatform.planning.training.environment import World, framework_variables, platform_variables, processes
from mlplatform.planning.training.facts import Ledger, RankKey, Start
from mlplatform.render.training.names import address, checkpoint_claim, secret_name

Json = dict[str, Any]

#: Where the ranks of a group meet.
_PORTS: Final = {"torch": 29500, "jax": 1234, "ray": 6379}
SSH_PORT: Final = 2222
#: Where mpi's files are.
MPI_FOLDER: Final = "/etc/mpi"
#: Not below the other: nothing can be mounted into a volume that is read-only.
SSH_FOLDER: Final = "/etc/mpi-ssh"
#: Where a worker of mpi keeps its variables: a process that comes by SSH has none of its pod's.
ENVIRONMENT_FOLDER: Final = "/var/run/mlplatform/environment"
#: The folder of ``mlplatform.training``, for ranks whose container names this variable, and where that is.
LIBRARY: Final = "MLP_LIBRARY"
LIBRARY_FOLDER: Final = "/var/run/mlplatform/library"
TOKEN_FOLDER: Final = "/var/run/mlplatform/token"  # noqa: S105 - a folder


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What whoever installs the platform decides. ``progress``: the address inside the cluster to which ranks
    report, "" where nobody listens. ``env``: variables for every rank. ``default_image``: for those that name none.
    ``server``: the platform server's address inside the cluster, which says how ranks log to MLflow; "": nobody does.
    ``launcher_image``: brings ``mlplatform.training`` to ranks that ask for it by naming ``LIBRARY``; "": none."""

    progress: str = ""
    tracking_uri: str = ""
    user: int = 1000
    default_image: str = ""
    server: str = ""
    launcher_image: str = ""
    launcher_pull_policy: str = "IfNotPresent"
    env: Mapping[str, str] = field(default_factory=dict[str, str])


def environment(
    job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, settings: TrainingSettings
) -> list[Json]:
    """The variables of a rank, in a fixed order."""
    table: dict[str, str] = {**settings.env, **_platform(job, group, start, ledger, settings)}
    table |= _mpi(job, group) if job.spec.framework == "mpi" else framework_variables(_world(job, group, start, ledger))
    told: list[Json] = [{"name": name, "value": value} for name, value in table.items()]
    if job.spec.framework == "ray":
        source = {"secretKeyRef": {"name": secret_name(job.name), "key": "ray-token"}}
        told.append({"name": "RAY_AUTH_TOKEN", "valueFrom": source})
    return told


def asks_server(job: TrainingJob, settings: TrainingSettings) -> bool:
    """Whether ranks ask the platform's server how to log: nobody said it otherwise."""
    tracking = job.spec.tracking
    said = tracking is not None and (tracking.mlflow_tracking_uri or tracking.run_id)
    return bool(settings.server) and not settings.tracking_uri and not said


def _platform(
    job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, settings: TrainingSettings
) -> dict[str, str]:
    tracking = job.spec.tracking
    table = platform_variables(job, group, start, ledger, (job.spec.checkpoint or Checkpoint()).mount_path)
    table |= _last_word(group)
    if claim := checkpoint_claim(job, start.key):
        table["MLP_CHECKPOINT_CLAIM"] = claim
    if settings.progress:
        table["MLP_PROGRESS_URL"] = f"{settings.progress}/api/training/{job.namespace}/{job.name}/progress"
        table["MLP_PROGRESS_TOKEN_FILE"] = f"{TOKEN_FOLDER}/token"
    if asks_server(job, settings):
        table["MLPLATFORM_SERVER"] = settings.server
        table["MLP_SERVER_TOKEN_FILE"] = f"{TOKEN_FOLDER}/server"
    status = job.status.tracking
    told = {
        "MLFLOW_TRACKING_URI": (tracking.mlflow_tracking_uri if tracking else "") or settings.tracking_uri,
        "MLFLOW_EXPERIMENT_ID": status.experiment_id if status else "",
        "MLFLOW_RUN_ID": (tracking.run_id if tracking else "") or (status.run_id if status else ""),
    }
    return table | {name: value for name, value in told.items() if value}


def _last_word(group: ReplicaGroup) -> dict[str, str]:
    """Where a rank's container leaves why it failed, and whose values are not to be told there."""
    spec: Json = group.template.get("spec") or {}
    containers: list[Json] = spec.get("containers") or [{}]
    entries: list[Json] = containers[0].get("env") or []
    names = [str(one.get("name")) for one in entries if child(one, "valueFrom").get("secretKeyRef")]
    told = {"MLP_LAST_WORD": str(containers[0].get("terminationMessagePath") or "/dev/termination-log")}
    return told | ({"MLP_SECRET_NAMES": ",".join(names)} if names else {})


# ---------------------------------------------------------------------- frameworks
def _world(job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger) -> World:
    port = _PORTS.get(job.spec.framework, 0)

    def meet(name: str) -> tuple[str, int]:
        """Rank 0 of a group."""
        return address(job.name, RankKey(name, 0, ledger.wanted(name, 0))), port

    return World(job, group, start.key.rank, ledger.attempts_of.get(group.name, start.key.attempt), meet)


def _mpi(job: TrainingJob, group: ReplicaGroup) -> dict[str, str]:
    if group.role != "launcher":
        return {}
    ssh = f"-p {SSH_PORT} -i {SSH_FOLDER}/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    words, hosts = f"{ssh} -o ConnectionAttempts=10 -o LogLevel=ERROR", f"{MPI_FOLDER}/hostfile"
    return {
        "OMPI_MCA_orte_default_hostfile": hosts,
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_plm_rsh_args": words,
        # Open MPI 5 calls the same things otherwise.
        "PRTE_MCA_prte_default_hostfile": hosts,
        "PRTE_MCA_prte_keep_fqdn_hostnames": "true",
        "PRTE_MCA_plm_ssh_args": words,
    }


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
