"""Running the notebook of a file: the same for the magic and for the panel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mlplatform.core.values import JsonValue
from mlplatform.sdk.run import Run
from mlplatform.sdk.submit import Options, build, read_parameters, read_source

#: Variables of a Jupyter server that no task has any business with.
_NOT_FOR_TASKS = (
    "JUPYTER_TOKEN",
    "JPY_API_TOKEN",
    "JUPYTERHUB_API_TOKEN",
    "JPY_PARENT_PID",
    "JPY_SESSION_NAME",
    "CONFIGPROXY_AUTH_TOKEN",
)


def submit_notebook(
    path: str,
    assignments: Sequence[str] = (),
    options: Options | None = None,
    *,
    values: Mapping[str, JsonValue] | None = None,
    python: str = "",
    home: str | None = None,
) -> Run:
    """Run a notebook as it is saved; returns at once.

    Args:
        assignments: parameters as ``NAME=VALUE``, typed by what the notebook declares.
        values: parameters that have their types already; they win.
        python: the interpreter of the notebook's kernel; this one if empty.

    Raises:
        InvalidPipeline, InvalidParameters, NotFound, Unsupported, ServiceError
    """
    run = Run(home)
    source = read_source(path)
    parameters = {**read_parameters(source.pipeline, assignments), **(values or {})}
    submission = build(source, parameters, options or Options(), run.client.home)
    submission["env"] = environment()
    if python and os.path.realpath(python) != os.path.realpath(sys.executable):
        submission["interpreter"] = _interpreter(python) or submission["interpreter"]
    run.run_id = run.client.submit(submission)
    return run


def environment() -> dict[str, str]:
    """What tasks inherit: this process's environment without what is Jupyter's own."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_TASKS}


@lru_cache(maxsize=32)
def _version(python: str) -> str:
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _interpreter(python: str) -> dict[str, Any] | None:
    version = _version(python)
    return {"executable": python, "version": version, "sys_path": []} if version else None


def kernel_python(kernel_name: str) -> str:
    """The interpreter that a kernel of this name starts; empty if it is not there or is no Python's."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(kernel_name)
    except (NoSuchKernel, OSError, ValueError, json.JSONDecodeError):
        return ""
    command = [str(word) for word in spec.argv]
    if not command or "ipykernel_launcher" not in command:
        return ""
    return command[0] if os.path.isabs(command[0]) else sys.executable
