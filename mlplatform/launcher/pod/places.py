"""Where things are in a pod. ``mlplatform.render.places`` says the same to whoever makes the pod."""

from __future__ import annotations

import os
import sys

from ..bundle import root


def base() -> str:
    return os.environ.get("MLPLATFORM_POD_BASE") or "/var/run/mlplatform"


def work(*parts: str) -> str:
    return os.path.join(base(), "work", *parts)


def store() -> str:
    """Where the shared claim is mounted."""
    return os.path.join(base(), "store")


def store_secret() -> str:
    return os.path.join(base(), "store-secret")


def token() -> str:
    """What this pod shows to the platform's server."""
    return os.path.join(base(), "token", "token")


def termination_log() -> str:
    return os.environ.get("MLPLATFORM_TERMINATION_LOG") or "/dev/termination-log"


def own_command(*arguments: str) -> list[str]:
    """A command line that runs this launcher again, from any process of the pod."""
    bundle = root()
    if bundle:
        return [os.path.join(bundle, "bin", "launcher"), *arguments]
    return [sys.executable, "-m", "mlplatform.launcher.pod", *arguments]
