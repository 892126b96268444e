"""Names of tasks: from a heading or a tag to a word that KFP and Kubernetes take, each once."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: Room for a number behind it, and for what Kubernetes adds, within 63.
MAX_LENGTH: Final = 48
_MARKUP: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]+>")
_NUMBER: Final = re.compile(r"^\s*(?:\d+[.)]?)(?:\d+[.)]?)*\s+(?=\S)")


def plain(heading: str) -> str:
    """A heading without Markdown's marks: links by their text, no emphasis, no HTML."""
    text = _MARKUP.sub(lambda match: match[1] or "", heading)
    return re.sub(r"[*`$]+|(?<!\w)_+|_+(?!\w)", "", text).strip()


def slug(text: str, fallback: str) -> str:
    """``text`` in lower-case letters, digits and dashes, beginning with a letter; ``fallback`` if nothing is left."""
    text = _NUMBER.sub("", plain(text))
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    word = re.sub(r"[^a-z0-9]+", "-", ascii_.lower()).strip("-")
    if not word:
        return fallback
    if not word[0].isalpha():
        word = f"{fallback}-{word}"
    if len(word) > MAX_LENGTH:
        cut = word[:MAX_LENGTH].rpartition("-")[0]
        word = cut if len(cut) >= MAX_LENGTH // 2 else word[:MAX_LENGTH].rstrip("-")
    return word


class Names:
    """Gives every name once: the second ``plot`` is ``plot-2``."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def take(self, word: str) -> str:
        name, number = word, 1
        while name in self._used:
            number += 1
            name = f"{word}-{number}"
        self._used.add(name)
        return name
