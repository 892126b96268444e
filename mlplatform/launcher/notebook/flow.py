# pyright: basic
"""What a task does to the namespace, as far as its text tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Flow:
    """``reads``: names that may be read as the task finds them. ``sets``: names that may be set or deleted. ``surely``:
    names that are certainly set (or deleted) at the end. ``whole``: any name may be read and set. ``patches``: dotted
    places (``numpy.foo``) that it assigns to. ``words``: attributes and names it mentions. ``history``: it looks at
    earlier outputs or inputs. ``stars``: modules of which it imports everything."""

    reads: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    surely: set[str] = field(default_factory=set)
    whole: bool = False
    patches: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    history: bool = False
    stars: set[str] = field(default_factory=set)


def is_history(name: str) -> bool:
    """``_``, ``Out``, ``In``, ``_3``, ``_i2`` and their like."""
    return name in ("_", "__", "___", "Out", "In", "_oh", "_ih", "_dh", "_i", "_ii", "_iii") or bool(
        re.fullmatch(r"_i?\d+", name)
    )
