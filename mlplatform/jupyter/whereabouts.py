"""Which notebook a kernel belongs to. Kernels are not told; whoever started one knows.

VS Code leaves the path in the namespace. A Jupyter server is asked for its sessions, because that knows of renames;
what it left in ``JPY_SESSION_NAME`` when the kernel started is believed if there is such a file.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlplatform.core.errors import InvalidInput

#: Seconds a Jupyter server on this machine may take to answer.
_PATIENCE = 3.0
_ENDINGS = (".ipynb", ".py")


def open_notebook(namespace: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path:
    """The file of the notebook whose kernel this is.

    Raises:
        InvalidInput: nobody knows; the hint says what to type.
    """
    for found in _candidates(namespace, environ):
        if found.suffix in _ENDINGS and found.is_file():
            return found.resolve()
    raise InvalidInput(
        "This kernel does not know which notebook it belongs to.", hint="Name it: %mlplatform run NOTEBOOK.ipynb"
    )


def _candidates(namespace: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Path]:
    by_editor = namespace.get("__vsc_ipynb_file__")
    if isinstance(by_editor, str) and by_editor:
        yield Path(by_editor)
    kernel = kernel_id()
    if kernel:
        yield from _by_servers(kernel)
    started_as = environ.get("JPY_SESSION_NAME", "")
    if started_as:
        yield Path(started_as)


def kernel_id() -> str:
    """The id in the name of this kernel's connection file; empty outside a kernel."""
    application: Any = getattr(sys.modules.get("ipykernel.kernelapp"), "IPKernelApp", None)
    if application is None or not application.initialized():
        return ""
    match = re.search(r"kernel-([0-9a-fA-F-]{8,})\.json$", str(application.instance().connection_file))
    return match[1] if match else ""


def _by_servers(kernel: str) -> Iterator[Path]:
    for server in running_servers():
        root = str(server.get("root_dir") or server.get("notebook_dir") or "")
        for session in _sessions(server):
            told: Any = session.get("kernel")
            if isinstance(told, dict) and told.get("id") == kernel:  # pyright: ignore[reportUnknownMemberType]
                path = str(session.get("path") or "")
                yield Path(root) / path.partition(":")[2] if ":" in path else Path(root) / path


def running_servers() -> list[dict[str, Any]]:
    """What Jupyter servers of this user say of themselves, the newest first."""
    from jupyter_core.paths import jupyter_runtime_dir

    files = sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json"), key=_age)
    found: list[dict[str, Any]] = []
    for file in files:
        try:
            told = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(told, dict):
            found.append(told)  # pyright: ignore[reportUnknownArgumentType]
    return found


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _sessions(server: Mapping[str, Any]) -> list[dict[str, Any]]:
    url = str(server.get("url") or "") + "api/sessions"
    if not url.startswith(("http://", "https://")):
        return []
    request = urllib.request.Request(url, headers={"Authorization": f"token {server.get('token') or ''}"})  # noqa: S310
    # Straight to this machine: a proxy for the network knows nothing of it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            found: Any = json.loads(answer.read())
    except (OSError, ValueError, urllib.error.URLError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []  # pyright: ignore
