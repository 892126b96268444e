"""Writing result.json: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .masking import mask_json, spellings


def write_result(path: str, result: Mapping[str, Any], secrets: Sequence[str] = ()) -> None:
    """Write ``result`` beside ``path``, make it durable, then rename. Raises OSError (disk full)."""
    told = mask_json(dict(result), spellings(secrets)) if secrets else result
    data = json.dumps(told, ensure_ascii=True, separators=(",", ":"), default=str).encode("ascii")
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
