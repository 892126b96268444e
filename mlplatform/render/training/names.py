"""Names of a training job's objects. An attempt is in the names of its ranks, so nobody reaches one of an old."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.names import LABEL_GROUP, LABEL_JOB, LABEL_JOB_ATTEMPT, LABEL_MANAGED, LABEL_RANK, MANAGER
from mlplatform.planning.training.facts import RankKey

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """A number with the digits 0-9a-z."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text


def pod_name(job: str, key: RankKey) -> str:
    """``<job>-<group>-a<attempt>-<rank>``: also the rank's host name."""
    return f"{job}-{key.group}-a{base36(key.attempt)}-{key.rank}"


def service_name(job: str) -> str:
    """The headless Service below which ranks have their names."""
    return f"{job}-ranks"


def address(job: str, key: RankKey) -> str:
    """Where other ranks find this one, from within the namespace."""
    return f"{pod_name(job, key)}.{service_name(job)}"


def job_claim(job: str) -> str:
    """The claim for checkpoints that all ranks share."""
    return f"{job}-checkpoint"


def rank_claim(job: str, group: str, rank: int) -> str:
    """A rank's own claim; it stays the same over attempts."""
    return f"{job}-{group}-{rank}"


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
