"""Times as built-in kinds want them. (Ours are spelled by :mod:`mlplatform.apis.times`.)"""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(now: float) -> str:
    """Seconds since the epoch as a ``Time``: ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(now: float) -> str:
    """Seconds since the epoch as a ``MicroTime`` (leases, events), which must have six digits."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
