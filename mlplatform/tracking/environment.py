"""Which Python runs the MLflow server: the submitter's if it has mlflow, else a cached environment of its own."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mlplatform.bootstrap import BootstrapError, find_uv, uv_environment
from mlplatform.core.errors import EnvironmentFailed
from mlplatform.tracking.queue import locked

#: What the server's own environment holds. MLflow 3.1 was the first with logged models over REST as we use them.
REQUIREMENTS = ("mlflow>=3.4,<4",)
_OLDEST = (3, 4)
_PROBE = "import importlib.metadata as m; print(m.version('mlflow')); import uvicorn"

Maker = Callable[[Sequence[str]], str]


def has_server(python: str) -> bool:
    """Whether this interpreter can run MLflow's server (mlflow itself, not mlflow-skinny, and new enough)."""
    if not python or not Path(python).exists():
        return False
    try:
        answer = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if answer.returncode != 0:
        return False
    parts = answer.stdout.strip().split(".")
    try:
        return (int(parts[0]), int(parts[1])) >= _OLDEST
    except (ValueError, IndexError):
        return False


def server_python(candidates: Sequence[str], maker: str, install: bool) -> str:
    """An interpreter that runs MLflow's server: a candidate, else an environment of its own (``maker``: see
    :func:`named_maker`). Without ``install`` nothing is downloaded: only what is there already counts.

    Raises:
        EnvironmentFailed: none can, and none could be (or may be) made.
    """
    for python in dict.fromkeys([*candidates, str(_own_python())]):
        if has_server(python):
            return python
    if not install:
        raise EnvironmentFailed(
            "MLflow's server is not installed yet; records wait on disk",
            hint="`mlplatform mlflow` makes its environment and shows them.",
        )
    return named_maker(maker)(REQUIREMENTS)


def _own_python() -> Path:
    folder = cache_folder() / "mlflow-server" / f"py{sys.version_info[0]}{sys.version_info[1]}"
    return folder / "bin" / "python"


def named_maker(name: str) -> Maker:
    """The maker ``module:function``; ours if no name is given. Raises EnvironmentFailed."""
    if not name:
        return make_with_uv
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFailed(f"the maker of environments {name!r} cannot be loaded: {error}") from error


def cache_folder() -> Path:
    if explicit := os.environ.get("MLPLATFORM_CACHE"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlplatform"


def make_with_uv(requirements: Sequence[str]) -> str:
    """A virtual environment in the cache that holds ``requirements``, made once and shared by all homes.

    Raises:
        EnvironmentFailed: no uv, or it could not install them (its own words).
    """
    try:
        uv = str(find_uv(cache_folder(), offline=os.environ.get("MLPLATFORM_OFFLINE", "") not in ("", "0")))
    except BootstrapError as error:
        raise EnvironmentFailed(
            f"MLflow's server needs an environment and there is no uv to make it: {error.message}",
            hint=error.hint or "Install mlflow into your environment: pip install 'mlplatform[mlflow]'.",
        ) from error
    env = uv_environment(os.environ)
    if os.environ.get("MLPLATFORM_OFFLINE", "") not in ("", "0"):
        env["UV_OFFLINE"] = "1"
    python = _own_python()
    folder = python.parent.parent
    with locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists() and python.exists():
            return str(python)
        shutil.rmtree(folder, ignore_errors=True)
        commands = (
            [uv, "venv", "--no-project", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--compile-bytecode", "--python", str(python), *requirements],
        )
        for command in commands:
            try:
                answer = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
            except OSError as error:
                raise EnvironmentFailed(
                    f"MLflow's server needs an environment and uv cannot be run: {error}",
                    hint="Install mlflow into your environment (pip install 'mlplatform[mlflow]') or install uv.",
                ) from error
            if answer.returncode != 0:
                raise EnvironmentFailed(
                    f"the environment for MLflow's server could not be made: {answer.stderr.strip()[-2000:]}",
                    hint="Install mlflow into your environment: pip install 'mlplatform[mlflow]'.",
                )
        (folder / "complete").touch()
    return str(python)
