"""Putting the launcher where the task's container finds it."""

from __future__ import annotations

import os
import sys

from ..bundle import root

_PIECE = 1 << 20


#: What only a Python of the image needs: kfp's runtime, and this package as files. Within them nothing else matters.
_GUESTS = ("kfp", "mlplatform")


def install(folder: str, guests: bool = True) -> int:
    """Copy the bundle into ``folder``; doing it twice is doing it once. Returns the exit status. ``guests``: with what
    Python of the task's image runs."""
    source = root()
    if not source:
        sys.stderr.write("launcher: this Python does not run from a launcher bundle\n")
        return 1
    try:
        _copy(source, folder, guests)
    except OSError as problem:
        sys.stderr.write(f"launcher: cannot be installed in {folder}: {problem}\n")
        return 1
    return 0


def _copy(source: str, folder: str, guests: bool) -> None:
    """What is in ``source``, with its modes alone: every pod waits for this, and nothing here asks for times and
    attributes (compiled Python goes by hashes)."""
    folders = [""]
    for below in folders:  # which grows
        with os.scandir(os.path.join(source, below)) as entries:
            for entry in entries:
                path = os.path.join(below, entry.name)
                there = os.path.join(folder, path)
                if not guests and entry.name.partition("-")[0] in _GUESTS and entry.is_dir():
                    continue
                if entry.is_symlink():
                    _link(os.readlink(entry.path), there)
                elif entry.is_dir():
                    os.makedirs(there, exist_ok=True)
                    folders.append(path)
                else:
                    _file(entry.path, there)


def _link(target: str, there: str) -> None:
    try:
        os.symlink(target, there)
    except FileExistsError:
        os.unlink(there)
        os.symlink(target, there)


def _file(here: str, there: str) -> None:
    reading = os.open(here, os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = os.fstat(reading)
        writing = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, told.st_mode & 0o777)
        try:
            left = told.st_size
            while left > 0:
                data = os.read(reading, min(left, _PIECE))
                if not data:
                    raise OSError(f"{here} is shorter than it says")
                left -= _write(writing, data)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _write(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def library(folder: str) -> int:
    """Copy what training scripts import (``mlplatform.training``, for any Python from 3.9 on) into ``folder``, which
    then belongs on their path; doing it twice is doing it once. Returns the exit status."""
    import shutil  # which takes longer to import than all that the other one needs

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    there = os.path.join(folder, "mlplatform")
    try:
        os.makedirs(there, exist_ok=True)
        shutil.copy2(os.path.join(package, "__init__.py"), there)
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            os.path.join(package, "training"), os.path.join(there, "training"), ignore=without, dirs_exist_ok=True
        )
    except (OSError, shutil.Error) as problem:
        sys.stderr.write(f"launcher: mlplatform.training cannot be put into {folder}: {problem}\n")
        return 1
    return 0
