"""Go, and where what it builds for tests is kept (standard library only: .ci/run uses it before all else)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def cache_folder() -> Path:
    """``MLPLATFORM_TEST_CACHE``, or ``~/.cache/mlplatform-test``."""
    return Path(os.environ.get("MLPLATFORM_TEST_CACHE") or Path.home() / ".cache" / "mlplatform-test")


def find_go() -> str | None:
    """Go on PATH, or where its own installer puts it."""
    return shutil.which("go") or next(
        (p for p in ("/usr/local/go/bin/go", "/usr/lib/go/bin/go") if os.access(p, os.X_OK)), None
    )
