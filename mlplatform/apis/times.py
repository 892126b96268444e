"""Times as the API spells them: RFC 3339 in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)  # an object has the same few times at each look
def told_time(at: float | None) -> str:
    """Seconds since the epoch as ``2026-01-31T12:00:00.123Z``; "" for None."""
    if at is None:
        return ""
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{round(moment.microsecond / 1000) % 1000:03d}Z"


@lru_cache(maxsize=4096)
def read_time(text: str | None) -> float | None:
    """Seconds since the epoch, to the millisecond; None for "" and for what is no time."""
    if not text:
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp(), 3)
    except ValueError:
        return None
