# pyright: basic
"""Secrets of this process's environment, kept out of what a notebook's session writes.

A cell may copy ``os.environ``, and the copy is a variable like any other. In a snapshot each secret is replaced by a
mark of its length that tells the variable's name only; loading it puts the secret of that name in again, as this
process has it. The tokens with which tasks log to MLflow, which differ from run to run, are also left out of
comparisons, logs and outputs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Shorter values are words of every text.
_SHORTEST = 8
#: Memory of arrays that is larger is not searched.
LARGEST = 16 * 2**20
_SECRET = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_?KEY|ACCOUNT_?KEY|_PAT$|CONNECTION_STRING",
    re.IGNORECASE,
)
_PLATFORM = ("MLFLOW_", "MLPLATFORM_")
#: Values that this process has had, newest last -> the variable's name.
_known: dict[bytes, str] = {}
_ours: dict[bytes, str] = {}


def learn(env: Mapping[str, str], secrets: Iterable[str] = ()) -> None:
    """Variables of this process before its cells run. ``secrets``: values that are secret whatever they are called."""
    secret = frozenset(secrets)
    for name, value in env.items():
        if (value in secret or _SECRET.search(name)) and len(value) >= _SHORTEST and "/" not in value[:1]:
            data = value.encode("utf-8", "surrogateescape")
            _known.pop(data, None)
            _known[data] = name
            if name.startswith(_PLATFORM):
                _ours[data] = name


def cover(data: Any) -> Any:
    """Bytes with marks in the place of secrets; the very object if there is none in it."""
    return _replace(data, {value: _mark(name, len(value)) for value, name in _known.items()})


def uncover(data: bytes) -> bytes:
    """Bytes from :func:`cover` with the secrets that this process has."""
    return bytes(_replace(data, {_mark(name, len(value)): value for value, name in _known.items()}))


def cover_ours(data: Any) -> Any:
    """The same for what only the platform gave this process. What is longer than :data:`LARGEST` is not looked through:
    nobody writes tokens into arrays of that size, and looking takes longer than hashing."""
    if memoryview(data).nbytes > LARGEST:
        return data
    return _replace(data, {value: _mark(name, len(value)) for value, name in _ours.items()}) if _ours else data


def hide(data: bytes) -> bytes:
    """For texts that people read."""
    return _replace(data, dict.fromkeys(_ours, b"***"))


def ours() -> list[str]:
    return [value.decode("utf-8", "surrogateescape") for value in _ours]


def _mark(name: str, length: int) -> bytes:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest().encode("ascii")
    return (digest * (length // len(digest) + 1))[:length]


def _replace(data: Any, words: Mapping[bytes, bytes]) -> Any:
    for old, new in words.items():
        if re.search(re.escape(old), data):
            data = bytes(data).replace(old, new)
    return data
