"""Writing result.json: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any


def write_result(path: str, result: Mapping[str, Any], secrets: Sequence[str] = ()) -> None:
    """Write ``result`` beside ``path``, make it durable, then rename. Raises OSError (disk full)."""
    masked = mask_json(dict(result), secrets) if secrets else result
    data = json.dumps(masked, ensure_ascii=True, separators=(",", ":"), default=str).encode("ascii")
    write_atomically(path, data)


def write_atomically(path: str, data: bytes) -> None:
    """Temporary file, fsync, rename."""
    temporary = "%s.%d" % (path, os.getpid())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        os.unlink(temporary)
        raise
    os.close(descriptor)
    os.replace(temporary, path)


def mask_text(text: str, secrets: Sequence[str]) -> str:
    """``text`` with every secret replaced by ``***``, longest first."""
    for secret in sorted((item for item in secrets if item), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def mask_json(value: Any, secrets: Sequence[str]) -> Any:
    """The same for every text (keys too) inside a JSON value."""
    if isinstance(value, str):
        return mask_text(value, secrets)
    if isinstance(value, (list, tuple)):
        return [mask_json(item, secrets) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {  # pyright: ignore[reportUnknownVariableType]
            mask_text(str(key), secrets): mask_json(item, secrets)  # pyright: ignore[reportUnknownArgumentType]
            for key, item in value.items()  # pyright: ignore[reportUnknownVariableType]
        }
    return value
