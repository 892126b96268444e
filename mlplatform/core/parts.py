"""What a piece of code is made of, part by part, and what of it changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The most telling first: a helper that changed explains more than the module it lies in.
_ORDER: Final = (
    "function",
    "helper",
    "class",
    "default argument",
    "closure value",
    "global",
    "value",
    "module",
    "package",
)


def explain_parts(before: Mapping[str, Any], after: Mapping[str, Any], places: Mapping[str, str] | None = None) -> str:
    """The first part that differs, in words; empty if none does.

    Args:
        before, after: readable names ("helper clean", "package numpy") and what stands for their content.
        places: where a part is written, by name.
    """
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    if not changed:
        return ""
    both = [name for name in changed if name in before and name in after]
    name = min(both or changed, key=_rank)
    where = (places or {}).get(name, "")
    told = f"{name} ({where})" if where else name
    if name not in before:
        return f"{told} is new"
    if name not in after:
        return f"{told} is gone"
    if name.startswith("package "):
        return f"{told} changed: {before[name]} -> {after[name]}"
    return f"{told} changed"


def _rank(part: str) -> tuple[int, str]:
    for number, kind in enumerate(_ORDER):
        if part.startswith(kind + " "):
            return number, part
    return len(_ORDER), part
