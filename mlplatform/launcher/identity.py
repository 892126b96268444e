"""Which process is this: a number is reused, a number with its start time and boot is not.

Linux: field 22 of ``/proc/PID/stat`` (clock ticks since boot) and ``/proc/sys/kernel/random/boot_id``. Elsewhere: what
``ps`` says of the start, and the boot time of ``sysctl kern.boottime``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache

LINUX = sys.platform.startswith("linux")


def parse_stat(line: bytes) -> tuple[str, int, int, str]:
    """(state, parent, session, start) of a ``/proc/PID/stat`` line; the name in it may hold spaces and brackets."""
    rest = line[line.rindex(b")") + 2 :].split()
    return rest[0].decode(), int(rest[1]), int(rest[3]), rest[19].decode()


def pid_start(pid: int) -> str:
    """When ``pid`` started, as a text to compare; empty if there is no such process (a zombie still is one)."""
    if LINUX:
        try:
            with open("/proc/%d/stat" % pid, "rb") as file:
                return parse_stat(file.read())[3]
        except (OSError, ValueError, IndexError):
            return ""
    return _ps("-o", "lstart=", "-p", str(pid)).strip()


def is_alive(pid: int, start: str) -> bool:
    """True while exactly this process runs (a zombie does not run)."""
    if LINUX:
        try:
            with open("/proc/%d/stat" % pid, "rb") as file:
                state, _, _, found = parse_stat(file.read())
        except (OSError, ValueError, IndexError):
            return False
        return found == start and state not in ("Z", "X")
    line = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip()
    state, _, found = line.partition(" ")
    return bool(line) and not state.startswith("Z") and (not start or found.strip() == start)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes with every boot of the machine."""
    if LINUX:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""
    try:
        words = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return words.stdout.strip()


def _ps(*arguments: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return ""
    return done.stdout
