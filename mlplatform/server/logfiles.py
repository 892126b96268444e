"""Logs of attempts: ranges of bytes as text that is never cut inside a character."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.model import AttemptRecord, TaskKey
from mlplatform.sdk.records import log_file
from mlplatform.server.context import Context

#: Seconds between two looks at a file that grows; the most bytes of one message.
_LOOK: Final = 0.25
PART: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a log as text. ``following``: where the next part begins."""

    offset: int
    following: int
    size: int
    text: str


def find_attempt(here: Context, run_id: str, key: TaskKey, number: int) -> AttemptRecord:
    """An attempt of a task, the last one for 0. Raises NotFound."""
    attempts = here.store.attempts(run_id, key)
    found = [attempt for attempt in attempts if number in (0, attempt.attempt)]
    if not found:
        here.store.task(run_id, key)
        hint = "It has not begun, or its result was reused." if not attempts else ""
        raise NotFound(f"{key} has no attempt{f' {number}' if number else ''}", hint=hint)
    newest = max(found, key=lambda attempt: attempt.attempt)
    if here.cluster is not None:
        here.cluster.look_at_log(here.store.get_run(run_id), newest)
    return newest


def read_part(path: Path, offset: int, limit: int) -> Part:
    """At most ``limit`` bytes from ``offset`` on; a negative offset counts from the end.

    Raises:
        NotFound: there is no such file (any more).
        InvalidInput: the offset is behind the end.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size + offset) if offset < 0 else offset
            if start > size:
                raise InvalidInput(f"the log has {size} bytes: there is nothing at {start}")
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        raise NotFound(
            "there is no log", hint="It was removed, or the attempt runs on another machine, or printed nothing yet."
        ) from None
    if offset < 0 and start > 0:
        start, data = _from_character(start, data)
    data = _whole(data) if start + len(data) < size or len(data) > 3 else data
    return Part(start, start + len(data), size, data.decode("utf-8", "replace"))


def _from_character(start: int, data: bytes) -> tuple[int, bytes]:
    """Without the rest of a character that began before."""
    skip = 0
    while skip < min(3, len(data)) and data[skip] & 0xC0 == 0x80:
        skip += 1
    return start + skip, data[skip:]


def _whole(data: bytes) -> bytes:
    """Without the beginning of a character that is not all there (yet)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        need = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if need > back and len(data) > back else data
    return data


async def follow(
    read: Callable[[], AttemptRecord], offset: int, encode: Callable[[str, int, dict[str, Any]], bytes]
) -> AsyncIterator[bytes]:
    """Messages ``log`` with the log's text as it grows, then ``end`` once the attempt has ended.

    ``read`` gives the attempt's record as it is now; ``encode`` makes a message of kind, id and data.
    """
    attempt = await asyncio.to_thread(read)
    path, quiet = log_file(attempt), 0.0
    while True:
        # Asked before the file is read: nothing is printed after an attempt has ended.
        ended = (await asyncio.to_thread(read)).state.finished if quiet or attempt.state.finished else False
        try:
            part = await asyncio.to_thread(read_part, path, offset, PART)
        except NotFound:
            part = Part(offset, offset, offset, "")
        if part.following > part.offset:
            offset, quiet = part.following, 0.0
            yield encode("log", offset, {"offset": part.offset, "next_offset": offset, "text": part.text})
            if offset < part.size:
                continue
        elif ended:
            yield encode("end", offset, {"attempt": attempt.attempt, "size": offset})
            return
        quiet += _LOOK
        if quiet % 15.0 < _LOOK:
            yield b": still here\n\n"
        await asyncio.sleep(_LOOK)
