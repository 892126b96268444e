"""Time and randomness as things that are passed in, so that everything above can be tested with fakes."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, UTC."""

    def now(self) -> float: ...


class Entropy(Protocol):
    """Random bytes."""

    def bytes(self, count: int) -> bytes: ...
