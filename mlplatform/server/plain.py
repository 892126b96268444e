"""Answers that any JSON reader takes, whatever users put into names and values.

A file name may be no UTF-8 (lone surrogates here), a metric may be NaN: JSON has neither. Such characters become
U+FFFD, such numbers the words that protobuf's JSON has for them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, cast

import msgspec
from fastapi import Response
from fastapi.routing import APIRoute


def plain(value: Any) -> Any:
    """``value`` as JSON can say it."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_text(name) if isinstance(name, str) else name: plain(item) for name, item in items}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def encode(value: Any) -> bytes:
    """``value`` as JSON; only what needs it is looked through."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(plain(value))


def _text(text: str) -> str:
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


class PlainRoute(APIRoute):
    """A route whose answer is :func:`plain`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _plainly(endpoint), **options)


def _plainly(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):
        awaited = cast("Callable[..., Awaitable[Any]]", endpoint)

        @wraps(endpoint)
        async def later(*args: Any, **kwargs: Any) -> Any:
            return _answer(await awaited(*args, **kwargs))

        return later

    @wraps(endpoint)
    def now(*args: Any, **kwargs: Any) -> Any:
        return _answer(endpoint(*args, **kwargs))

    return now


def _answer(found: Any) -> Any:
    return found if isinstance(found, Response) else plain(found)
