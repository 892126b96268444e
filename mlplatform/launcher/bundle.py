"""What a launcher that runs from its own bundle (mlplatform.images) must know of it, and give back to user code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

#: The bundle's first program renames what the image sets for its own loader: it is meant for user code.
_KEPT = "MLPLATFORM_KEPT_"
#: Names of variables that the bundle set for itself.
_ADDED = "MLPLATFORM_ADDED"


def root() -> str:
    """The bundle's folder (``/var/run/mlplatform/launcher``); "" where Python does not run from one."""
    found = sys.prefix
    return found if os.path.exists(os.path.join(found, "lib", "loader.so")) else ""


def kfp_folder() -> str:
    """What to put on a guest Python's path, with ``_KFP_RUNTIME=true``, so that it finds kfp's runtime; "" outside."""
    return os.path.join(root(), "kfp") if root() else ""


def guest_launcher() -> str:
    """The file that any Python 3.9+ of the image runs as its launcher."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` as the image and the pod set it, before the bundle made it fit for its own Python."""
    added = environ.get(_ADDED, "").split()
    found = {
        name: value
        for name, value in environ.items()
        if name != _ADDED and name not in added and not name.startswith(_KEPT)
    }
    for name, value in environ.items():
        if name.startswith(_KEPT):
            found[name[len(_KEPT) :]] = value
    return found
