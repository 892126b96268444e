"""Forgetting what no run that is still there refers to: records, snapshots, copies of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlplatform.core.values import child
from mlplatform.launcher.notebook.parts import named_in

#: What is younger may belong to a record that is being written (seconds).
_YOUNG = 86400.0


def prune(library: Path, runs: Path, now: float) -> int:
    """Remove what belongs to no run below ``runs``; returns the bytes. Anything from the last day stays."""
    wanted = {f"{told.get('key')}/{told.get('token')}" for told in map(_read, runs.glob("*/notebook/[0-9]*.json"))}
    freed = 0
    groups: set[str] = set()
    files: set[str] = set()
    values: set[str] = set()
    for path in library.glob("records/*/*.json"):
        run = path.stem.partition("-")[0]
        if f"{path.parent.name}/{path.stem}" not in wanted and not (runs / run).exists() and _old(path, now):
            freed += _remove(path) + _remove(path.with_suffix(".outputs"))
            continue
        record = _read(path)
        groups.update(child(record, "groups"))
        files.update(digest for digest in child(child(record, "files"), "writes").values() if digest)
        values.update(child(record, "values").values())
    parts: set[str] = set()
    for path in library.glob("groups/*/*"):
        if path.name.removesuffix(".bad") not in groups and _old(path, now):
            freed += _remove(path)
        else:
            parts.update(_parts(path))
    for folder, known in (("files/*", files), ("values/*", values), ("parts/*/*", parts)):
        for path in library.glob(folder):
            if path.name not in known and _old(path, now):
                freed += _remove(path)
    return freed


def _parts(path: Path) -> list[str]:
    try:
        return [digest.hex() for digest in named_in(str(path))[1]]
    except (OSError, ValueError):  # gone, or no snapshot (a note that one is bad, one that is being written)
        return []


def _read(path: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _old(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > _YOUNG
    except OSError:
        return False


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size
