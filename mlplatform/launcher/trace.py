"""Watching what a task looks at: begun right before its code, evaluated after its end.

Where the interposer (``native/trace.c``) is loaded it sees below Python, children included. Elsewhere the floor does
(``floor.py``): Python's audit events, and a doubt where something may have read past them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Optional
from urllib.parse import urlsplit

from . import floor, imports, variables
from .ignored import Ignored
from .reads import Findings, evaluate
from .records import read_records


class Tracer:
    """Records one attempt. ``start`` before user code, ``stop`` after it, ``findings`` when its children have ended."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec
        self._path = str(spec["trace"])
        self._ignored = Ignored(spec)
        self._library = native()
        self._floor: Optional[floor.Floor] = None

    def start(self) -> None:
        """Begin. Raises OSError if the trace file cannot be made."""
        open(self._path, "wb").close()
        imports.watch(self._pause, self._ignored)
        if self._library is not None:
            skip = self._ignored.text
            os.environ["LD_PRELOAD"] = preload_value(library_path(), os.environ.get("LD_PRELOAD", ""))
            os.environ["MLPLATFORM_TRACE"] = self._path
            os.environ["MLPLATFORM_TRACE_SKIP"] = skip
            problem = self._library.mlp_trace_start(os.fsencode(self._path), os.fsencode(skip))
            if problem:
                raise OSError(problem, os.strerror(problem), self._path)
        else:
            self._floor = floor.Floor()
            self._floor.start()
        variables.record()

    def stop(self) -> None:
        variables.stop()
        if self._library is not None:
            self._library.mlp_trace_stop()
        elif self._floor is not None:
            self._floor.stop()

    def _pause(self, on: bool) -> None:
        """What this thread does meanwhile is not recorded."""
        if self._library is not None:
            self._library.mlp_trace_pause(1 if on else 0)
        else:
            floor.pause(on)

    def findings(self) -> dict[str, Any]:
        """``reads``, ``writes``, ``sockets``, ``env_read``, ``untraced`` of result.json."""
        try:
            records = self._floor.records() if self._floor is not None else list(read_records(self._path))
            found = evaluate(records, self._ignored)
        except (OSError, ValueError) as problem:
            found = Findings(untraced="what it read could not be evaluated: %s" % problem)
        if self._floor is not None:
            found.doubt(self._floor.doubt())
        if found.executed:
            variables.everything()
        try:
            os.unlink(self._path)
        except OSError:
            pass
        return {
            "reads": found.reads,
            "writes": found.writes,
            "sockets": self._foreign(found),
            "env_read": variables.env_read(self._spec),
            "untraced": found.untraced,
        }

    def _foreign(self, found: Findings) -> list[str]:
        """Peers that are neither the task's own processes nor MLflow nor the platform."""
        if not found.peers:
            return []
        known = tracking_peers(self._spec["env"])
        foreign: list[str] = []
        for peer in found.peers:
            if peer.startswith("/"):
                own = peer in found.listened or self._ignored.covers(os.path.normpath(peer))
            elif peer.startswith("@"):
                own = peer in found.listened
            else:
                host, _, port = peer.rpartition(":")
                local = host.startswith(("127.", "[::1]", "0.0.0.0"))  # noqa: S104 - compared, not bound
                own = peer in known or (local and port in found.listened) or port == "0"
            if not own:
                foreign.append(peer)
        return foreign


def tracking_peers(env: Mapping[str, str]) -> set[str]:
    """Addresses of the servers that variables of tracking name."""
    found: set[str] = set()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_S3_ENDPOINT_URL"):
        parts = urlsplit(env.get(name) or "")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            continue
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except OSError:
            continue
        for entry in addresses:
            host = str(entry[4][0])
            found.add("%s:%d" % ("[%s]" % host if ":" in host else host, port))
    return found


# ------------------------------------------------------------------ the library
@lru_cache(maxsize=1)
def native() -> Any:
    """The interposer, if this process was started with it; else None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.mlp_trace_start.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    except (OSError, AttributeError):
        return None
    return library


@lru_cache(maxsize=1)
def library_path() -> str:
    """Where the loaded interposer lies."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.rstrip("\n").endswith("libmlptrace.so"):
                return line.split(None, 5)[5].rstrip("\n")
    return ""


def preload_value(library: str, already: str) -> str:
    """``LD_PRELOAD`` with the interposer in front of what the user has there."""
    return library if not already or library in already.split(":") else library + ":" + already
