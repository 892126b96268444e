"""Names of a training job's ranks and of what they keep. An attempt is in the name of a rank, so nobody reaches one of
an old."""

from __future__ import annotations

import hashlib
from typing import Final

from mlplatform.core.ids import slug
from mlplatform.core.model import TaskKey
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


def rank_name(job: str, key: RankKey) -> str:
    """``<job>-<group>-a<attempt>-<rank>``: a pod and its host name, a folder on one machine."""
    return f"{job}-{key.group}-a{base36(key.attempt)}-{key.rank}"


def job_claim(job: str) -> str:
    """The place for checkpoints that all ranks share."""
    return f"{job}-checkpoint"


def rank_claim(job: str, group: str, rank: int) -> str:
    """A rank's own place; it stays the same over attempts."""
    return f"{job}-{group}-{rank}"


def task_job(run_id: str, key: TaskKey) -> str:
    """The job that a task of a run is, in all its attempts, on one machine and on a cluster: checkpoints are named like
    it, and outlive an attempt."""
    digest = hashlib.sha256(f"{run_id} {key}".encode()).hexdigest()[:10]
    begin = slug(key.path[-1], 22)
    return f"{begin if begin[0].isalpha() else 't-' + begin}-{digest}"
