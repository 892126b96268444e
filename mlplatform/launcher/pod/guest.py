"""The image's own Python: finding it, and giving it the packages that a component asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ..failures import AttemptFailed

OLDEST = (3, 9)


def find_python(env: Mapping[str, str]) -> str:
    """The interpreter that the image's PATH names. Raises AttemptFailed."""
    path = env.get("PATH") or os.defpath
    found = shutil.which("python3", path=path) or shutil.which("python", path=path)
    if found is None:
        raise AttemptFailed(
            "ENVIRONMENT_FAILED",
            "the image has no Python: neither python3 nor python is on its PATH",
            "Use an image with Python for this component: @dsl.component(base_image=...).",
        )
    return found


def check_python(python: str, env: Mapping[str, str]) -> str:
    """What is wrong with an interpreter that left no result, "" if nothing is known to be."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=False, env=dict(env), timeout=30
        )
        version = tuple(int(part) for part in done.stdout.strip().split("."))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return f"{python} of the image does not run"
    if version < OLDEST:
        told = ".".join(map(str, version))
        return f"the image's Python is {told}: components need {OLDEST[0]}.{OLDEST[1]} or newer"
    return ""


def install_packages(
    python: str, env: Mapping[str, str], folder: str, packages: Sequence[str], options: Sequence[str]
) -> None:
    """Install what a component asks for, with the image's own pip. Raises AttemptFailed."""
    argv = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
    argv += ["--target", folder, *options, *packages]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=dict(env)
        )
    except OSError as problem:
        raise AttemptFailed("ENVIRONMENT_FAILED", f"packages cannot be installed: {problem}") from None
    if done.returncode:
        text = done.stdout.decode("utf-8", "replace").strip()
        os.write(1, done.stdout)
        last = text.splitlines()[-1] if text else f"pip ended with status {done.returncode}"
        raise AttemptFailed(
            "ENVIRONMENT_FAILED",
            f"packages {', '.join(packages)} cannot be installed: {last}",
            "Check their names, or build an image that has them: mlplatform image build.",
        )
