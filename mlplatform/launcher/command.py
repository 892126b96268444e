"""Kind ``command``: a command line as a child process, with the task's log and surroundings."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from typing import Any

from .failures import AttemptFailed, signal_message


def run_command(spec: Mapping[str, Any]) -> None:
    """Run the command to its end.

    Raises:
        AttemptFailed: it could not be started, ended with another status than 0, or by a signal.
    """
    argv = [str(word) for word in spec["command"]]
    if not argv:
        raise AttemptFailed("TASK_FAILED", "the component has no command to run")
    try:
        status = subprocess.Popen(argv, stdin=subprocess.DEVNULL).wait()
    except FileNotFoundError:
        raise AttemptFailed(
            "TASK_FAILED",
            "the command %r is not on this machine" % argv[0],
            hint="Install it, or run the component in its image: --containers docker or podman.",
            kind="FileNotFoundError",
        ) from None
    except (OSError, ValueError) as failure:
        raise AttemptFailed(
            "TASK_FAILED",
            "the command %r cannot be started: %s" % (argv[0], failure),
            kind=type(failure).__name__,
        ) from None
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "signal %d" % -status
        told = signal_message(name)
        raise AttemptFailed(told["code"], told["message"], hint=told["hint"], kind=name)
    if status:
        raise AttemptFailed("TASK_FAILED", "the command ended with exit status %d" % status, kind="ExitStatus")
