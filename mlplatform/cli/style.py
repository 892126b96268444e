"""How states, times and names look on a screen: the same glyphs as in the notebook and on the pages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from mlplatform.sdk.looks import GLYPHS as GLYPHS
from mlplatform.sdk.looks import counted as counted
from mlplatform.sdk.looks import duration as duration
from mlplatform.sdk.looks import size as size

_PLAIN_GLYPHS: Final = {
    "PENDING": ".",
    "QUEUED": ".",
    "WAITING": "~",
    "RETRYING": "~",
    "RUNNING": ">",
    "CANCELLING": ">",
    "SUCCEEDED": "+",
    "CACHED": "=",
    "FAILED": "x",
    "SKIPPED": "-",
    "CANCELLED": "/",
    "INVALID": "x",
}
#: Names of colours as rich and the terminal know them.
COLORS: Final = {
    "RUNNING": "cyan",
    "CANCELLING": "yellow",
    "RETRYING": "yellow",
    "WAITING": "yellow",
    "SUCCEEDED": "green",
    "CACHED": "blue",
    "FAILED": "red",
    "INVALID": "red",
    "CANCELLED": "yellow",
}
_CODES: Final = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Style:
    """What a stream can show."""

    color: bool
    unicode: bool

    @staticmethod
    def of(stream: TextIO) -> Style:
        """Colours on a terminal, unless NO_COLOR or TERM=dumb say otherwise; FORCE_COLOR wins over a pipe."""
        color = is_terminal(stream)
        if os.environ.get("NO_COLOR"):
            color = False
        elif os.environ.get("FORCE_COLOR"):
            color = True
        try:
            "".join(GLYPHS.values()).encode(stream.encoding or "ascii")
        except (UnicodeError, LookupError):
            return Style(color, False)
        return Style(color, True)

    def paint(self, text: str, *words: str) -> str:
        """``text`` in these colours and weights, if the stream has colours."""
        codes = [str(_CODES[word]) for word in words if word in _CODES]
        if not self.color or not codes or not text:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"

    def glyph(self, state: str) -> str:
        """The sign of a state, in its colour."""
        return self.paint((GLYPHS if self.unicode else _PLAIN_GLYPHS).get(state, "?"), COLORS.get(state, ""))

    def state(self, state: str) -> str:
        """A state's sign and word."""
        return f"{self.glyph(state)} {self.paint(state.lower(), COLORS.get(state, ''))}"


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody sees the stream, on a terminal that can do more than a teletype."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def clean(text: str) -> str:
    """Text for one place on a screen: control characters (a name may hold some) become ``?``, newlines blanks."""
    return _CONTROL.sub("?", text.replace("\n", " ").replace("\t", " "))


def clean_lines(text: str) -> str:
    """Like :func:`clean` for text of several lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = (), gap: str = "  ") -> list[str]:
    """Rows in columns; colours do not count as width. The columns in ``right`` are set to the right."""
    if not rows:
        return []
    flush = set(right)
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str] = []
    for row in rows:
        cells = [
            (" " * (widths[n] - width(cell)) + cell if n in flush else cell + " " * (widths[n] - width(cell)))
            for n, cell in enumerate(row)
        ]
        lines.append(gap.join(cells).rstrip())
    return lines


_PAINT: Final = re.compile(r"\x1b\[[0-9;]*m")


def width(text: str) -> int:
    """Cells a text takes on a screen."""
    plain = _PAINT.sub("", text)
    if plain.isascii():
        return len(plain)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain)


def style_of_output() -> Style:
    """The style of standard output."""
    return Style.of(sys.stdout)
