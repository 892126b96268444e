"""Whom a Python component in a pod talks to: what it gets from there is in no key.

Audit events of Python itself, written to a file that forked workers share. What it reads needs no watching: a pod sees
its image and what was mounted. Programs that it starts are not looked into, as those of any other image are not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Optional

from .trace import tracking_peers

_NAMES = ("socket.connect", "socket.sendto", "socket.sendmsg")
_descriptor: Optional[int] = None
_hooked = False


def start(path: str) -> None:
    """Begin to write peers down at ``path``. Raises OSError."""
    global _descriptor, _hooked
    _descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked = True


def stop() -> None:
    global _descriptor
    descriptor, _descriptor = _descriptor, None
    if descriptor is not None:
        os.close(descriptor)


def heard(spec: Mapping[str, Any]) -> list[str]:
    """Peers outside the pod that are neither MLflow nor the platform, in the order of their first word."""
    try:
        with open(spec["peers"], encoding="utf-8", errors="replace") as file:
            lines = list(dict.fromkeys(file.read().splitlines()))
    except OSError:
        return []
    if not lines:
        return []
    known = tracking_peers(spec["env"])
    return [peer for peer in lines if peer not in known][:20]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _descriptor is None or event not in _NAMES:
        return
    address: Any = arguments[1]
    if not isinstance(address, tuple) or len(address) < 2:  # pyright: ignore[reportUnknownArgumentType]
        return  # a socket of this pod's own file system
    host, port = str(address[0]), str(address[1])  # pyright: ignore[reportUnknownArgumentType]
    if host.startswith("::ffff:") and "." in host:  # IPv4 by a socket that can both
        host = host[7:]
    if host.startswith("127.") or host in ("::1", "localhost", "0.0.0.0", "::") or port == "0":  # noqa: S104 - compared
        return
    line = "%s:%s\n" % ("[%s]" % host if ":" in host else host, port)
    try:
        os.write(_descriptor, line.encode("utf-8", "replace"))
    except OSError:
        return
