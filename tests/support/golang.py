"""Go, and where what it builds for tests is kept (standard library only: .ci/run uses it before all else)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

#: What is fetched where Go is too old (before 1.21) to fetch a newer one by itself.
_TOOLCHAIN = "go1.26.0"


def cache_folder() -> Path:
    """``MLPLATFORM_TEST_CACHE``, or ``~/.cache/mlplatform-test``."""
    return Path(os.environ.get("MLPLATFORM_TEST_CACHE") or Path.home() / ".cache" / "mlplatform-test")


@lru_cache(maxsize=1)
def find_go() -> str | None:
    """A Go that builds any module: from PATH, or where its own installer puts it; an old one fetches a newer."""
    places = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")
    found = shutil.which("go") or next((p for p in places if os.access(p, os.X_OK)), None)
    if found is None:
        return None
    told = subprocess.run([found, "env", "GOVERSION", "GOOS", "GOARCH"], capture_output=True, text=True, check=True)
    version, system, machine = told.stdout.split()
    release = re.match(r"go1\.(\d+)", version)
    if release is None or int(release[1]) >= 21:
        return found
    module = f"golang.org/toolchain@v0.0.1-{_TOOLCHAIN}.{system}-{machine}"
    # A toolchain is a module like any other, checked by the same sums; only its programs come without leave to run.
    done = subprocess.run(
        [found, "mod", "download", "-json", module], cwd="/", capture_output=True, text=True, check=True
    )
    folder = Path(json.loads(done.stdout)["Dir"])
    for program in [*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").rglob("*")]:
        if program.is_file() and not os.access(program, os.X_OK):
            program.chmod(0o755)
    return str(folder / "bin" / "go")
