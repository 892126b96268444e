"""Where images keep what is worth keeping: blobs that were fetched or made, compiled Python."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The same rule as ``mlplatform.engine.home.cache_folder``."""
    if explicit := os.environ.get("MLPLATFORM_CACHE"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlplatform"


def image_cache() -> Path:
    """The folder of an OCI layout (blobs by digest) that all builds share."""
    return cache_folder() / "images"
