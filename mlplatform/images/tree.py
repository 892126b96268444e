"""What lies in a layer: files, links and folders by path, whatever the machine they came from looked like."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.core.errors import InvalidInput

#: Never wanted in an image: what another interpreter wrote, and what an editor left.
NEVER: Final = frozenset({"__pycache__", ".git", ".DS_Store"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing at a path. ``source``: a file's bytes, or the file that holds them; ``link``: a symbolic link's target;
    a folder has neither."""

    mode: int
    source: bytes | Path | None = None
    link: str = ""

    @property
    def size(self) -> int:
        """Bytes of a file's content."""
        if isinstance(self.source, bytes):
            return len(self.source)
        return self.source.stat().st_size if self.source is not None else 0


class Tree:
    """Entries by their path below the image's root (``usr/bin/x``); folders in between come by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return _clean(path) in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, path: str) -> Entry:
        return self._entries[_clean(path)]

    def file(self, path: str, source: bytes | Path, *, executable: bool | None = None) -> None:
        """A file of mode 644, or 755 if it is ``executable`` (None: if the source is)."""
        if executable is None:
            executable = isinstance(source, Path) and bool(source.stat().st_mode & stat.S_IXUSR)
        self.put(path, Entry(0o755 if executable else 0o644, source))

    def symlink(self, path: str, target: str) -> None:
        self.put(path, Entry(0o777, link=target))

    def folder(self, path: str, mode: int = 0o755) -> None:
        self.put(path, Entry(mode))

    def add(
        self, folder: Path, under: str, keep: Callable[[str], bool] = lambda _: True, *, exact: bool = False
    ) -> None:
        """Everything below ``folder``, as ``under/...``.

        Args:
            keep: asked for each file and folder by its path below ``folder``, with ``/`` between the parts.
            exact: everything as it is (a root filesystem's /tmp): modes other than 644 and 755, compiled Python.
        """
        for path, entry in _walk(folder, "", keep, exact):
            self.put(f"{under}/{path}" if under else path, entry)

    def remove(self, path: str) -> None:
        self._entries.pop(_clean(path), None)

    def merge(self, other: Tree, under: str = "") -> None:
        """Everything of ``other``, as ``under/...``."""
        for path, entry in other._entries.items():
            self.put(f"{under}/{path}", entry)

    def below(self, under: str) -> Tree:
        """The same, as ``under/...``."""
        moved = Tree()
        moved.merge(self, under)
        return moved

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """In the order of their paths, each folder before what is in it, folders nobody named included."""
        known = dict(self._entries)
        for path in self._entries:
            above = path.rpartition("/")[0]
            while above and above not in known:
                known[above] = Entry(0o755)
                above = above.rpartition("/")[0]
        for path in sorted(known, key=lambda each: each.split("/")):
            yield path, known[path]

    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self._entries.values())

    def digest(self) -> str:
        """Stands for everything in it: paths, modes, contents."""
        sha = hashlib.sha256()
        for path, entry in self.entries():
            content = b""
            if isinstance(entry.source, bytes):
                content = hashlib.sha256(entry.source).digest()
            elif entry.source is not None:
                with entry.source.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            sha.update(f"{path}\0{entry.mode}\0{entry.link}\0".encode() + content)
        return sha.hexdigest()

    def put(self, path: str, entry: Entry) -> None:
        self._entries[_clean(path)] = entry


def _clean(path: str) -> str:
    """Raises InvalidInput for a path that would leave the root."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts or "\0" in path:
        raise InvalidInput(f"{path!r} is no path within an image")
    return "/".join(parts)


def _walk(folder: Path, under: str, keep: Callable[[str], bool], exact: bool) -> Iterator[tuple[str, Entry]]:
    for each in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = f"{under}{each.name}"
        if (each.name in NEVER and not exact) or not keep(path):
            continue
        mode = stat.S_IMODE(each.stat(follow_symlinks=False).st_mode)
        usual = 0o755 if each.is_dir() or mode & stat.S_IXUSR else 0o644
        if each.is_symlink():
            yield path, Entry(0o777, link=os.readlink(each.path))
        elif each.is_dir():
            yield path, Entry(mode if exact else usual)
            yield from _walk(Path(each.path), path + "/", keep, exact)
        elif each.is_file():
            yield path, Entry(mode if exact else usual, Path(each.path))
