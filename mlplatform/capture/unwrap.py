"""Components of the platform, seen as the functions they were made from."""

from __future__ import annotations

from typing import Any, cast


def plain(value: Any) -> Any:
    """A component of ours is the function it was made from; anything else is itself."""
    while cast("type[Any]", type(value)).__module__.partition(".")[0] == "mlplatform" and hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value
