"""Input artifacts that lie elsewhere (``s3://``, ``https://`` ...): brought here when a task first asks for their path.

Until then they are references, as in KFP: nothing is fetched that no task opens. The fetching is done by a process of
its own, by the interpreter that the engine names, with the task's variables (and so with its author's credentials):
the task's interpreter need not have the store's client library. What cannot be fetched keeps the path KFP gives it; the
reason is in the log and, should the task fail, in its error.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any, Optional

_lock = threading.RLock()
#: URI -> its local copy, or None if it could not be fetched.
_known: dict[str, Optional[str]] = {}
_failures: list[str] = []


def install(spec: Mapping[str, Any], artifact_class: Any) -> None:
    """From now on ``path`` of an input artifact at one of the spec's remote URIs is that of a local copy."""
    fetch: Mapping[str, Any] = spec.get("fetch") or {}
    uris = frozenset(fetch.get("uris") or ())
    original = getattr(artifact_class, "_get_path", None)
    if not uris or original is None:
        return

    def _get_path(self: Any) -> Any:
        if self.uri in uris and not self.custom_path:
            here = local_copy(self.uri, fetch)
            if here is not None:
                return here
        return original(self)

    artifact_class._get_path = _get_path


def local_copy(uri: str, fetch: Mapping[str, Any]) -> Optional[str]:
    """The path of a local copy of ``uri``, made now if there is none yet; None if it cannot be had."""
    with _lock:
        if uri not in _known:
            _known[uri] = _fetch(uri, fetch)
        return _known[uri]


def failures() -> str:
    """What could not be fetched so far, in words; empty if nothing failed."""
    return " ".join(_failures)


def _fetch(uri: str, fetch: Mapping[str, Any]) -> Optional[str]:
    name = os.path.basename(uri.split("?", 1)[0].split("#", 1)[0].rstrip("/")) or "artifact"
    digest = hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    target = os.path.join(fetch["folder"], digest, name[-100:])
    if os.path.exists(target):  # another process of this task was first
        return target
    sys.stdout.flush()
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        done = subprocess.run(
            [*fetch["command"], uri, target], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        problem = "" if done.returncode == 0 else (done.stderr.strip() or "exit status %d" % done.returncode)
    except OSError as failure:
        problem = str(failure)
    if not problem:
        return target
    words = "An input could not be fetched: " + problem.splitlines()[-1]
    _failures.append(words)
    sys.stderr.write("mlplatform: " + words + "\n")
    return None
