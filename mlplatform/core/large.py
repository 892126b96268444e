"""Values too large for an object of a cluster: in their place travels a text that says where they are and what.

The text begins and ends with code points that Unicode keeps for such use and that no exchanged text holds. Whoever
needs the value itself fetches it and compares its digest; whoever only passes it on passes the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_BEGIN, _END = "\ufdd0", "\ufdd1"
_FORM: Final = re.compile(_BEGIN + r"large (sha256:[0-9a-f]{64}) (\d+) (text|json) ([^ \ufdd0\ufdd1]+)" + _END)
#: Bytes of a result's parameters that travel in objects; of more, the largest go to the store.
ROOM: Final = 512 * 1024


@dataclass(frozen=True)
class Large:
    """``size`` is in bytes, ``kind`` is ``text`` (a string's own UTF-8) or ``json``."""

    digest: str
    size: int
    kind: str
    uri: str

    def __str__(self) -> str:
        return f"{_BEGIN}large {self.digest} {self.size} {self.kind} {self.uri}{_END}"


def find(value: Any) -> Iterator[Large]:
    """Large values in a value, at any depth."""
    if isinstance(value, str):
        if _BEGIN in value:
            yield from (_read(match) for match in _FORM.finditer(value))
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from find(item)
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from find(item)


def is_large(value: Any) -> bool:
    """Whether something in a value is elsewhere."""
    return next(find(value), None) is not None


def replaced(value: Any, by: Callable[[Large], Any]) -> Any:
    """``value`` with each large value replaced by what ``by`` gives for it; inside a longer text, by its text."""
    if isinstance(value, str):
        if _BEGIN not in value:
            return value
        whole = _FORM.fullmatch(value)
        if whole:
            return by(_read(whole))
        return _FORM.sub(lambda match: _text(by(_read(match))), value)
    if isinstance(value, list):
        return [replaced(item, by) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {key: replaced(item, by) for key, item in cast("Mapping[str, Any]", value).items()}
    return value


def by_content(value: Any) -> Any:
    """``value`` with large values named by their content alone, for keys."""
    return replaced(value, lambda large: f"{large.kind} {large.digest}")


def shown(value: Any) -> Any:
    """``value`` as people and programs are told it."""
    return replaced(value, lambda large: f"({large.size:,} bytes at {large.uri}, {large.digest})")


def _read(match: re.Match[str]) -> Large:
    return Large(match[1], int(match[2]), match[3], match[4])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
