"""What a rank that failed said last, from its log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mlplatform.planning.training import lastwords

_TAIL: Final = 16_384


def last_words(log: Path) -> str:
    """See ``planning.training.lastwords``; "": nothing there says why."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return lastwords.last_words(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""
