"""Times as protobuf JSON has them. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from mlplatform.core.errors import InvalidInput


def to_rfc3339(time: float | None) -> str | None:
    """``2026-01-31T12:00:00.5Z`` of seconds since the epoch."""
    if time is None:
        return None
    whole, micros = divmod(microsecond(time), 10**6)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{micros:06}".rstrip("0").rstrip(".") + "Z"


def microsecond(time: float) -> int:
    """The microsecond since the epoch in which a time lies: the last one that begins, as a float, not after it."""
    found = math.floor(time * 1e6)
    while (found + 1) / 1e6 <= time:
        found += 1
    while found / 1e6 > time:
        found -= 1
    return found


def from_rfc3339(text: Any) -> float:
    """Seconds since the epoch: where its microsecond begins. Raises InvalidInput."""
    try:
        found = datetime.fromisoformat(str(text).strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{str(text)[:60]!r} is no time", hint="Write it as 2026-01-31T12:00:00Z.") from None
