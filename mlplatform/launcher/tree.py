"""Every process of an attempt, and the end of all of them.

A process belongs to an attempt if it is in the attempt's session, descends from its first process, or has the
attempt's cookie in its environment (daemons that left both). Nothing is signalled unless its number still has the
start time it was found with. Linux: ``/proc``; elsewhere ``ps``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from .identity import LINUX, is_alive, parse_stat

#: What user code leaves running when it ends gets this long to end by itself after SIGTERM.
LEFTOVER_GRACE = 2.0


@dataclass(frozen=True)
class Found:
    """One process, told from any other with its number by its start."""

    pid: int
    start: str
    parent: int
    session: int


def processes() -> list[Found]:
    """All processes that run (no zombies)."""
    return _of_proc() if LINUX else _of_ps()


def _of_proc() -> list[Found]:
    found: list[Found] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                state, parent, session, start = parse_stat(file.read())
        except (OSError, ValueError, IndexError):
            continue
        if state not in ("Z", "X"):
            found.append(Found(int(name), start, parent, session))
    return found


def _of_ps() -> list[Found]:
    done = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,sess=,pgid=,stat=,lstart="],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    found: list[Found] = []
    for line in done.stdout.splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and not words[4].startswith("Z"):
            # macOS tells no session number; a session leader's process group is the next best thing.
            session = int(words[2]) if words[2].isdigit() and int(words[2]) else int(words[3])
            found.append(Found(int(words[0]), words[5].strip(), int(words[1]), session))
    return found


def find(pid: int, start: str = "", cookie: str = "", exclude: Iterable[int] = ()) -> list[Found]:
    """The processes of the attempt whose first process is (or was) ``pid``.

    Args:
        start: start of ``pid``; if another process has the number now, that one's session and children do not count.
        cookie: value of ``MLPLATFORM_ATTEMPT``; empty: do not look at environments.
        exclude: numbers that do not count whatever they are.
    """
    everything = processes()
    kept_out = {os.getpid(), 1, *exclude}
    by_pid = {item.pid: item for item in everything}
    ours: set[int] = set()
    if pid in by_pid and (not start or by_pid[pid].start == start):
        ours.add(pid)
    reused = pid in by_pid and bool(start) and by_pid[pid].start != start
    if not reused and pid > 1:
        ours.update(item.pid for item in everything if item.session == pid)
    if cookie:
        needle = b"MLPLATFORM_ATTEMPT=" + cookie.encode("utf-8", "surrogateescape")
        ours.update(item.pid for item in everything if item.pid not in ours and _has_cookie(item.pid, needle))
    grew = True
    while grew:
        children = {item.pid for item in everything if item.parent in ours} - ours
        ours |= children
        grew = bool(children)
    return [by_pid[number] for number in sorted(ours - kept_out) if number in by_pid]


def _has_cookie(pid: int, needle: bytes) -> bool:
    if LINUX:
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                return needle in file.read().split(b"\0")
        except OSError:
            return False
    done = subprocess.run(["ps", "-Eww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return needle in done.stdout.split()


def send(targets: Iterable[Found], number: int) -> None:
    """Signal exactly these processes; one whose number was given to another since is left alone."""
    for item in targets:
        if is_alive(item.pid, item.start):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(item.pid, number)


def killing(
    pid: int, start: str = "", cookie: str = "", *, grace: float = 10.0, exclude: Iterable[int] = ()
) -> Generator[float, None, bool]:
    """SIGTERM to the whole tree, SIGKILL after ``grace`` seconds, again until nobody is left.

    A generator, for callers that must not block: it yields the seconds to wait before it is resumed, and returns False
    if something cannot be killed (uninterruptible for 10 seconds after SIGKILL).
    """
    kept_out = tuple(exclude)
    left = find(pid, start, cookie, kept_out)
    if not left:
        return True
    send(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    pause = 0.002
    while left and time.monotonic() < deadline:
        yield pause
        pause = min(pause * 2, 0.1)
        left = [item for item in left if is_alive(item.pid, item.start)] or find(pid, start, cookie, kept_out)
    deadline = time.monotonic() + 10.0
    while left and time.monotonic() < deadline:
        send(left, signal.SIGKILL)
        yield 0.005
        left = [item for item in left if is_alive(item.pid, item.start)] or find(pid, start, cookie, kept_out)
    return not left


def kill(pid: int, start: str = "", cookie: str = "", *, grace: float = 10.0, exclude: Iterable[int] = ()) -> bool:
    """:func:`killing`, blocking."""
    steps = killing(pid, start, cookie, grace=grace, exclude=exclude)
    while True:
        try:
            time.sleep(next(steps))
        except StopIteration as done:
            return bool(done.value)


def end_children(grace: float = LEFTOVER_GRACE) -> None:
    """End whatever the task left running below this process, which adopts orphans. One system call if there is none."""
    if _no_children():
        return
    me = os.getpid()
    left = below(me)
    send(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    pause = 0.001
    while left and time.monotonic() < deadline + 10.0:
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
        if _no_children():
            return
        left = below(me)
        if time.monotonic() > deadline:
            send(left, signal.SIGKILL)


def _no_children() -> bool:
    """Reap children that ended; True if none is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not pid:
            return False


def below(pid: int) -> list[Found]:
    """Every process that descends from ``pid``."""
    everything = processes()
    ours = {pid}
    grew = True
    while grew:
        children = {item.pid for item in everything if item.parent in ours} - ours
        ours |= children
        grew = bool(children)
    return [item for item in everything if item.pid in ours and item.pid != pid]
