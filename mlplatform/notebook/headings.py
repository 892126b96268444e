"""Headings of a notebook: Markdown's two spellings, HTML's, and reStructuredText in raw cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mlplatform.notebook.model import Cell

_ATX: Final = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_SETEXT: Final = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FENCE: Final = re.compile(r"^ {0,3}(```+|~~~+)")
_HTML: Final = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1\s*>", re.IGNORECASE | re.DOTALL)
_ADORNMENT: Final = re.compile(r"^([=\-`:'\"~^_*+#<>.])\1{2,}\s*$")
_BLOCK: Final = re.compile(r"^ {0,3}(?:[-*+>|]|\d+[.)])(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Heading:
    """``level`` counts from 1, the highest; ``cell`` is where it stands."""

    cell: int
    level: int
    text: str


def headings(cells: Iterable[Cell]) -> list[Heading]:
    """Every heading of a notebook, in order."""
    found: list[Heading] = []
    styles: list[str] = []
    for cell in cells:
        if cell.kind == "markdown":
            found += [Heading(cell.index, level, text) for level, text in _markdown(cell.source)]
        elif cell.kind == "raw" and _is_rst(cell):
            found += [Heading(cell.index, level, text) for level, text in _rst(cell.source, styles)]
    return found


def section_level(found: Iterable[Heading]) -> int:
    """The level down to which headings start a task: 2, or 1 if there is no 2; lower where those above are there only
    once (a title over one chapter). 0 where there is no heading."""
    counts = Counter(heading.level for heading in found)
    if not counts:
        return 0
    repeated = next((level for level in sorted(counts) if counts[level] > 1), max(counts))
    return max(repeated, 2) if 2 in counts else repeated


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    fence = ""
    before = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not line.strip().strip(fence[0]):
                fence = ""
            continue
        if mark:
            fence, before = mark[1], ""
            continue
        atx = _ATX.match(line)
        setext = _SETEXT.match(line)
        if atx:
            yield len(atx[1]), atx[2].strip()
            before = ""
        elif setext and before:
            yield (1 if setext[1][0] == "=" else 2), before
            before = ""
        else:
            yield from ((int(level), inner.strip()) for level, inner in _HTML.findall(line))
            plain = line.strip()
            before = "" if not plain or line.startswith("    ") or _BLOCK.match(line) else plain


def _is_rst(cell: Cell) -> bool:
    told = str(cell.metadata.get("raw_mimetype") or cell.metadata.get("format") or "")
    return told in ("text/restructuredtext", "text/x-rst")


def _rst(text: str, styles: list[str]) -> Iterator[tuple[int, str]]:
    """Underlined titles; which sign is which level is told by the order in which the document first uses them."""
    lines = text.split("\n")
    for line, below in pairwise(lines):
        mark = _ADORNMENT.match(below)
        if mark and line.strip() and not line[0].isspace() and len(below.rstrip()) >= len(line.rstrip()):
            if mark[1] not in styles:
                styles.append(mark[1])
            yield styles.index(mark[1]) + 1, line.strip()
