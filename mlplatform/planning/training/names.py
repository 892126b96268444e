"""Names of a training job's ranks and of what they keep. An attempt is in the name of a rank, so nobody reaches one of
an old."""

from __future__ import annotations

from typing import Final

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
