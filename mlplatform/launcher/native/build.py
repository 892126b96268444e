"""Build the tracing library (``trace.c``) with whatever C compiler there is: in the wheel's build, or at run time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

SOURCE = Path(__file__).resolve().parent / "trace.c"
NAME = "libmlptrace.so"
_COMPILERS = ("cc", "gcc", "clang")
_OPTIONS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall")


def build(target_dir: os.PathLike[str] | str) -> Optional[Path]:
    """Compile into ``target_dir`` and return the library; None where that cannot be done (no Linux, no compiler)."""
    if not sys.platform.startswith("linux"):
        return None
    target = Path(target_dir)
    target.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys((os.environ.get("CC") or "cc", *_COMPILERS)):
        compiler = shutil.which(name)
        if compiler is None:
            continue
        with tempfile.TemporaryDirectory(dir=target) as folder:
            made = Path(folder) / NAME
            command = [compiler, *_OPTIONS, "-o", str(made), str(SOURCE), "-ldl"]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                made.replace(target / NAME)
                return target / NAME
    return None


def library(cache: os.PathLike[str] | str) -> Optional[Path]:
    """The library: as packaged, else compiled once into the folder ``cache`` (a name of its own for each source)."""
    if not sys.platform.startswith("linux"):
        return None
    packaged = SOURCE.with_name(NAME)
    if packaged.exists() and packaged.stat().st_mtime >= SOURCE.stat().st_mtime:
        return packaged
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(cache) / ("trace-" + digest)
    made = folder / NAME
    try:
        return made if made.exists() else build(folder)
    except OSError:
        return None


if __name__ == "__main__":
    print(build(sys.argv[1] if len(sys.argv) > 1 else SOURCE.parent))
