"""Reaching into JSON that another version may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def section(data: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The object below ``names``; empty where there is none."""
    for name in names:
        inner = data.get(name)
        data = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else {}
    return data


def objects(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects called ``name``; empty where there is none."""
    inner = data.get(name)
    return [cast("dict[str, Any]", item) for item in cast("list[Any]", inner)] if isinstance(inner, list) else []
