"""Small environments to make images of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlplatform.bootstrap import find_uv, uv_environment
from mlplatform.images.cache import cache_folder


def small_environment(folder: Path, *requirements: str) -> list[str]:
    """A folder of installed packages (cronsim, which is pure Python and needs nothing, if none is named), as a list
    of what to look through."""
    site = folder / "site-packages"
    command = ["pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(site)]
    uv = find_uv(cache_folder())
    words = [str(uv), *command, *(requirements or ("cronsim",))]
    subprocess.run(words, env=uv_environment(os.environ), cwd=folder, check=True, capture_output=True)
    return [str(site)]
