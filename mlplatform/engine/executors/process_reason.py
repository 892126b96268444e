"""Why a process ended without a result, in words a user can act on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from mlplatform.engine.ports import Exit
from mlplatform.launcher.attempt import EXIT_CLAIMED, EXIT_NO_RESULT, EXIT_NO_START


class OomWatch:
    """Tells whether the kernel has killed somebody for memory since it was last asked."""

    def __init__(self) -> None:
        self._seen = self._count()

    def happened(self) -> bool:
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        total = 0
        for path, word in _oom_files():
            try:
                lines = path.read_text(encoding="ascii").splitlines()
            except (OSError, ValueError):
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith(word + " "))
        return total


def _oom_files() -> list[tuple[Path, str]]:
    found = [(Path("/proc/vmstat"), "oom_kill")]
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return found
    for line in groups:
        if line.startswith("0::"):
            found.append((Path("/sys/fs/cgroup") / line[3:].lstrip("/") / "memory.events", "oom_kill"))
    return found


def exit_of(status: int, *, has_result: bool, oom: OomWatch, timeout: float | None = None) -> Exit:
    """The exit of an attempt from its wait status. ``timeout``: the limit it was ended for, if it was."""
    code = os.waitstatus_to_exitcode(status)
    if has_result:
        return Exit(exit_code=code if code >= 0 else None, signal=-code if code < 0 else None)
    if timeout is not None:
        return Exit(None if code < 0 else code, -code if code < 0 else None, reason=_too_long(timeout))
    if code < 0:
        return Exit(None, -code, reason=_signal_reason(-code, oom))
    return Exit(code, lost=code == EXIT_CLAIMED, reason=_status_reason(code))


def _too_long(timeout: float) -> str:
    return f"the task ran longer than its limit of {timeout:g} seconds and was ended"


def _signal_reason(number: int, oom: OomWatch) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    match name:
        case "SIGKILL":
            if oom.happened():
                return "the system ended the task's process because memory ran out (SIGKILL)"
            return "the task's process was killed from outside (SIGKILL)"
        case "SIGALRM":
            return "the task ran longer than its time limit and was ended (SIGALRM)"
        case "SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGFPE" | "SIGABRT":
            return f"native code crashed in the task's process ({name})"
        case _:
            return f"the task's process was ended by {name}"


def _status_reason(code: int) -> str:
    match code:
        case _ if code == EXIT_CLAIMED:
            return "the attempt had been claimed by another process"
        case _ if code == EXIT_NO_RESULT:
            return "the task ended, but its result could not be written: is the disk full?"
        case _ if code == EXIT_NO_START:
            return "the attempt could not be set up: the end of its log says why"
        case _:
            return f"the task's process left with status {code} before it had written its result (os._exit?)"
