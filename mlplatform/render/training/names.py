"""Names of a training job's objects. An attempt is in the names of its ranks, so nobody reaches one of an old."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.names import LABEL_GROUP, LABEL_JOB, LABEL_JOB_ATTEMPT, LABEL_MANAGED, LABEL_RANK, MANAGER
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training import names
from mlplatform.planning.training.facts import RankKey

#: A pod is called like its rank.
pod_name: Final = names.rank_name
base36: Final = names.base36
job_claim: Final = names.job_claim
rank_claim: Final = names.rank_claim


def service_name(job: str) -> str:
    """The headless Service below which ranks have their names."""
    return f"{job}-ranks"


def address(job: str, key: RankKey) -> str:
    """Where other ranks find this one, from within the namespace."""
    return f"{pod_name(job, key)}.{service_name(job)}"


def secret_name(job: str) -> str:
    """The keys by which ranks know each other (mpi, ray)."""
    return f"{job}-keys"


def hosts_name(job: str, attempt: int) -> str:
    """The list of hosts of an attempt (mpi)."""
    return f"{job}-hosts-a{base36(attempt)}"


def devices_name(job: str, group: str) -> str:
    """The template of a rank's claim on devices (DRA)."""
    return f"{job}-{group}-devices"


def job_labels(job: str) -> dict[str, str]:
    return {LABEL_MANAGED: MANAGER, LABEL_JOB: job}


def rank_labels(job: str, key: RankKey) -> dict[str, str]:
    return {
        **job_labels(job),
        LABEL_GROUP: key.group,
        LABEL_RANK: str(key.rank),
        LABEL_JOB_ATTEMPT: str(key.attempt),
    }


def read_labels(labels: dict[str, str]) -> RankKey | None:
    """The rank that a pod's labels name; None: they name none."""
    group, rank, attempt = (labels.get(name, "") for name in (LABEL_GROUP, LABEL_RANK, LABEL_JOB_ATTEMPT))
    if not group or not rank.isdecimal() or not attempt.isdecimal():
        return None
    return RankKey(group, int(rank), int(attempt))


def checkpoint_claim(job: TrainingJob, rank: RankKey) -> str:
    """The claim that a rank's checkpoints are on; "": none is."""
    asked = job.spec.checkpoint
    if asked is None or not (asked.claim_name or asked.claim_spec):
        return ""
    if asked.scope == "Rank":
        return rank_claim(job.name, rank.group, rank.rank)
    return asked.claim_name or job_claim(job.name)
