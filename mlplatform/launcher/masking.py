"""Keeping secrets out of logs and results.

A task without secrets writes straight into its log. One with secrets writes into a pipe, whatever writes: Python, a
native library, a child process. A small process of its own, outside the task's tree, reads the pipe until its last
writer is gone and writes the masked text; the file ``.masking`` beside the log is there as long as it runs.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import quote

#: Shorter values are words of every log; replacing them would hide nothing and spoil everything.
SHORTEST = 4
MASK = "***"
MARKER = ".masking"


def spellings(secrets: Iterable[str]) -> list[str]:
    """Every text to replace, longest first: values as they are, their lines, and as JSON, ``repr``, URLs and base64
    spell them."""
    found: set[str] = set()
    for secret in secrets:
        for part in (secret, secret.strip(), *(line.strip() for line in secret.splitlines())):
            if len(part) < SHORTEST:
                continue
            data = part.encode("utf-8", "surrogateescape")
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1]}
            found |= {quote(data, safe=""), quote(data), base64.b64encode(data).decode("ascii").rstrip("=")}
    return sorted(found, key=lambda text: (-len(text), text))


def mask_text(text: str, words: Sequence[str]) -> str:
    """``text`` with each of ``words`` (from :func:`spellings`) replaced."""
    for word in words:
        text = text.replace(word, MASK)
    return text


def mask_json(value: Any, words: Sequence[str]) -> Any:
    """The same for every text (keys too) inside a JSON value."""
    if isinstance(value, str):
        return mask_text(value, words)
    if isinstance(value, (list, tuple)):
        return [mask_json(item, words) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {mask_text(str(key), words): mask_json(item, words) for key, item in items}
    return value


class Stream:
    """Masks a stream of bytes. What may be the beginning of a secret is held back until it is known."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word.encode("utf-8", "surrogateescape") for word in words]
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be written now."""
        data = self._replace(self._held + data)
        keep = max((_overlap(data, word) for word in self._words), default=0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def end(self) -> bytes:
        """The rest."""
        rest, self._held = self._held, b""
        return rest

    def _replace(self, data: bytes) -> bytes:
        for word in self._words:
            data = data.replace(word, MASK.encode("ascii"))
        return data


def _overlap(data: bytes, word: bytes) -> int:
    """Length of the longest end of ``data`` with which ``word`` begins."""
    for length in range(min(len(data), len(word) - 1), 0, -1):
        if data.endswith(word[:length]):
            return length
    return 0


def masked(log: int, secrets: Sequence[str], marker: str) -> int:
    """Start the masking process for the log ``log`` (a descriptor); returns the descriptor to write to. Call it before
    this process adopts orphans. Raises OSError."""
    words = spellings(secrets)
    if not words:
        return log
    read, write = os.pipe()
    first = os.fork()
    if first == 0:
        _detach(read, log, Stream(words), marker)
    # It is out of this session, deaf to signals and known by its number before the task may end in any way.
    _, status = os.waitpid(first, 0)
    os.close(read)
    os.close(log)
    if status:
        raise OSError("the process that masks secrets in the log could not be started")
    return write


def writer(marker: str) -> tuple[int, ...]:
    """The number of the masking process that ``marker`` speaks of, if there is one. It ends by itself, right after the
    last process that writes to it: whoever ends an attempt leaves it alone."""
    try:
        with open(marker, "rb") as file:
            return (int(file.read()),)
    except (OSError, ValueError):
        return ()


def _detach(read: int, log: int, stream: Stream, marker: str) -> None:
    """The masking process's parent; does not return."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600)
        told, tell = os.pipe()
        second = os.fork()
        if second == 0:
            os.close(tell)
            if os.read(told, 1):
                _mask(read, log, stream, marker)
            os._exit(1)
        os.write(descriptor, b"%d" % second)
        os.write(tell, b"1")
        status = 0
    finally:
        os._exit(status)


def _mask(read: int, log: int, stream: Stream, marker: str) -> None:
    """The masking process; does not return."""
    try:
        os.dup2(read, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
        while True:
            piece = os.read(0, 1 << 16)
            _write(stream.feed(piece) if piece else stream.end())
            if not piece:
                break
    finally:
        try:
            os.unlink(marker)
        finally:
            os._exit(0)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
