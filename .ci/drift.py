"""Are generated files what their generators make? Prints what to run where they are not; exit status 1.

Quick on purpose (no kfp import): compiled pipelines are checked by ``tests/examples/test_pipelines.py``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def lock() -> str:
    sys.path.insert(0, str(ROOT / ".ci"))
    from lock_digest import digest

    if f"# requirements {digest(ROOT / 'pyproject.toml')}\n" in (ROOT / ".ci/lock.txt").read_text(encoding="utf-8"):
        return ""
    return ".ci/lock.txt was made from another pyproject.toml; run: make lock"


def reference() -> str:
    """The CLI and error references are written from the commands and error classes."""
    command = [sys.executable, "-m", "mlplatform.cli.docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def definitions() -> str:
    """The CRDs are written from the dataclasses of ``mlplatform/apis``."""
    command = [sys.executable, "operators/base/crds/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stdout + done.stderr).strip() if done.returncode else ""


if __name__ == "__main__":
    findings = [text for text in (lock(), reference(), definitions()) if text]
    print("\n".join(findings) or "generated files are up to date")
    sys.exit(1 if findings else 0)
