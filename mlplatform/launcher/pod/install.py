"""Putting the launcher where the task's container finds it."""

from __future__ import annotations

import os
import shutil
import sys

from ..bundle import root


def install(folder: str) -> int:
    """Copy the bundle into ``folder``; doing it twice is doing it once. Returns the exit status."""
    source = root()
    if not source:
        sys.stderr.write("launcher: this Python does not run from a launcher bundle\n")
        return 1
    try:
        for name in sorted(os.listdir(source)):
            here, there = os.path.join(source, name), os.path.join(folder, name)
            if os.path.isdir(here) and not os.path.islink(here):
                shutil.copytree(here, there, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(here, there, follow_symlinks=False)
    except (OSError, shutil.Error) as problem:
        sys.stderr.write(f"launcher: cannot be installed in {folder}: {problem}\n")
        return 1
    return 0


def library(folder: str) -> int:
    """Copy what training scripts import (``mlplatform.training``, for any Python from 3.9 on) into ``folder``, which
    then belongs on their path; doing it twice is doing it once. Returns the exit status."""
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
