"""When a failed attempt is followed by another. Pure arithmetic of KFP's ``RetryPolicy``."""

from __future__ import annotations

from typing import Final

from mlplatform.ir.model import RetryPolicy
from mlplatform.planning.model import TaskFact

_DEFAULT_BACKOFF: Final = 0.0
_DEFAULT_FACTOR: Final = 2.0
_DEFAULT_CAP: Final = 3600.0


def may_retry(policy: RetryPolicy | None, fact: TaskFact) -> bool:
    """Whether the policy allows an attempt after this failure: ``max_retry_count`` of them after the first attempt."""
    return policy is not None and fact.retryable and max(1, fact.failures) <= policy.max_retry_count


def retry_at(policy: RetryPolicy | None, fact: TaskFact, now: float) -> float:
    """When the next attempt may start, in seconds since the epoch: back-off from the end of the last one."""
    # another machine says when it ended: a clock that is behind that one's must not wait for it
    ended = now if fact.finished_at is None else min(fact.finished_at, now)
    return ended + backoff(policy or RetryPolicy(), fact.failures)


def backoff(policy: RetryPolicy, failures: int) -> float:
    """Seconds to wait after the ``failures``-th failure: ``duration * factor ** (failures - 1)``, capped."""
    duration = _DEFAULT_BACKOFF if policy.backoff_duration is None else policy.backoff_duration
    factor = policy.backoff_factor or _DEFAULT_FACTOR
    cap = _DEFAULT_CAP if policy.backoff_max_duration is None else policy.backoff_max_duration
    try:
        return min(cap, duration * factor ** max(0, failures - 1))
    except OverflowError:
        return cap
