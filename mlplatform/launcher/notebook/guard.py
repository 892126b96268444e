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


def tried_apart(job: Callable[..., Any], *arguments: Any) -> tuple[Any, Optional[Exception]]:
    """The same, where what was raised holds no frames: they would keep the user's objects alive, whose end may be
    something that the next cell looks for (a weak reference, a finalizer)."""
    result, problem = tried(job, *arguments)
    waiting: list[Optional[BaseException]] = [problem]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]
    return result, problem
