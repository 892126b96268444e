# pyright: basic
"""Calling what the user's objects and libraries bring along, which may raise anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional


def tried(job: Callable[..., Any], *arguments: Any) -> tuple[Any, Optional[Exception]]:
    """(what the call returned, None) or (None, what it raised)."""
    try:
        return job(*arguments), None
    except Exception as problem:  # noqa: BLE001 - the one place for code that is not ours and keeps to no rules
        return None, problem
