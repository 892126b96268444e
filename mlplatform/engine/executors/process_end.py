"""Waiting for processes, and ending their trees, without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterable

from mlplatform.launcher import tree
from mlplatform.launcher.identity import is_alive

#: Seconds between looks where the system cannot tell when a process ends.
_LOOK = 0.05


async def ended(pid: int, start: str) -> None:
    """Until exactly this process is gone (or a zombie)."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if is_alive(pid, start):
                    await _readable(descriptor)
            finally:
                os.close(descriptor)
            return
    while is_alive(pid, start):
        await asyncio.sleep(_LOOK)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def fire() -> None:
        loop.remove_reader(descriptor)
        if not done.done():
            done.set_result(None)

    loop.add_reader(descriptor, fire)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)


async def end_tree(pid: int, start: str, cookie: str, grace: float, exclude: Iterable[int] = ()) -> bool:
    """SIGTERM, then SIGKILL after ``grace`` seconds, until nobody of the attempt is left but ``exclude``. False:
    somebody cannot be killed."""
    steps = tree.killing(pid, start, cookie, grace=grace, exclude=exclude)
    while True:
        try:
            pause = next(steps)
        except StopIteration as done:
            return bool(done.value)
        await asyncio.sleep(pause)
