"""Compiled Python in one file instead of a thousand: what is copied into every pod is made, and later removed, by the
file, and that is what it costs. Python imports from a zip as it does from folders; nothing in it is compressed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Final

from mlplatform.images.tree import Entry, Tree

#: The earliest date that a zip knows: it must not depend on when it was made.
_DATE: Final = (1980, 1, 1, 0, 0, 0)


def zip_modules(tree: Tree, folder: str, to: str, wanted: Callable[[str], bool]) -> None:
    """Move files below ``folder`` into a zip at ``to``, the same in every build. ``wanted``: asked by their paths below
    ``folder``."""
    found = [
        (path, entry)
        for path, entry in tree.entries()
        if path.startswith(f"{folder}/") and entry.source is not None and wanted(path[len(folder) + 1 :])
    ]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as file:
        for path, entry in found:
            file.writestr(zipfile.ZipInfo(path[len(folder) + 1 :], _DATE), _content(entry))
            tree.remove(path)
    tree.file(to, made.getvalue(), executable=False)
    drop_empty_folders(tree)


def zip_compiled(tree: Tree, folder: str, to: str) -> None:
    """A zip at ``to`` with what is compiled beside its source below ``folder``, which stays where it is."""
    made = Tree()
    for path, entry in tree.entries():
        if path.startswith(f"{folder}/") and path.endswith(".pyc"):
            above, _, name = path[len(folder) + 1 :].rpartition("/__pycache__/")
            made.put(f"modules/{above}/{name.partition('.')[0]}.pyc", entry)
    zip_modules(made, "modules", to, lambda _: True)
    tree.put(to, made[to])


def drop_empty_folders(tree: Tree) -> None:
    """Folders without a file below them (of data that was left out, say)."""
    listed = list(tree.entries())
    full: set[str] = set()
    for path, entry in listed:
        if entry.source is not None or entry.link:
            while path:
                path = path.rpartition("/")[0]
                full.add(path)
    for path, entry in listed:
        if entry.source is None and not entry.link and path not in full:
            tree.remove(path)


def _content(entry: Entry) -> bytes:
    if isinstance(entry.source, bytes):
        return entry.source
    return entry.source.read_bytes() if entry.source is not None else b""
