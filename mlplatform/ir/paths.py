"""Field paths in documents: ``root.dag.tasks.train.dependentTasks[0]``; odd keys are quoted: ``tasks["a.b"]``."""

from __future__ import annotations

import json
import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_$/-]+")
_STEP: Final = re.compile(r"""\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([A-Za-z0-9_$/-]+)""")
_MAX_KEY: Final = 80


def child(path: str, key: str) -> str:
    """The path of mapping entry ``key`` under ``path``."""
    if _PLAIN.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key)}]"


def element(path: str, index: int) -> str:
    """The path of list element ``index`` under ``path``."""
    return f"{path}[{index}]"


def split(path: str) -> tuple[str | int, ...]:
    """The keys and indexes of ``path``; the inverse of :func:`child` and :func:`element`."""
    steps: list[str | int] = []
    for index, quoted, plain in _STEP.findall(path):
        steps.append(int(index) if index else json.loads(quoted) if quoted else plain)
    return tuple(steps)


def shorten(text: str) -> str:
    """A name shortened for a message."""
    return text if len(text) <= _MAX_KEY else text[: _MAX_KEY - 3] + "..."
