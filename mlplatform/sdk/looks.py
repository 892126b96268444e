"""How states and times look wherever a run is shown: one set of signs for screens, notebooks and pages."""

from __future__ import annotations

from typing import Final

GLYPHS: Final = {
    "PENDING": "○",
    "QUEUED": "○",
    "WAITING": "◷",
    "RETRYING": "◷",
    "RUNNING": "◐",
    "CANCELLING": "◐",
    "SUCCEEDED": "●",
    "CACHED": "⟲",
    "FAILED": "✕",
    "SKIPPED": "–",
    "CANCELLED": "⊘",
    "INVALID": "✕",
}


def duration(seconds: float | None) -> str:
    """At most two units: ``0.4s``, ``12s``, ``3m 12s``, ``2h 5m``, ``3d 4h``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60}m"
    hours = minutes // 60
    return f"{hours // 24}d {hours % 24}h"


def size(count: float) -> str:
    """Bytes in words: ``812 B``, ``1.4 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(number: int, word: str, plural: str = "") -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {word if number == 1 else plural or word + 's'}"
