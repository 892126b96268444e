"""Checkpoints in a folder: each one whole, or not there.

::

    FOLDER/
      step-0000000100/              a whole checkpoint
        .checkpoint.json            its files with their sizes and sha256
        model.pt ...
      step-0000000200/              one that ranks save in parts
        part-00000-of-00002/        each of them whole, or not there
        part-00001-of-00002/
      .writing-...                  one that is being written, or whose writer died
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

MANIFEST = ".checkpoint.json"
_STEP = re.compile(r"^step-(\d{10,})$")
_PART = re.compile(r"^part-(\d{5,})-of-(\d{5,})$")
_WRITING = ".writing-"
_BLOCK = 1 << 20


#: Errors of a file system that are no fault of whoever writes.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class CheckpointError(OSError):
    """A checkpoint could not be saved: the disk is full, or fails. The one before it is still there. (The platform
    finds this name in what a rank says last.)"""

    @classmethod
    def of(cls, error: OSError, step: int, root: Path) -> CheckpointError:
        why = f"{error.strerror or error}{_room(root)}"
        made = cls(f"the checkpoint of step {step} could not be saved in {root.absolute()}: {why}")
        made.errno = error.errno
        return made

    @staticmethod
    def fits(error: BaseException) -> bool:
        """Whether an error while a checkpoint is written is the disk's."""
        return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def _room(root: Path) -> str:
    try:
        found = shutil.disk_usage(root)
    except OSError:
        return ""
    return f" ({found.free >> 10} KiB of {found.total >> 10} KiB are free)"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint. It can be used as a path: ``torch.load(last / "model.pt")``."""

    step: int
    path: Path
    #: The parts, in the order of the ranks that saved them; empty: it was saved by one process.
    parts: tuple[Path, ...] = ()

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    def __fspath__(self) -> str:
        return str(self.path)


class Writing:
    """One checkpoint (or part of one) that is being written: into ``folder``, moved to its place by :meth:`finish`."""

    def __init__(self, root: Path, step: int, part: tuple[int, int] | None, who: str) -> None:
        self.step = step
        self._root = root
        place = root / f"step-{step:010d}"
        name = f"{place.name}-{who}"
        if part is not None:
            name += f"-part-{part[0]:05d}"
            place = place / f"part-{part[0]:05d}-of-{part[1]:05d}"
        self._place = place
        self.folder = root / f"{_WRITING}{name}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def finish(self) -> Path:
        """Put it in its place; what had the same step before goes. Raises OSError: nothing of it is there then."""
        files: dict[str, Any] = {}
        for path in sorted(_files(self.folder)):
            _sync(path)
            size, digest = _digest(path)
            files[path.relative_to(self.folder).as_posix()] = {"size": size, "sha256": digest}
        manifest = self.folder / MANIFEST
        manifest.write_text(json.dumps({"step": self.step, "files": files}), encoding="utf-8")
        for path in (manifest, *(entry for entry in self.folder.rglob("*") if entry.is_dir()), self.folder):
            _sync(path)
        self._place.parent.mkdir(parents=True, exist_ok=True)
        old = self.folder.with_name(self.folder.name + "-old")
        try:
            self.folder.rename(self._place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._place.rename(old)
            self.folder.rename(self._place)
            shutil.rmtree(old, ignore_errors=True)
        _sync(self._place.parent)
        _sync(self._root)
        return self._place

    def give_up(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def newest(root: Path, at_most: int | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole to the last byte; None: there is none. ``at_most``: of no later step."""
    for step, path in sorted(_steps(root), reverse=True):
        if at_most is not None and step > at_most:
            continue
        found = read(path, thorough=True)
        if found is not None:
            return found
    return None


def read(path: Path, *, thorough: bool = False) -> Checkpoint | None:
    """The checkpoint at ``path`` if it is whole. ``thorough``: its bytes are read too, not only counted."""
    step = _STEP.match(path.name)
    if step is None:
        return None
    number = int(step.group(1))
    if (path / MANIFEST).exists():
        return Checkpoint(number, path) if _whole(path, thorough) else None
    parts = _parts(path)
    for size in sorted({of for _, of in parts}, reverse=True):
        mine = [parts.get((index, size)) for index in range(size)]
        if all(part is not None and _whole(part, thorough) for part in mine):
            return Checkpoint(number, path, tuple(cast("list[Path]", mine)))
    return None


def prune(root: Path, saved: int, keep: int) -> None:
    """Leave the ``keep`` newest of those up to the one that was just saved, whole ones that is; later ones stay."""
    whole = [path for step, path in sorted(_steps(root), reverse=True) if step <= saved and read(path) is not None]
    kept = set(whole[:keep])
    oldest = min((path.name for path in kept), default="")
    for step, path in _steps(root):
        if step <= saved and path not in kept and path.name < oldest:
            shutil.rmtree(path, ignore_errors=True)


def sweep(root: Path, attempt: int) -> None:
    """Remove what writers of earlier attempts left half written."""
    try:
        entries = list(root.iterdir())
    except OSError:
        return
    for entry in entries:
        found = re.search(r"-a(\d+)-", entry.name) if entry.name.startswith(_WRITING) else None
        if found is not None and int(found.group(1)) < attempt:
            shutil.rmtree(entry, ignore_errors=True)


# ---------------------------------------------------------------------- what is there
def _steps(root: Path) -> list[tuple[int, Path]]:
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    found = ((_STEP.match(entry.name), entry) for entry in entries)
    return [(int(match.group(1)), entry) for match, entry in found if match is not None]


def _parts(path: Path) -> dict[tuple[int, int], Path]:
    try:
        entries = list(path.iterdir())
    except OSError:
        return {}
    found = ((_PART.match(entry.name), entry) for entry in entries)
    return {(int(match.group(1)), int(match.group(2))): entry for match, entry in found if match is not None}


def _whole(path: Path, thorough: bool) -> bool:
    try:
        manifest: Any = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = manifest["files"]
        for name, told in files.items():
            if (path / name).stat().st_size != told["size"]:
                return False
            if thorough and _digest(path / name)[1] != told["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _digest(path: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot, for folders
            raise
    finally:
        os.close(descriptor)
