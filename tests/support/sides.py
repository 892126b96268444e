"""The suite in two halves that run side by side, since about half of its time is waiting for processes and servers.

Which half a test is in follows from its folder alone, so that each fixture of a session is made once. Tests that want a
cluster are all in the second one, last: one cluster serves them, and it may still be built while others run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

#: Says in the environment which half this process runs; nothing: all.
VARIABLE: Final = "MLPLATFORM_TEST_SIDE"
SIDES: Final = ("1", "2")
_FIRST: Final = frozenset(
    ("conformance", "engine", "examples", "jupyter", "notebooks", "packaging", "server", "training", "ui")
)
_FIRST_OF_UNITS: Final = frozenset(("cli", "images", "sdk", "tracking"))
_SUMMARY: Final = re.compile(r"^=* ?(?P<counts>[0-9a-z, ]+) in (?P<seconds>[0-9.]+)s(?: \([0-9a-z:, ]+\))? ?=*$")
_COUNT: Final = re.compile(r"^(\d+) ([a-z]+)$")
_ONE: Final = {"warnings": "warning", "errors": "error"}
_WORDS: Final = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error", "rerun")


def side_of(folder: PurePath, *, on_a_cluster: bool) -> str:
    """Which half the tests of a folder (from ``tests`` on) are in."""
    top, below = (*folder.parts, "", "")[:2]
    first = top in _FIRST or (top == "unit" and below in _FIRST_OF_UNITS)
    return SIDES[0] if first and not on_a_cluster else SIDES[1]


def summary(lines: Iterable[str]) -> tuple[Counter[str], float] | None:
    """Counts by word and seconds of the last summary of pytest's among lines."""
    for line in reversed(list(lines)):
        if (found := _SUMMARY.match(line.strip())) is not None:
            counts: Counter[str] = Counter()
            for part in found["counts"].split(", "):
                if (count := _COUNT.match(part)) is not None:
                    counts[_ONE.get(count[2], count[2])] += int(count[1])
            return counts, float(found["seconds"])
    return None


def together(counts: Counter[str], seconds: float) -> str:
    """One summary, as pytest writes it."""
    several = {one: word for word, one in _ONE.items()}
    told = [
        f"{counts[word]} {several.get(word, word) if counts[word] > 1 else word}" for word in _WORDS if counts[word]
    ]
    whole = int(seconds)
    clock = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f" {', '.join(told) or 'no tests ran'} in {seconds:.2f}s ({clock}) ".center(80, "=")


def exit_code(codes: Iterable[int]) -> int:
    """The worse one; a half without tests (5) is nothing where the other has some."""
    rest = [code for code in codes if code != 5]
    return max(rest, key=abs, default=5)
