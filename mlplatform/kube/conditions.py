"""Conditions of a status, as Kubernetes writes them. Pure: the time comes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]
Condition = dict[str, Any]

#: How long a message may be; longer ones are cut.
MESSAGE_LIMIT = 32768


def timestamp(now: float) -> str:
    """Seconds since the epoch as Kubernetes writes a time: ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(now: float) -> str:
    """The same with microseconds, for leases and events."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> float:
    """Seconds since the epoch of a Kubernetes time. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def condition(
    conditions: Iterable[Mapping[str, Any]],
    kind: str,
    status: Status | bool,
    reason: str,
    message: str = "",
    *,
    now: float,
    generation: int | None = None,
) -> list[Condition]:
    """The conditions with this one set, in the order they had (a new one last).

    ``lastTransitionTime`` changes with ``status`` only, so a condition that says the same again stays as it is.
    """
    word = status if isinstance(status, str) else ("True" if status else "False")
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 3] + "..."
    wanted: Condition = {"type": kind, "status": word, "reason": reason, "message": message}
    if generation is not None:
        wanted["observedGeneration"] = generation
    found = [dict(one) for one in conditions]
    for place, old in enumerate(found):
        if old.get("type") == kind:
            same = old.get("status") == word and old.get("lastTransitionTime")
            found[place] = {**wanted, "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(now)}
            return found
    return [*found, {**wanted, "lastTransitionTime": timestamp(now)}]


def find(conditions: Sequence[Mapping[str, Any]] | None, kind: str) -> Mapping[str, Any] | None:
    return next((one for one in conditions or () if one.get("type") == kind), None)


def is_true(conditions: Sequence[Mapping[str, Any]] | None, kind: str) -> bool:
    found = find(conditions, kind)
    return found is not None and found.get("status") == "True"
