"""Local files and trees: copied whole or not at all, and on the disk before anybody is told.

A copy is made beside its target under a hidden name, flushed, then renamed over it. A file takes the place of a file in
one step; of a folder in two (renaming away, renaming in), since no portable call exchanges folders.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from mlplatform.artifacts.digest import Entry, walk
from mlplatform.artifacts.failures import local_failure
from mlplatform.core.errors import ArtifactError

#: ``reflink``: share blocks until one side is written, where the file system can, else copy. ``hardlink``: one file
#: with two names (whoever writes one writes the other), else copy.
Method = Literal["reflink", "copy", "hardlink"]

_FICLONE: Final = 0x40049409  # linux/fs.h


def replace_by_copy(source: Path, target: Path, method: Method = "reflink", *, stay_inside: bool = False) -> None:
    """Put a copy of a file or tree at ``target``, replacing what is there. Links are followed; those that lead nowhere
    are copied as they are.

    Args:
        stay_inside: refuse links that lead out of the tree.

    Raises:
        ArtifactError: nothing was changed at ``target``.
    """
    if not os.path.lexists(source):
        raise ArtifactError(f"cannot copy {source}: it does not exist")
    try:
        if target.exists() and os.path.samefile(source, target):
            return
        with staged(target) as temporary:
            if source.is_dir():
                _copy_tree(source, temporary, method, stay_inside)
            else:
                _refuse_special(source, os.stat(source).st_mode)
                _copy_file(str(source), str(temporary), method)
    except OSError as error:
        raise local_failure(f"copy {source} to {target}", error) from error


@contextmanager
def staged(target: Path) -> Generator[Path]:
    """A hidden name beside ``target`` to write a file or folder to; it takes the target's place when the block ends,
    and is removed if the block fails. Whoever writes flushes. Raises OSError."""
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".mlplatform-{secrets.token_hex(8)}.partial"
    try:
        yield temporary
        _take_place(temporary, target)
    finally:
        remove_path(temporary)


def _take_place(temporary: Path, target: Path) -> None:
    is_folder = target.is_dir() and not target.is_symlink()
    if is_folder or (temporary.is_dir() and os.path.lexists(target)):
        old = temporary.with_suffix(".old")
        os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            os.rename(old, target)
            raise
        remove_path(old)
    else:
        os.replace(temporary, target)
    flush_folder(target.parent)


def remove_path(path: Path) -> None:
    """Remove a file, link or tree; nothing there is no error. Raises OSError."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass


def flush_folder(folder: Path) -> None:
    """Make renames in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def flush_file(path: str) -> None:
    """Make the bytes of a file durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checked_entries(source: Path, *, stay_inside: bool) -> list[Entry]:
    """The entries of a tree that is about to be copied.

    Raises:
        ArtifactError: all of its entries that cannot be, by name (links out of the tree, pipes, sockets, devices).
        OSError: it cannot be read.
    """
    entries = list(walk(str(source)))
    problems = [f"{os.fsdecode(entry.name)} is no file and no folder" for entry in entries if entry.kind == "o"]
    if stay_inside:
        problems += [f"{name} leads out of the folder" for name in _links_out(source)]
    if problems:
        rest = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactError(
            f"cannot store {source}: {'; '.join(problems[:5])}{rest}",
            hint="Copy what such links lead to into the folder, and remove what is no file.",
        )
    return entries


def _links_out(source: Path) -> Iterator[str]:
    root = os.path.realpath(source)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and os.path.commonpath((root, os.path.realpath(path))) != root:
                yield os.path.relpath(path, root)


def _copy_tree(source: Path, target: Path, method: Method, stay_inside: bool) -> None:
    entries = checked_entries(source, stay_inside=stay_inside)
    target.mkdir()
    folders = {str(target)}
    for entry in entries:
        path = os.path.join(str(target), os.fsdecode(entry.name))
        folder = path if entry.kind == "d" else os.path.dirname(path)
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)
            while folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        if entry.kind == "f":
            _copy_file(entry.path, path, method)
        elif entry.kind == "l":
            os.symlink(os.readlink(entry.path), path)
    for folder in folders:
        flush_folder(Path(folder))


def _copy_file(source: str, target: str, method: Method) -> None:
    source = os.path.realpath(source)
    if method == "hardlink":
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            flush_file(target)
            return
    if method != "reflink" or not _clone(source, target):
        shutil.copyfile(source, target)
    os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) | stat.S_IRUSR | stat.S_IWUSR)
    flush_file(target)


def _clone(source: str, target: str) -> bool:
    """Share the blocks of a file. False where the file system cannot."""
    if sys.platform != "linux":
        return False
    import fcntl

    with open(source, "rb") as old, open(target, "wb") as new, suppress(OSError):
        # EOPNOTSUPP, EXDEV, EINVAL ...: copying works everywhere and reports real trouble
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        return True
    return False


def _refuse_special(source: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ArtifactError(f"cannot store {source}: it is no file and no folder")
