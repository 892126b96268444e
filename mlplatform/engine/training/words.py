"""What a rank that failed said last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TAIL: Final = 16_384
_MOST: Final = 512
#: ``ValueError: bad``, ``torch.OutOfMemoryError: CUDA ...``, as the last line of a traceback.
_RAISED: Final = re.compile(r"^(?:\[\w+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b.*)$")


def last_words(log: Path) -> str:
    """The last line of a log that names an exception, or what the platform said; "": none does."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.startswith("mlplatform: "):
            return line.removeprefix("mlplatform: ").strip()[:_MOST]
        if (found := _RAISED.match(line)) and "ChildFailedError" not in line:
            return found.group(1).strip()[:_MOST]
    return ""
