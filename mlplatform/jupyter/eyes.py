"""Whether the saved notebook is what the eye sees: compared with what the kernel was given to run. Pure.

A kernel sees neither unsaved edits nor saves; it sees what it was told to execute, and when. What was executed after
the file was last saved and does not stand in it was typed since: running the file would run other code. What was
executed before may have been edited and saved meanwhile, and is of no interest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

#: Lines of a difference that are shown.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Executed:
    """One input of the kernel. ``at``: seconds since the epoch, as late as it can have been."""

    number: int
    source: str
    at: float


@dataclass(frozen=True, slots=True)
class Unsaved:
    """An input that the file does not have. ``difference``: from the most similar cell of the file, a few lines."""

    number: int
    difference: str

    def __str__(self) -> str:
        return f"In [{self.number}] is not in the saved file:\n{self.difference}"


def unsaved(inputs: Iterable[Executed], cells: Sequence[str], saved_at: float) -> list[Unsaved]:
    """What was executed after the file was saved and is not in it; only the last of inputs that replaced each other.

    Args:
        cells: sources of the file's code cells.
        saved_at: when the file was written, seconds since the epoch.
    """
    known = {_plain(cell) for cell in cells}
    found = [
        entry
        for entry in inputs
        if entry.at > saved_at and _plain(entry.source) not in known and not only_ours(entry.source)
    ]
    return [Unsaved(entry.number, _difference(entry.source, cells)) for entry in found]


def only_ours(source: str) -> bool:
    """A cell that only talks to the platform: inside a run it does nothing, so that it may be missing from the file."""
    lines = [line.strip() for line in source.splitlines()]
    ours = ("%mlplatform", "%load_ext mlplatform", "%reload_ext mlplatform")
    return all(not line or line.startswith(("#", *ours)) for line in lines)


def _plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _difference(source: str, cells: Sequence[str]) -> str:
    closest = difflib.get_close_matches(source, cells, n=1, cutoff=0.4)
    if not closest:
        lines = source.strip().splitlines()
        more = [f"  ... and {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
        return "\n".join([*(f"  + {line}" for line in lines[:_SHOWN]), *more])
    changes = difflib.unified_diff(closest[0].splitlines(), source.splitlines(), lineterm="", n=1)
    return "\n".join(f"  {line}" for line in islice(changes, 2, 2 + _SHOWN))
